"""Batches that do not fit into memory are divided."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import torch

from xaipipe.errors import InputError
from xaipipe.models.forward import is_out_of_memory
from xaipipe.running.run import Run
from xaipipe.types import Batch

B = TypeVar("B", bound=Batch)
R = TypeVar("R")


def in_parts(run: Run, batch: B, function: Callable[[B], R]) -> Iterator[R]:
    """A function of a batch, whole where that fits: else of its halves, down to one tile. The run remembers the size.

    Parts give the same maps, but for rounding: a library may add up differently in batches of another size.
    """
    start = 0
    while start < len(batch.tiles):
        size = min(run.fits or len(batch.tiles), len(batch.tiles) - start)
        part = _part(batch, start, size)
        try:
            result = function(part)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            _halve(run, part, error)
            continue  # when nothing holds the failed attempt's tensors any more
        yield result
        start += size


def _part(batch: B, start: int, size: int) -> B:
    if size == len(batch.tiles):
        return batch
    some = slice(start, start + size)
    return replace(batch, tiles=batch.tiles[some], pixels=batch.pixels[some], valid=batch.valid[some])


def _halve(run: Run, part: Batch, error: Exception) -> None:
    size, device = len(part.tiles), part.pixels.device
    if size == 1:
        raise InputError(
            "a single tile does not fit into memory",
            got=str(error).split("\n")[0] or "out of memory",
            where=f"{part.tiles[0]}, on {device}",
            hint="set a smaller [load] tile, or choose another device",
        ) from error
    run.fits = size // 2
    run.notes.append(f"{size} tiles did not fit into the memory of {device}: {run.fits} at a time from here on")
    let_go_of(error, device)


def let_go_of(error: Exception, device: torch.device) -> None:
    """Free what an attempt held that ran out of memory."""
    error.__traceback__ = None  # its frames hold the tensors that did not fit
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
