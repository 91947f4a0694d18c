"""The contract of stores."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from xaipipe.errors import LockedError, StorageError, UsageError
from xaipipe.running.checks import check_result
from xaipipe.running.layout import ArraySpec, Layout
from xaipipe.running.manifest import PlanRecord
from xaipipe.running.tiling import Tiling
from xaipipe.stages import Store
from xaipipe.testing.params import StageContract
from xaipipe.testing.slides import MemorySlide
from xaipipe.types import Grid, Instance, Receipt, Region, Unreadable

Pixels = np.ndarray[Any, Any]
_REGION, _STEP = 64, 4
_INSTANCE = Instance(1, 0, 0, 4, 4, 16, 1.5, 1.5, 0.9, 0.5)


class StoreContract(StageContract):
    """Every promise that a store makes. Its maps have ragged ends, holes, and one region without any value."""

    method: ClassVar[type[Store]]
    params: ClassVar[Mapping[str, Any]] = {"shard": _REGION}

    @abstractmethod
    def is_complete(self, output: Path) -> bool:
        """Whether a result says of itself that it was finished."""

    @contextmanager
    def claimed(self, output: Path, overwrite: bool = False, resume: bool = False) -> Iterator[Store]:
        """A store that holds an output until the end of the block."""
        store: Store = self.build()
        try:
            store.claim(output, overwrite, resume)
            yield store
        finally:
            store.release()

    @contextmanager
    def created(self, output: Path) -> Iterator[Store]:
        with self.claimed(output) as store:
            store.create(_layout(), MemorySlide.striped(), _record())
            yield store

    @contextmanager
    def resumed(self, output: Path) -> Iterator[Store]:
        with self.claimed(output, resume=True) as store:
            store.reopen(_layout(), MemorySlide.striped(), _record())
            yield store

    def finished(self, output: Path) -> tuple[Store, list[Receipt]]:
        with self.created(output) as store:
            receipts = [store.commit(*work) for work in _work()]
            store.finish({"settings": {"explain": {"method": "test"}}}, (_INSTANCE,))
        return store, receipts

    # -- whose an output is -----------------------------------------------------------------------

    def test_claim_changes_nothing(self, tmp_path: Path) -> None:
        with self.claimed(tmp_path / "result"):
            assert not (tmp_path / "result").exists()
        assert _files(tmp_path) == {}

    def test_claim_refuses_what_is_not_ours(self, tmp_path: Path) -> None:
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter.txt").write_text("ten years of work")
        (tmp_path / "zarr.json").write_text("{}")
        before = _files(tmp_path)
        for name in ("thesis", "zarr.json"):
            for overwrite in (False, True):
                with pytest.raises(UsageError), self.claimed(tmp_path / name, overwrite):
                    pass
        assert _files(tmp_path) == before

    def test_claim_asks_before_it_overwrites_ours(self, tmp_path: Path) -> None:
        self.finished(tmp_path / "result")
        before = _files(tmp_path)
        with pytest.raises(UsageError), self.claimed(tmp_path / "result"):
            pass
        with self.claimed(tmp_path / "result", overwrite=True):
            pass
        assert _files(tmp_path) == before

    def test_an_output_in_use_is_refused(self, tmp_path: Path) -> None:
        with self.created(tmp_path / "result"):
            for overwrite, resume in ((False, False), (True, False), (False, True)):
                with (
                    pytest.raises((LockedError, UsageError)),
                    self.claimed(tmp_path / "result", overwrite, resume),
                ):
                    pass
        with self.claimed(tmp_path / "result", resume=True):
            pass

    def test_claim_needs_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError), self.claimed(tmp_path / "missing" / "result"):
            pass
        assert _files(tmp_path) == {}

    # -- what is written is what is read ----------------------------------------------------------

    def test_committed_regions_are_read_back(self, tmp_path: Path) -> None:
        store, _ = self.finished(tmp_path / "result")
        for spec in _layout().arrays:
            np.testing.assert_array_equal(store.read(spec.name, 0, 0, spec.height, spec.width), _whole(spec))
            np.testing.assert_array_equal(store.read(spec.name, 3, 5, 20, 17), _whole(spec)[:, 3:23, 5:22])

    def test_regions_committed_by_threads_are_read_back(self, tmp_path: Path) -> None:
        with self.created(tmp_path / "result") as store:
            with ThreadPoolExecutor(4) as pool:
                receipts = list(pool.map(lambda work: store.commit(*work), _work()))
            assert [(receipt.array, receipt.region) for receipt in receipts] == [work[:2] for work in _work()]
            for spec in _layout().arrays:
                np.testing.assert_array_equal(store.read(spec.name, 0, 0, spec.height, spec.width), _whole(spec))

    def test_what_was_not_committed_is_nothing(self, tmp_path: Path) -> None:
        with self.created(tmp_path / "result") as store:
            heatmap, labels = _layout().arrays
            assert np.isnan(store.read(heatmap.name, 0, 0, heatmap.height, heatmap.width)).all()
            assert not store.read(labels.name, 0, 0, labels.height, labels.width).any()

    # -- going on after an early end --------------------------------------------------------------

    def test_what_was_committed_is_not_missing(self, tmp_path: Path) -> None:
        first, *rest = _work()
        with self.created(tmp_path / "result") as store:
            assert all(store.missing(array, region) for array, region, _ in _work())
            store.commit(*first)
        with self.resumed(tmp_path / "result") as store:
            assert store.missing(*first[:2]) is None
            assert all(store.missing(array, region) for array, region, _ in rest)

    def test_a_damaged_region_is_missing_with_the_reason(self, tmp_path: Path) -> None:
        _, receipts = self.finished(tmp_path / "result")
        flipped, cut, gone, *whole = (tmp_path / "result" / receipt.path for receipt in receipts)
        content = bytearray(flipped.read_bytes())
        content[len(content) // 2] ^= 1
        flipped.write_bytes(content)
        cut.write_bytes(cut.read_bytes()[:-1])
        gone.unlink()
        with self.resumed(tmp_path / "result") as store:
            reasons = [store.missing(array, region) for array, region, _ in _work()]
        assert len(set(reasons[:3])) == 3
        assert all(reasons[:3])
        assert reasons[3:] == [None] * len(whole)

    def test_a_result_that_went_on_has_the_same_bytes(self, tmp_path: Path) -> None:
        self.finished(tmp_path / "straight")
        with self.created(tmp_path / "result") as store:
            for work in _work()[::2]:
                store.commit(*work)
        with self.resumed(tmp_path / "result") as store:
            for work in _work():
                if store.missing(*work[:2]):
                    store.commit(*work)
            store.finish({"settings": {"explain": {"method": "test"}}}, (_INSTANCE,))
        assert _files(tmp_path / "result") == _files(tmp_path / "straight")

    def test_facts_are_remembered(self, tmp_path: Path) -> None:
        with self.created(tmp_path / "result") as store:
            assert store.recall("tiles") is None
            for fact in ({"0,0": "many"}, {"0,0": "few", "0,1": None}):
                store.remember("tiles", fact)
        with self.resumed(tmp_path / "result") as store:
            assert store.recall("tiles") == fact

    def test_a_region_is_missing_as_long_as_a_part_of_it_is_unreadable(self, tmp_path: Path) -> None:
        (array, region, data), (_, other, _), *_ = _work()
        parts = tuple(Unreadable(array, region, 0, y, 8, 16, 16, f"the disk said no, at {y}") for y in (48, 16, 0))
        with self.created(tmp_path / "result") as store:
            store.note_unreadable(array, other, (Unreadable(array, other, 0, 0, 64, 16, 16, "no"),))
            store.note_unreadable(array, region, parts)
            for work in _work():
                store.commit(*work)
        with self.resumed(tmp_path / "result") as store:
            assert [part for part in store.unreadable() if part.region == region] == sorted(parts, key=lambda p: p.y)
            assert "3" in (store.missing(array, region) or "")
            store.commit(array, region, data)
            assert store.missing(array, region)
            store.note_unreadable(array, region, ())
            assert store.missing(array, region) is None
            assert [part.region for part in store.unreadable()] == [other]

    def test_what_is_distrusted_is_missing_until_it_is_committed_again(self, tmp_path: Path) -> None:
        self.finished(tmp_path / "result")
        (array, first, data), (_, second, _), *others = _work()
        with self.resumed(tmp_path / "result") as store:
            store.distrust(array, "the map under it changed", first)
        with self.resumed(tmp_path / "result") as store:
            assert store.missing(array, first) == "the map under it changed"
            assert store.missing(array, second) is None
            store.commit(array, first, data)
            assert store.missing(array, first) is None
            store.distrust(array, "all of it")
            assert store.missing(array, first) == store.missing(array, second) == "all of it"
            assert not any(store.missing(name, region) for name, region, _ in others if name != array)

    def test_another_plan_may_not_go_on(self, tmp_path: Path) -> None:
        self.finished(tmp_path / "result")
        before = _files(tmp_path / "result")
        other = PlanRecord({"settings": {"explain": {"method": "other"}}}, None)
        with self.claimed(tmp_path / "result", resume=True) as store, pytest.raises(UsageError, match="method"):
            store.reopen(_layout(), MemorySlide.striped(), other)
        assert _files(tmp_path / "result") == before

    # -- what the store makes itself --------------------------------------------------------------

    def test_derived_arrays_follow_what_they_are_made_of(self, tmp_path: Path) -> None:
        slide = MemorySlide.striped()
        with self.claimed(tmp_path / "result") as store:
            layout = store.extended(_layout(), slide)
            if not layout.derived:
                pytest.skip("the store derives nothing")
            store.create(layout, slide, _record())
            for array, region, data in (*_work(), *_copies(layout, slide)):
                store.commit(array, region, data)
            for spec in layout.derived:
                for region in spec.regions():
                    assert store.missing(spec.name, region)
                    made = store.derive(spec.name, region)
                    store.commit(spec.name, region, made)
                    assert store.missing(spec.name, region) is None
                    np.testing.assert_array_equal(store.read(spec.name, *spec.cells(region)), made)
            for array, region, data in _work():
                store.commit(array, region, np.ones_like(data))
            assert any(store.missing(spec.name, one) for spec in layout.derived for one in spec.regions())

    # -- receipts ---------------------------------------------------------------------------------

    def test_receipts_are_true(self, tmp_path: Path) -> None:
        store, receipts = self.finished(tmp_path / "result")
        for receipt, work in zip(receipts, _work(), strict=True):
            check_result(store, work, receipt)
            written = (tmp_path / "result" / receipt.path).read_bytes()
            assert (receipt.array, receipt.region) == work[:2]
            assert receipt.bytes == len(written)
            assert receipt.sha256 == hashlib.sha256(written).hexdigest()

    def test_a_region_is_a_file_of_its_own(self, tmp_path: Path) -> None:
        with self.created(tmp_path / "result") as store:
            receipts = [store.commit(*work) for work in _work()]
            assert len({receipt.path for receipt in receipts}) == len(receipts)
            before = _files(tmp_path / "result")
            array, region, data = _work()[1]
            store.commit(array, region, np.ones_like(data))
            after = _files(tmp_path / "result")
        assert {name for name in after if before.get(name) != after[name]} == {receipts[1].path}

    # -- the end ----------------------------------------------------------------------------------

    def test_same_data_gives_same_bytes(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            self.finished(tmp_path / name)
        assert _files(tmp_path / "a") == _files(tmp_path / "b")

    def test_finish_marks_the_result_complete(self, tmp_path: Path) -> None:
        with self.created(tmp_path / "result") as store:
            for work in _work():
                store.commit(*work)
            assert not self.is_complete(tmp_path / "result")
            store.finish({"settings": {}}, ())
            assert self.is_complete(tmp_path / "result")


def _record() -> PlanRecord:
    return PlanRecord({"settings": {"explain": {"method": "test"}}}, None)


def _layout() -> Layout:
    size = MemorySlide.striped().levels[0]
    rows, columns = -(-size.height // _STEP), -(-size.width // _STEP)
    grid = Grid((_STEP, _STEP), ((_STEP - 1) / 2, (_STEP - 1) / 2))
    heatmap = ArraySpec("heatmap", "heatmap", ("a", "b"), rows, columns, grid, _REGION // _STEP, "float32")
    labels = ArraySpec("segmentation", "labels", ("label",), size.height, size.width, Grid(), _REGION, "uint32")
    return Layout((heatmap, labels), 0, 1.0, 0.25)


def _work() -> list[tuple[str, Region, Pixels]]:
    """Every region of every array with its data."""
    work = []
    for spec in _layout().arrays:
        for region in Tiling(MemorySlide.striped(), 0, 16, 0, _REGION).regions():
            y, x, h, w = spec.cells(region)
            work.append((spec.name, region, _whole(spec)[:, y : y + h, x : x + w]))
    return work


def _copies(layout: Layout, slide: MemorySlide) -> Iterator[tuple[str, Region, Pixels]]:
    """Every region of the slide's levels that a store wants copied."""
    for level, spec in enumerate(spec for spec in layout.arrays if spec.role == "image"):
        for region in spec.regions():
            yield spec.name, region, np.moveaxis(slide.read(level, region.y, region.x, region.h, region.w), 2, 0)


def _whole(spec: ArraySpec) -> Pixels:
    generator = np.random.default_rng(5)
    shape = (len(spec.channels), spec.height, spec.width)
    if spec.role == "labels":
        return generator.integers(0, 1 << 31, shape).astype(spec.dtype)
    values = generator.normal(size=shape).astype(spec.dtype)
    values[:, generator.random(shape[1:]) < 0.1] = np.nan
    values[:, : spec.shard, : spec.shard] = np.nan
    return values


def _files(folder: Path) -> dict[str, str]:
    """Everything under a folder: files by the hash of their bytes, and folders."""
    return {str(path.relative_to(folder)): _digest(path) for path in sorted(folder.rglob("*"))}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder"
