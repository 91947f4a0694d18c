"""Opening images: what no reader takes, and readers that fail, are worded."""

from pathlib import Path
from typing import Any

import pytest

from xaipipe import InputError, Registry, hookimpl
from xaipipe.slides import open_slide


def reader(answer: Any) -> object:
    class Reader:
        @hookimpl(tryfirst=True)
        def open_slide(self, path: Path) -> Any:
            return answer(path)

    return Reader()


def registry_with(answer: Any) -> Registry:
    registry = Registry()
    registry.hooks.register(reader(answer), name="odd")
    return registry


def test_a_reader_that_fails_is_blamed(photograph: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_slide(registry_with(lambda path: {}["missing"]), photograph)
    text = str(caught.value)
    assert text.startswith("a reader failed on this file\n  got: plugin 'odd': KeyError: 'missing' (test_slides.py:")
    assert f"where: {photograph}" in text


def test_a_reader_that_returns_no_slide_is_refused(photograph: Path) -> None:
    with pytest.raises(InputError, match="something else than a slide\n  got: int\n  expected: a Slide, or None"):
        open_slide(registry_with(lambda path: 3), photograph)


def test_what_the_system_refuses_to_read_is_worded(photograph: Path) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(InputError, match="the file cannot be read\n  got: Permission denied"):
        open_slide(registry_with(refuse), photograph)


def test_a_name_that_no_file_can_have_is_worded(registry: Registry) -> None:
    with pytest.raises(InputError, match="the file cannot be read\n  got: File name too long"):
        open_slide(registry, "x" * 300)


def test_a_folder_is_called_a_folder(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no reader knows this file\n  got: a folder"):
        open_slide(registry, tmp_path)
