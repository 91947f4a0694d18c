"""Batches on their way to the model: pinned while they wait, copied while the one before is explained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

import torch

from xaipipe.types import Batch

T = TypeVar("T")


def prepared(batch: Batch, device: torch.device, dtype: torch.dtype) -> Batch:
    """On the host, in the model's precision; in pinned memory where it goes to a GPU."""
    pixels, valid = batch.pixels, batch.valid
    if pixels.is_floating_point():  # anything else is for the check behind the loader to name
        pixels = pixels.to(dtype)
    if device.type == "cuda":
        pixels, valid = pixels.pin_memory(), valid.pin_memory()
    return replace(batch, pixels=pixels, valid=valid)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Where the model is."""
    return replace(
        batch, pixels=batch.pixels.to(device, non_blocking=True), valid=batch.valid.to(device, non_blocking=True)
    )


def arriving(
    items: Iterable[T], device: torch.device, change: Callable[[T, Callable[[Batch], Batch]], T]
) -> Iterator[T]:
    """Items with their batches on the device, each copied on a stream of its own while the one before is in use.

    `change(item, move)` is the item with `move` applied to the batch in it.
    """
    if device.type != "cuda":
        yield from (change(item, lambda batch: on_device(batch, device)) for item in items)
        return
    copies: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: list[tuple[T, torch.cuda.Event]] = []
    for item in items:
        with torch.cuda.stream(copies):
            moved = change(item, lambda batch: on_device(batch, device))
        waiting.append((moved, copies.record_event()))
        if len(waiting) > 1:
            yield _arrived(*waiting.pop(0), device, change)
    for moved, copied in waiting:
        yield _arrived(moved, copied, device, change)


def _arrived(
    item: T, copied: torch.cuda.Event, device: torch.device, change: Callable[[T, Callable[[Batch], Batch]], T]
) -> T:
    """Once its copy is done; its memory is not used again before the work on it is."""
    current = torch.cuda.current_stream(device)
    current.wait_event(copied)

    def claimed(batch: Batch) -> Batch:
        batch.pixels.record_stream(current)
        batch.valid.record_stream(current)
        return batch

    return change(item, claimed)
