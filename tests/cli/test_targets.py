"""Several targets on a command line; labels may hold the signs that divide them."""

from __future__ import annotations

from typing import Any

import pytest

from xaipipe import UsageError
from xaipipe.cli.targets import NamedTarget, named_targets

LABELS = ("cat", "tiger, Panthera tigris", "a=b", "truth", "1,2")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (3, [NamedTarget(3)]),
        ("predicted", [NamedTarget("predicted", "predicted")]),
        ("cat", [NamedTarget("cat")]),
        ("truth", [NamedTarget("truth")]),
        ("truth=12,predicted", [NamedTarget("12", "truth"), NamedTarget("predicted", "predicted")]),
        ("guess = cat , 4", [NamedTarget("cat", "guess"), NamedTarget("4")]),
        ("tiger, Panthera tigris", [NamedTarget("tiger, Panthera tigris")]),
        (
            "cat, tiger, Panthera tigris,0",
            [NamedTarget("cat"), NamedTarget("tiger, Panthera tigris"), NamedTarget("0")],
        ),
        ("truth=tiger, Panthera tigris", [NamedTarget("tiger, Panthera tigris", "truth")]),
        ("a=b", [NamedTarget("a=b")]),
        ("x=a=b,cat", [NamedTarget("a=b", "x"), NamedTarget("cat")]),
        ("1,2", [NamedTarget("1,2")]),
        ("1,3", [NamedTarget("1"), NamedTarget("3")]),
        ("[0, 1]", [NamedTarget("0"), NamedTarget("1")]),
        ('["truth=0", "cat"]', [NamedTarget("0", "truth"), NamedTarget("cat")]),
    ],
)
def test_targets_are_divided(asked: Any, expected: list[NamedTarget]) -> None:
    assert named_targets(asked, LABELS) == expected


@pytest.mark.parametrize("asked", ["1,", ",", "", "[]", "=3", "truth="])
def test_what_is_missing_is_said(asked: str) -> None:
    with pytest.raises(UsageError, match=r"a target is missing|a name or nothing before it"):
        named_targets(asked, LABELS)
