"""Parameters: from one pydantic model come validation, messages, tables and the schema."""

from typing import Any, Literal

import pytest
from pydantic import Field, model_validator
from torch import Tensor

from xaipipe import Params, UsageError
from xaipipe.params import rows, schema_of, toml_value


class Sample(Params):
    size: int = Field(ge=1, lt=100, description="how large")
    share: float = Field(0.5, gt=0, le=1, description="how much")
    mode: Literal["a", "b"] = Field("a", description="which way")
    limit: int | None = Field(None, ge=8, description="an upper bound")
    names: tuple[str, ...] = Field(("x",), description="some names")


class Reference(Params):
    reference: Tensor | None = Field(None, description="only Python can give it")


class Dependent(Params):
    by: Literal["value", "otsu"] = "otsu"
    value: float | None = None

    @model_validator(mode="after")
    def _given(self) -> "Dependent":
        if self.by == "value" and self.value is None:
            raise ValueError("by = value needs value")
        return self


def said(values: dict[str, Any], params: type[Params] = Sample) -> str:
    with pytest.raises(UsageError) as caught:
        params.parse(values, "the test")
    return str(caught.value)


def test_rows_show_name_type_default_range_and_description() -> None:
    table = {row.name: (row.type, row.default, row.range, row.description) for row in rows(Sample)}
    assert table == {
        "size": ("integer", "required", "≥ 1, < 100", "how large"),
        "share": ("number", "0.5", "> 0, ≤ 1", "how much"),
        "mode": ("a | b", "a", "", "which way"),
        "limit": ("integer | null", "None", "≥ 8", "an upper bound"),
        "names": ("array", "('x',)", "", "some names"),
    }


def test_rows_keep_the_order_in_which_parameters_were_written() -> None:
    assert [row.name for row in rows(Sample)] == list(Sample.model_fields)


def test_a_parameter_that_json_cannot_hold_is_any() -> None:
    assert rows(Reference)[0].type == "any | null"
    assert schema_of(Reference)["properties"]["reference"]["description"] == "only Python can give it"


def test_an_unknown_parameter_is_named_with_the_nearest_one() -> None:
    assert said({"size": 1, "shar": 1}) == "unknown parameter 'shar'\n  where: the test\n  next: did you mean 'share'?"


def test_a_missing_parameter_is_named() -> None:
    assert said({}) == "parameter 'size' is required\n  where: the test\n  next: set size = …"


@pytest.mark.parametrize(
    ("values", "got", "expected"),
    [
        ({"size": 0}, "0", "greater than or equal to 1"),
        ({"size": 100}, "100", "less than 100"),
        ({"size": 1, "share": 0}, "0", "greater than 0"),
        ({"size": "many"}, "'many'", "valid integer"),
        ({"size": 1, "mode": "c"}, "'c'", "'a' or 'b'"),
        ({"size": 1, "limit": 7}, "7", "greater than or equal to 8"),
        ({"size": 1, "share": float("nan")}, "nan", "finite number"),
        ({"size": 1, "share": float("inf")}, "inf", "finite number"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_would(values: dict[str, Any], got: str, expected: str) -> None:
    text = said(values)
    assert f"parameter '{list(values)[-1]}' has a value that it cannot take\n  got: {got}\n" in text
    assert expected in text


def test_a_long_value_is_not_repeated_in_full() -> None:
    assert len(said({"size": list(range(10_000))})) < 500


def test_parameters_that_do_not_fit_together_are_said_in_the_methods_words() -> None:
    text = said({"by": "value"}, Dependent)
    assert text.startswith("the parameters do not fit together\n  got: {'by': 'value'}\n")
    assert "expected: by = value needs value" in text


def test_parameters_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Sample(size=1).size = 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ('"3"', "3"),
        ("[1, 2]", [1, 2]),
        ("{a = 1}", {"a": 1}),
        ("features.18", "features.18"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_a_value_reads_as_toml_and_a_bare_word_as_itself(text: str, value: Any) -> None:
    assert toml_value(text) == value
