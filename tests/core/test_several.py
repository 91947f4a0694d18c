"""Names of results, for whatever a target is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaipipe.cli.targets import as_setting
from xaipipe.params import toml_value
from xaipipe.several import file_names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("damaged", "damaged"),
        ("a/b\\c", "a_b_c"),
        ("..", "__"),
        ("-o", "_-o"),
        ("", "_"),
        ("grade 3, high", "grade_3__high"),
        ("Entzündung", "Entzündung"),
        ("Entzu\u0308ndung", "Entzündung"),
        ("कोशिका", "कोशिका"),
        ("a\0b\n", "a_b_"),
        ("x" * 300, "x" * 100),
        ("ü" * 300, "ü" * 50),
    ],
)
def test_a_name_keeps_what_is_safe(text: str, name: str) -> None:
    assert file_names([text]) == [name]


@given(st.lists(st.text(max_size=8), max_size=6))
def test_names_differ_and_stay_as_they_are(texts: list[str]) -> None:
    names = file_names(texts)
    assert len({name.casefold() for name in names}) == len(texts)
    assert all(name and not set(name) & set("/\\. \0") and name[0] != "-" for name in names)
    assert file_names(names) == names


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("damaged", "damaged"),
        ("12", 12),
        ("predicted", "predicted"),
        ("damaged,3", ["damaged", 3]),
        ("truth=12,predicted", {"truth": 12, "predicted": "predicted"}),
        ("truth=damaged", {"truth": "damaged"}),
        ('["a, b", "c=d"]', ["a, b", "c=d"]),
        ('{ truth = "a, b" }', {"truth": "a, b"}),
        ('the "first" \\ é😀', 'the "first" \\ é😀'),
    ],
)
def test_what_a_command_line_asks_is_a_setting(text: str, setting: object) -> None:
    assert toml_value(as_setting(text)) == setting
