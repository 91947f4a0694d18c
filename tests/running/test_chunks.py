"""How many images go through a model together: counted, kept, and halved where memory gives out."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from xaipipe import ExplanationWarning, Model, Question
from xaipipe.propagation import gradient_with, pull_back
from xaipipe.running.chunks import Chunks, Sizing
from xaipipe.running.live import peak_of_tensors
from xaipipe.testing import SmallCnn, images

KIB = 1 << 10


def test_what_is_alive_is_counted_and_what_is_freed_is_not() -> None:
    before = torch.zeros(256)

    def work() -> Tensor:
        first = before + 1  # 1 KiB
        second = torch.cat([first, first, first])  # 3 KiB more: the peak
        view = second.view(3, 256).t()
        before.t()  # was there already
        del first
        kept = view.sum(dim=1)  # 1 KiB
        del view, second
        return kept + 1  # 1 KiB more

    result, peak = peak_of_tensors(work)
    assert peak == 4 * KIB
    assert result.shape == (256,)


def test_a_pass_is_counted_the_same_whatever_other_threads_do() -> None:
    model, x = Model(SmallCnn()), images(2)

    def once() -> int:
        return peak_of_tensors(lambda: pull_back(model, x, [Question(1)], gradient_with()))[1]

    alone = once()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: once(), range(8))) == {alone}
    x = images(4)
    twice = once()
    assert 1.8 * alone < twice < 2.2 * alone


def test_sizes_follow_the_budget_and_are_remembered() -> None:
    model, image, tried = Model(SmallCnn()), torch.zeros(2, 3, 8, 8), []

    def once() -> Tensor:
        tried.append(True)
        return torch.zeros(KIB, dtype=torch.uint8)

    sizing = Sizing()
    sizes = [sizing.chunks(model, image, 1, budget, once).size for budget in (1, 6 * KIB, 12 * KIB, 1 << 30)]
    assert sizes == [1, 2, 4, 64]
    assert len(tried) == 1, "one image is tried, whatever the budget"
    assert sizing.chunks(model, image, 2, 12 * KIB, once, held=6 * KIB).size == 2
    assert sizing.chunks(model, image, 2, 12 * KIB, once, held=60 * KIB).size == 1
    assert len(tried) == 2, "other work takes other memory"


def test_no_buffer_on_the_cpu_is_so_large_that_the_system_takes_it_back() -> None:
    image = torch.zeros(1, 3, 8, 8)

    def once() -> Tensor:
        return torch.zeros(3 * KIB * KIB, dtype=torch.uint8)

    assert Sizing().chunks(Model(SmallCnn()), image, 1, 1 << 40, once, reuses=True).size == 10
    assert Sizing().chunks(Model(SmallCnn()), image, 1, 1 << 40, once).size == 64
    elsewhere = torch.empty(1, 3, 8, 8, device="meta")
    assert Sizing().chunks(Model(SmallCnn()), elsewhere, 1, 1 << 40, once, reuses=True).size == 64


def test_memory_that_gives_out_halves_the_chunks_and_is_said() -> None:
    chunks, done = Chunks(8, torch.device("cpu")), []

    def work(some: range) -> range:
        if len(some) > 3:
            raise torch.OutOfMemoryError("out of memory")
        done.extend(some)
        return some

    with pytest.warns(ExplanationWarning, match="images at once did not fit") as told:
        sizes = [len(some) for some in chunks.over(9, work)]
    assert sizes == [2, 2, 2, 2, 1]
    assert done == list(range(9))
    first, second = (str(warning.message) for warning in told)
    assert first.startswith("8 images at once did not fit into the memory of cpu: 4 at a time")
    assert second.startswith("4 images at once did not fit into the memory of cpu: 2 at a time")


@pytest.mark.parametrize(
    ("size", "error"), [(1, torch.OutOfMemoryError("out of memory")), (4, ValueError("another matter"))]
)
def test_what_cannot_be_halved_is_raised(size: int, error: Exception) -> None:
    def work(some: range) -> None:
        raise error

    with pytest.raises(type(error)):
        list(Chunks(size, torch.device("cpu")).over(8, work))


def test_no_chunk_is_held_while_the_next_is_made() -> None:
    alive: list[int] = []
    living: set[int] = set()

    class Result:
        def __init__(self) -> None:
            living.add(id(self))

        def __del__(self) -> None:
            living.discard(id(self))

    def work(some: range) -> Result:
        gc.collect()
        alive.append(len(living))
        return Result()

    for result in Chunks(1, torch.device("cpu")).over(4, work):
        del result
    assert alive == [0, 0, 0, 0]
