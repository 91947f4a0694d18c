"""Errors: what they say, and the exit code each one stands for."""

import pytest

from xaipipe import errors
from xaipipe.errors import XaipipeError, did_you_mean


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("XaipipeError", 1),
        ("UsageError", 2),
        ("InputError", 65),
        ("BoundaryError", 65),
        ("StorageError", 74),
        ("LockedError", 75),
        ("UntrustedError", 77),
    ],
)
def test_every_class_has_its_exit_code(name: str, code: int) -> None:
    assert getattr(errors, name).exit_code == code


def test_a_message_reads_problem_got_expected_where_next() -> None:
    error = XaipipeError("it broke", hint="mend it", where="here", expected=1, got=0)
    assert str(error) == "it broke\n  got: 0\n  expected: 1\n  where: here\n  next: mend it"


def test_facts_that_are_unknown_are_left_out() -> None:
    assert str(XaipipeError("it broke", got="a stone")) == "it broke\n  got: a stone"


def test_false_and_zero_are_facts() -> None:
    assert str(XaipipeError("it broke", got=0, expected=False)) == "it broke\n  got: 0\n  expected: False"


def test_a_near_name_is_suggested() -> None:
    assert did_you_mean("gradcm", ["saliency", "gradcam"]) == "did you mean 'gradcam'?"


def test_a_far_name_gets_the_list_in_order() -> None:
    assert did_you_mean("xyz", ["b", "a"]) == "choose one of: a, b"


def test_nothing_to_choose_from_is_said() -> None:
    assert did_you_mean("xyz", []) == "there is none to choose from"
