"""The contract between stages, checked at every boundary: type, shape, dtype, device, finiteness."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from xaipipe.errors import BoundaryError, StorageError, XaipipeError
from xaipipe.hookspecs import hookimpl
from xaipipe.models.forward import is_out_of_memory
from xaipipe.models.model import NotFiniteError
from xaipipe.stages import Stage
from xaipipe.types import Batch, Explanation, Grid, Receipt, Segmentation

T = TypeVar("T")
R = TypeVar("R")
_RESULTS: dict[str, type] = {
    "load": Batch,
    "explain": Explanation,
    "postprocess": Explanation,
    "segment": Segmentation,
    "store": Receipt,
}
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.uint8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32)


class StageChecks:
    """Wraps every stage and checks what it returned against what it was given."""

    @hookimpl(wrapper=True, trylast=True)
    def run_stage(self, stage: Stage, item: Any, run: Any) -> Generator[None, Any, Any]:
        with named_failures(stage, item):
            result = yield
        check_result(stage, item, result)
        return result


def checked(stage: Stage, item: T, function: Callable[[T], R]) -> R:
    """A stage's own function outside a run, under the same contract."""
    with named_failures(stage, item):
        result = function(item)
    check_result(stage, item, result)
    return result


@contextmanager
def named_failures(stage: Stage, item: Any) -> Iterator[None]:
    """A stage that raises is named with its tile; errors that speak for themselves pass."""
    try:
        yield
    except NotFiniteError as error:
        if tiles := _tiles(item):  # of which the model knows nothing
            error.facts["where"] = f"{error.facts['where']}; {_few([tiles[image] for image in error.images])}"
        raise
    except XaipipeError:
        raise
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise
        said = f"{type(error).__name__}: {error}"
        if isinstance(error, OSError) and stage.kind == "store":
            raise StorageError(f"store method '{stage.name}' cannot write", got=said) from error
        raise _Check(stage, item).error("failed", said, None) from error


def check_result(stage: Stage, item: Any, result: Any) -> None:
    """Raise a `BoundaryError` that names the stage, the tile, what was got and what was expected."""
    expected = _RESULTS[stage.kind]
    check = _Check(stage, item)
    if not isinstance(result, expected):
        raise check.error("returned the wrong type", type(result).__name__, f"a {expected.__name__}")
    if isinstance(result, Batch):
        _check_batch(check, item, result)
    elif isinstance(result, Explanation):
        _check_explanation(check, item, result)
    elif isinstance(result, Segmentation):
        check.type("an explanation", result.explanation, Explanation)
        _check_segmentation(check, result)


class _Check:
    def __init__(self, stage: Stage, item: Any) -> None:
        self._stage, self._item = stage, item

    def error(self, problem: str, got: object, expected: object, index: int | None = None) -> BoundaryError:
        tiles = _tiles(self._item)
        named = tiles if index is None else tiles[index : index + 1]
        places = [f"plugin '{self._stage.plugin}'"] if self._stage.plugin else []
        places += [_few(named)] if named else []
        return BoundaryError(
            f"{self._stage.kind} method '{self._stage.name}' {problem}",
            got=got,
            expected=expected,
            where="; ".join(places) or None,
        )

    def type(self, what: str, value: Any, expected: type) -> None:
        if not isinstance(value, expected):
            raise self.error(f"returned {what} of the wrong type", type(value).__name__, expected.__name__)

    def shape(self, what: str, tensor: Tensor, expected: tuple[int | str, ...]) -> None:
        self.type(what, tensor, Tensor)
        got = tuple(tensor.shape)
        fits = len(got) == len(expected) and all(
            isinstance(want, str) or have == want for have, want in zip(got, expected, strict=True)
        )
        if not fits:
            text = ", ".join(str(part) for part in expected)
            raise self.error(f"returned {what} of the wrong shape", got, f"({text})")

    def dtype(self, what: str, tensor: Tensor, allowed: tuple[torch.dtype, ...], name: str) -> None:
        if tensor.dtype not in allowed:
            raise self.error(f"returned {what} of the wrong type", tensor.dtype, name)

    def finite(self, what: str, tensor: Tensor) -> None:
        bad = ~torch.isfinite(tensor).flatten(1).all(dim=1)
        if bad.any():
            index = int(bad.nonzero()[0, 0])
            raise self.error(
                f"returned {what} that are not finite",
                f"NaN or infinity in map {index}",
                "finite values",
                index,
            )


def _check_batch(check: _Check, tiles: Any, batch: Batch) -> None:
    n = len(tiles)
    check.shape("pixels", batch.pixels, (n, "C", "H", "W"))
    check.dtype("pixels", batch.pixels, _FLOATS, "floating point")
    check.finite("pixels", batch.pixels)
    check.shape("a validity mask", batch.valid, (n, *batch.pixels.shape[2:]))
    check.dtype("a validity mask", batch.valid, (torch.bool,), "bool")


def _check_explanation(check: _Check, item: Any, result: Explanation) -> None:
    n = len(item.pixels) if isinstance(item, Batch) else len(item)
    check.type("a grid", result.grid, Grid)
    check.type("targets", result.targets, tuple)
    check.shape("values", result.values, (n, "C", "h", "w"))
    check.dtype("values", result.values, _FLOATS, "floating point")
    check.finite("values", result.values)
    check.shape("scores", result.scores, (n,))
    check.dtype("scores", result.scores, _FLOATS, "floating point")
    check.finite("scores", result.scores[:, None])
    if len(result.targets) != n:
        raise check.error("returned the wrong number of targets", len(result.targets), n)
    if result.tiles != item.tiles:
        raise check.error(
            "returned other tiles than it was given", len(result.tiles), "tiles=batch.tiles, in their order"
        )
    source = item.pixels if isinstance(item, Batch) else item.values
    if result.values.device != source.device:
        raise check.error("returned values on another device", result.values.device, source.device)
    if result.valid is not None:
        check.shape("a validity mask", result.valid, (n, *result.values.shape[2:]))
    for name, value in result.diagnostics.items():
        if isinstance(value, list) and len(value) != n:
            problem = f"returned the diagnostic '{name}' with the wrong number of entries"
            raise check.error(problem, len(value), f"{n}, one an image; a tuple says something of them all")
    if result.standard_error is not None:
        check.shape("a standard error", result.standard_error, tuple(result.values.shape))
        check.finite("standard errors", result.standard_error)
    if isinstance(item, Explanation) and (result.grid, result.values.shape[2:]) != (
        item.grid,
        item.values.shape[2:],
    ):
        raise check.error(
            "moved or resized the map",
            (result.grid, *result.values.shape[2:]),
            (item.grid, *item.values.shape[2:]),
        )


def _check_segmentation(check: _Check, result: Segmentation) -> None:
    check.shape("labels", result.labels, (len(result.explanation), *result.explanation.input_size))
    check.dtype("labels", result.labels, _INTEGERS, "integers")
    low, high = (int(edge) for edge in result.labels.to(torch.int64).aminmax())
    if low < 0 or high >= 1 << 32:
        raise check.error("returned labels out of range", f"{low} … {high}", "0 … 4294967295")


def _few(tiles: Sequence[Any]) -> str:
    """The first of some tiles."""
    more = f" and {len(tiles) - 3} more" if len(tiles) > 3 else ""
    return "; ".join(map(str, tiles[:3])) + more


def _tiles(item: Any) -> tuple[Any, ...]:
    if isinstance(item, Segmentation):
        return item.explanation.tiles
    if isinstance(item, Batch | Explanation):
        return item.tiles
    return item if isinstance(item, tuple) else ()
