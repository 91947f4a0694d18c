"""What holds for every stage: its name, its documentation, its parameters."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from xaipipe.cli.flags import read_flags
from xaipipe.errors import UsageError
from xaipipe.params import Params, schema_of, toml_value
from xaipipe.stages import KINDS, Stage

_PLAIN = (str, bool, int, float, list, tuple)


class StageContract:
    """Inherited by every suite below. A subclass sets `method`, and `params` where the defaults do not suit a test."""

    method: ClassVar[type[Stage]]
    params: ClassVar[Mapping[str, Any]] = {}
    """Parameters that every check starts from: a small number of samples, a required value."""
    sections: ClassVar[tuple[str, ...]] = ("Misleads when", "Example", "Reference")
    """What the method's docstring has to tell."""

    def build(self, **changes: Any) -> Any:
        """The method with `params` and some changes."""
        return self.method(**{**self.params, **changes})

    def parsed(self, **changes: Any) -> Params:
        return self.method.Params.parse({**self.params, **changes}, self.method.name)

    def test_name_and_kind_are_usable_on_a_command_line(self) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", self.method.name), self.method.name
        assert self.method.kind in KINDS

    def test_docstring_says_what_it_shows_and_when_it_misleads(self) -> None:
        text = inspect.getdoc(self.method) or ""
        first = text.split("\n", 1)[0]
        assert first, "the docstring begins with what the method shows"
        for section in self.sections:
            assert re.search(rf"^{section}:? ?\S", text, re.MULTILINE), f"the docstring has no '{section}: …'"

    def test_every_parameter_has_a_description(self) -> None:
        silent = [name for name, field in self.method.Params.model_fields.items() if not field.description]
        assert not silent, f"without description: {silent}"

    def test_parameters_come_back_from_their_dump(self) -> None:
        parsed = self.parsed()
        assert self.method.Params.parse(parsed.model_dump(), self.method.name) == parsed

    def test_parameters_have_a_json_schema(self) -> None:
        schema = json.loads(json.dumps(schema_of(self.method.Params)))
        assert set(schema.get("properties", {})) == set(self.method.Params.model_fields)

    def test_parameters_can_be_given_as_toml_and_as_flags(self) -> None:
        parsed = self.parsed()
        for name, value in parsed.model_dump().items():
            if isinstance(value, _PLAIN):
                text = json.dumps(value)
                flags = read_flags([f"--{name.replace('_', '-')}", text], self.method.Params, self.method.name)
                assert self.parsed(**{name: toml_value(text)}) == parsed, f"{name} = {text} in TOML"
                assert self.parsed(**flags) == parsed, f"--{name} {text}"

    def test_unknown_parameter_is_refused_with_a_hint(self) -> None:
        known = list(self.method.Params.model_fields)
        misspelt = f"{known[-1]}x" if known else "anything"
        with pytest.raises(UsageError) as caught:
            self.build(**{misspelt: 1})
        assert misspelt in caught.value.problem
        assert not known or known[-1] in str(caught.value.facts["next"])
