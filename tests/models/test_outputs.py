"""Models that return several outputs: one is named, or the answer is refused with a list of what there is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import xaipipe
from xaipipe import Model, UsageError
from xaipipe.models.outputs import chosen_output
from xaipipe.models.sources import ModelSettings, load_model

LOGITS, AUX, FEATURES = torch.zeros(2, 3), torch.ones(2, 3), torch.zeros(2, 8, 4, 4)


class Pair(NamedTuple):
    logits: Tensor
    features: Tensor


@dataclass
class Answer:
    """As libraries of transformers answer."""

    logits: Tensor
    loss: Tensor | None = None
    hidden: tuple[Tensor, ...] = ()


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        ((LOGITS, AUX), 0),
        ((LOGITS, AUX), "0"),
        ((AUX, LOGITS), -1),
        ([AUX, LOGITS], "-1"),
        ({"aux": AUX, "logits": LOGITS}, "logits"),
        (OrderedDict(aux=AUX, logits=LOGITS), "logits"),
        ({"heads": [AUX, LOGITS], "aux": AUX}, "heads.1"),
        ({"heads": {"a": {"b": (AUX, LOGITS)}}, "aux": AUX}, "heads.a.b.1"),
        ({"head.a": LOGITS, "head": {"a": AUX}}, "head.a"),
        ({0: LOGITS, 1: AUX}, 0),
        (Pair(LOGITS, FEATURES), "logits"),
        (Pair(LOGITS, FEATURES), 0),
        (Answer(LOGITS, AUX, (FEATURES,)), "logits"),
        (Answer(AUX, AUX, (LOGITS,)), "hidden.0"),
        (Answer(AUX, AUX, (LOGITS,)), "hidden"),
    ],
)
def test_an_output_is_named_by_key_position_or_path(answer: Any, output: int | str) -> None:
    assert chosen_output(answer, output, "Net") is LOGITS


@pytest.mark.parametrize(
    "answer",
    [
        LOGITS,
        (LOGITS,),
        [LOGITS],
        {"out": LOGITS},
        ((LOGITS,),),
        Answer(LOGITS),
        (LOGITS, None),
        {"out": [LOGITS]},
    ],
)
def test_the_only_output_needs_no_name(answer: Any) -> None:
    assert chosen_output(answer, None, "Net") is LOGITS


@pytest.mark.parametrize(
    ("answer", "got", "hint"),
    [
        (
            (LOGITS, FEATURES),
            "0: (2, 3); 1: (2, 8, 4, 4)",
            "output=0; file: [model] output = 0; flag: --model-output 0",
        ),
        ({"logits": LOGITS, "aux": [AUX, AUX]}, "logits: (2, 3); aux.0: (2, 3); aux.1: (2, 3)", 'output="logits"'),
        (Pair(LOGITS, FEATURES), "logits: (2, 3); features: (2, 8, 4, 4)", 'output="logits"'),
        (Answer(LOGITS, hidden=(AUX,)), "logits: (2, 3); hidden.0: (2, 3)", 'output="logits"'),
        ((LOGITS, "a name"), "0: (2, 3); 1: str", "output=0"),
        ([AUX] * 10, "7: (2, 3); and 2 more", "output=0"),
    ],
)
def test_several_outputs_are_listed_with_how_to_choose(answer: Any, got: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen_output(answer, None, "Net")
    text = str(caught.value)
    assert text.startswith("the model returns several outputs\n  got: ")
    assert got in text
    assert "where: Net\n" in text
    assert f"next: choose one, such as {hint}" in text


@pytest.mark.parametrize(
    ("answer", "output", "message"),
    [
        ({"logits": LOGITS, "aux": AUX}, "logit", "no output 'logit'\n  got: logits: (2, 3); aux: (2, 3)"),
        ({"logits": LOGITS, "aux": AUX}, "logit", "next: did you mean 'logits'?"),
        ({"heads": [AUX, LOGITS]}, "heads.2", "next: did you mean 'heads.1'?"),
        ((LOGITS, AUX), 2, "next: choose one of: 0, 1"),
        ((LOGITS, AUX), -3, "no output '-3'"),
        ((LOGITS, AUX), "0.logits", "no output '0.logits'"),
        (LOGITS, "logits", "returns one output, there is none to choose\n  got: output 'logits' of (2, 3)"),
        ({"heads": [AUX, LOGITS]}, "heads", "several outputs\n  got: heads.0: (2, 3); heads.1: (2, 3)"),
    ],
)
def test_an_output_that_is_not_there_is_refused(answer: Any, output: int | str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen_output(answer, output, "Net")
    assert message in str(caught.value)
    assert "where: Net" in str(caught.value)


@pytest.mark.parametrize("answer", [None, 3.0, (), {}, (None,)])
def test_what_is_no_output_is_left_for_the_check_of_outputs(answer: Any) -> None:
    assert chosen_output(answer, None, "Net") is answer


class Returns(nn.Module):
    """Wraps what a network answers."""

    def __init__(self, net: nn.Module, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.net, self.wrap = net, wrap

    def forward(self, pixels: Tensor) -> Any:
        return self.wrap(self.net(pixels))


@pytest.mark.parametrize("method", ["saliency", "gradcam"])
def test_explaining_a_named_output_is_explaining_it_alone(tiny: nn.Module, images: Tensor, method: str) -> None:
    expected = xaipipe.explain(tiny, images, method, target=1)
    wrapped = Returns(tiny, lambda answer: {"logits": answer, "aux": [answer * 2, answer * 3]})
    for model in (wrapped, Model.of(wrapped), Model.of(wrapped, output="aux")):
        found = xaipipe.explain(model, images, method, target=1, output="logits")
        assert found.values.equal(expected.values)
    third = xaipipe.explain(Model.of(wrapped, output="aux.1"), images, method, target=1)
    torch.testing.assert_close(third.scores, 3 * expected.scores)
    with pytest.raises(UsageError, match=r"the model returns several outputs\n  got: logits: \(2, 3\); aux.0: "):
        xaipipe.explain(wrapped, images, method, target=1)


def test_only_what_is_chosen_is_checked(tiny: nn.Module, images: Tensor) -> None:
    wrapped = Returns(tiny, lambda answer: (answer, answer / 0, answer.argmax(dim=1)))
    assert xaipipe.explain(wrapped, images, "saliency", output=0).scores.isfinite().all()
    with pytest.raises(xaipipe.InputError, match="NaN or infinity"):
        xaipipe.explain(wrapped, images, "saliency", output=1)
    with pytest.raises(xaipipe.InputError, match="has no gradient"):
        xaipipe.explain(wrapped, images, "saliency", output=2)


@pytest.mark.parametrize("output", [0, "logits", None])
def test_a_model_table_names_the_output(model_file: Any, output: int | str | None) -> None:
    settings = ModelSettings(source=model_file.name + ":build", output=output)
    assert load_model(settings, trust=True, base=model_file.parent).output == output
