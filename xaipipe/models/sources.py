"""Models by name: `timm:…`, `torchvision:…`, weights with an architecture, or code that the user trusts."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from torch import nn

from xaipipe.errors import InputError, UntrustedError, UsageError
from xaipipe.models.factories import from_factory
from xaipipe.models.libraries import LIBRARIES, from_library
from xaipipe.models.model import Model, own_labels
from xaipipe.models.preprocess import Preprocess
from xaipipe.models.weights import WEIGHTS, from_weights
from xaipipe.params import Params


class ModelSettings(Params):
    """The `[model]` table."""

    source: str = Field(
        description="timm:NAME, torchvision:NAME, FILE.safetensors, FILE.pt, module:factory, FILE.py:factory"
    )
    arch: str | None = Field(None, description="timm:NAME or torchvision:NAME, where source is a file of weights")
    weights: str | None = Field(None, description="path handed to a factory as its only argument")
    labels: str | None = Field(None, description="text file, a label a line (numbered or not), in the outputs' order")
    output: int | str | None = Field(
        None, description="which output is explained, of several: a key, a position, or a dotted path of them"
    )
    pretrained: bool = Field(True, description="published weights for timm: and torchvision: sources")


def load_model(settings: ModelSettings, *, trust: bool = False, base: Path | None = None) -> Model:
    """The model a `[model]` table describes. Paths are relative to `base`. Code runs only with `trust`."""
    base = base or Path.cwd()
    module, own = _module_and_preprocess(settings, trust, base)
    if not isinstance(module, nn.Module):
        raise InputError(
            "the model's source returned something else than a model",
            got=type(module).__name__,
            expected="a torch.nn.Module",
            where=settings.source,
        )
    module.eval()
    return Model(
        module=module,
        preprocess=own,
        labels=_labels(settings, base) or own_labels(module),
        source=settings.source,
        output=settings.output,
    )


def _module_and_preprocess(settings: ModelSettings, trust: bool, base: Path) -> tuple[nn.Module, Preprocess | None]:
    scheme, _, name = settings.source.partition(":")
    if scheme in LIBRARIES:
        return from_library(scheme, name, settings.pretrained)
    if scheme == "hf":
        raise UsageError(
            "models from the Hugging Face Hub are not supported yet",
            got=settings.source,
            hint='download the weights and name their architecture: arch = "timm:NAME"',
        )
    suffix = Path(settings.source).suffix
    if suffix in WEIGHTS:
        return from_weights(base / settings.source, settings.arch)
    if ":" in settings.source:
        if not trust:
            raise UntrustedError(
                "this model is code, and code runs only where you say so",
                where=settings.source,
                hint="read it, then add --trust (from Python: trust=True)",
            )
        return from_factory(settings.source, settings.weights, base)
    raise UsageError(
        f"model source '{settings.source}' is not one of those that are known",
        expected="timm:NAME, torchvision:NAME, FILE.safetensors, FILE.pt, module:factory or FILE.py:factory",
        hint=f"name the function that makes the model: {settings.source}:build" if suffix == ".py" else None,
    )


def _labels(settings: ModelSettings, base: Path) -> tuple[str, ...]:
    if settings.labels is None:
        return ()
    path = base / settings.labels
    if not path.is_file():
        raise InputError("there is no such file of labels", where=path)
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise InputError("the labels are not text in UTF-8", got=str(error), where=path) from None
    numbered = [line.partition(" ") for line in lines]
    if all(number == str(index) for index, (number, _, _) in enumerate(numbered)):
        return tuple(label.strip() for _, _, label in numbered)  # "0  background", "1  tench", …
    return tuple(lines)
