"""The contract of stores."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from xaipipe.errors import StorageError, UsageError
from xaipipe.running.checks import check_result
from xaipipe.running.layout import ArraySpec, Layout
from xaipipe.running.tiling import Tiling
from xaipipe.stages import Store
from xaipipe.testing.params import StageContract
from xaipipe.testing.slides import MemorySlide
from xaipipe.types import Grid, Instance, Receipt, Region

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

    def created(self, output: Path) -> Store:
        store: Store = self.build()
        store.claim(output, overwrite=False)
        store.create(_layout(), MemorySlide.striped())
        return store

    def finished(self, output: Path) -> tuple[Store, list[Receipt]]:
        store = self.created(output)
        receipts = [store.commit(*work) for work in _work()]
        store.finish({"settings": {"explain": {"method": "test"}}}, (_INSTANCE,))
        return store, receipts

    # -- whose an output is -----------------------------------------------------------------------

    def test_claim_changes_nothing(self, tmp_path: Path) -> None:
        self.build().claim(tmp_path / "result", overwrite=False)
        assert _files(tmp_path) == {}

    def test_claim_refuses_what_is_not_ours(self, tmp_path: Path) -> None:
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter.txt").write_text("ten years of work")
        (tmp_path / "zarr.json").write_text("{}")
        before = _files(tmp_path)
        for name in ("thesis", "zarr.json"):
            for overwrite in (False, True):
                with pytest.raises(UsageError):
                    self.build().claim(tmp_path / name, overwrite=overwrite)
        assert _files(tmp_path) == before

    def test_claim_asks_before_it_overwrites_ours(self, tmp_path: Path) -> None:
        self.finished(tmp_path / "result")
        before = _files(tmp_path)
        with pytest.raises(UsageError):
            self.build().claim(tmp_path / "result", overwrite=False)
        self.build().claim(tmp_path / "result", overwrite=True)
        assert _files(tmp_path) == before

    def test_claim_needs_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError):
            self.build().claim(tmp_path / "missing" / "result", overwrite=False)
        assert _files(tmp_path) == {}

    # -- what is written is what is read ----------------------------------------------------------

    def test_committed_regions_are_read_back(self, tmp_path: Path) -> None:
        store, _ = self.finished(tmp_path / "result")
        for spec in _layout().arrays:
            np.testing.assert_array_equal(store.read(spec.name, 0, 0, spec.height, spec.width), _whole(spec))
            np.testing.assert_array_equal(store.read(spec.name, 3, 5, 20, 17), _whole(spec)[:, 3:23, 5:22])

    def test_regions_committed_by_threads_are_read_back(self, tmp_path: Path) -> None:
        store = self.created(tmp_path / "result")
        with ThreadPoolExecutor(4) as pool:
            receipts = list(pool.map(lambda work: store.commit(*work), _work()))
        assert [(receipt.array, receipt.region) for receipt in receipts] == [work[:2] for work in _work()]
        for spec in _layout().arrays:
            np.testing.assert_array_equal(store.read(spec.name, 0, 0, spec.height, spec.width), _whole(spec))

    def test_what_was_not_committed_is_nothing(self, tmp_path: Path) -> None:
        store = self.created(tmp_path / "result")
        heatmap, labels = _layout().arrays
        assert np.isnan(store.read(heatmap.name, 0, 0, heatmap.height, heatmap.width)).all()
        assert not store.read(labels.name, 0, 0, labels.height, labels.width).any()

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
        store = self.created(tmp_path / "result")
        receipts = [store.commit(*work) for work in _work()]
        assert len({receipt.path for receipt in receipts}) == len(receipts)
        before = _files(tmp_path)
        array, region, data = _work()[1]
        store.commit(array, region, np.ones_like(data))
        changed = {name for name, digest in _files(tmp_path).items() if before.get(name) != digest}
        assert changed == {f"result/{receipts[1].path}"}

    # -- the end ----------------------------------------------------------------------------------

    def test_same_data_gives_same_bytes(self, tmp_path: Path) -> None:
        for folder in (tmp_path / "a", tmp_path / "b"):
            folder.mkdir()
            self.finished(folder / "result")
        assert _files(tmp_path / "a") == _files(tmp_path / "b")

    def test_finish_marks_the_result_complete(self, tmp_path: Path) -> None:
        store = self.created(tmp_path / "result")
        for work in _work():
            store.commit(*work)
        assert not self.is_complete(tmp_path / "result")
        store.finish({"settings": {}}, ())
        assert self.is_complete(tmp_path / "result")


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
