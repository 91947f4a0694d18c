"""Every check of the loaders', readers' and stores' contracts fails for one that breaks its promise."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import torch

from xaipipe import (
    Batch,
    BoundaryError,
    InputError,
    Instance,
    LabelImage,
    Level,
    Loader,
    Preprocess,
    Receipt,
    Region,
    Slide,
    Tile,
)
from xaipipe.running.layout import Layout
from xaipipe.running.manifest import PlanRecord
from xaipipe.testing import LoaderContract, ReaderContract, StageContract, StoreContract, striped_pixels
from xaipipe_store.ome_zarr import OmeZarr
from xaipipe_store.verify import damage_of
from xaipipe_tiles.tiles import Tiles

# -- loaders --------------------------------------------------------------------------------------


class WithoutHalo(Tiles):
    def load(self, tiles: tuple[Tile, ...], preprocess: Preprocess, fitted: Any) -> Batch:
        cut = super().load(tuple(replace(tile, halo=0) for tile in tiles), preprocess, fitted)
        return Batch(tiles, cut.pixels, cut.valid)


class InAnotherRange(Tiles):
    def load(self, tiles: tuple[Tile, ...], preprocess: Preprocess, fitted: Any) -> Batch:
        batch = super().load(tiles, preprocess, fitted)
        return replace(batch, pixels=batch.pixels.clamp(-1, 1))


class AllIsValid(Tiles):
    def load(self, tiles: tuple[Tile, ...], preprocess: Preprocess, fitted: Any) -> Batch:
        batch = super().load(tiles, preprocess, fitted)
        return replace(batch, valid=torch.ones_like(batch.valid))


class SharesABuffer(Tiles):
    """The buffer holds one tile after the other, whichever thread brought it."""

    def load(self, tiles: tuple[Tile, ...], preprocess: Preprocess, fitted: Any) -> Batch:
        batch = super().load(tiles, preprocess, fitted)
        loaded = []
        for pixels in batch.pixels:
            self._buffer = pixels
            time.sleep(1e-3)
            loaded.append(self._buffer)
        return replace(batch, pixels=torch.stack(loaded))


class RemembersTheFirstSlide(Tiles):
    def load(self, tiles: tuple[Tile, ...], preprocess: Preprocess, fitted: Any) -> Batch:
        if not hasattr(self, "_slide"):
            self._slide = tiles[0].slide
        batch = super().load(tuple(replace(tile, slide=self._slide) for tile in tiles), preprocess, fitted)
        return replace(batch, tiles=tiles)


class AnswersOnce(Tiles):
    def background(self, tiles: tuple[Tile, ...], fitted: Any) -> tuple[str | None, ...]:
        return (None,)


class FitsWhateverComes(Tiles):
    """As one would that looks at random places."""

    def findings(self, fitted: Any) -> Mapping[str, Mapping[str, Any]]:
        return {"sample": {"seed": str(uuid4())}}


class FindsAnArray(Tiles):
    def findings(self, fitted: Any) -> Mapping[str, Mapping[str, Any]]:
        return {"tissue": {"mask": np.zeros(3)}}


class MaskBesideTheSlide(Tiles):
    """Its grid begins at the first cell's corner, as it would in a library that counts from there."""

    def masks(self, fitted: Any) -> tuple[LabelImage, ...]:
        (mask,) = super().masks(fitted)
        return (replace(mask, grid=replace(mask.grid, offset=(0.0, 0.0))),)


LOADERS: list[tuple[type[Loader], str]] = [
    (WithoutHalo, "test_returns_every_tile_with_its_halo"),
    (InAnotherRange, "test_pixels_are_the_slides"),
    (AllIsValid, "test_valid_is_what_lies_on_the_slide"),
    (SharesABuffer, "test_threads_load_what_one_loads"),
    (RemembersTheFirstSlide, "test_another_slide_leaves_no_trace"),
    (AnswersOnce, "test_background_is_told_for_every_tile"),
    (FitsWhateverComes, "test_a_fit_can_be_made_again"),
    (FindsAnArray, "test_findings_are_facts_for_a_manifest"),
    (MaskBesideTheSlide, "test_masks_lie_over_the_whole_slide"),
]

# -- readers --------------------------------------------------------------------------------------

HEADER = b"RAWPIXEL"


class Raw(Slide):
    """An honest reader: a header, two sizes, bytes. The second level is every second pixel."""

    mpp = None

    def __init__(self, path: Path) -> None:
        self.path = path
        content = path.read_bytes()
        h, w = np.frombuffer(content, np.uint16, 2, len(HEADER))
        self.levels = (Level(int(h), int(w), 1.0), Level(int(h + 1) // 2, int(w + 1) // 2, 2.0))
        body = content[len(HEADER) + 4 :]
        if len(body) < int(h) * int(w) * 3:
            raise InputError("the file is cut short", where=path)
        self.pixels = np.frombuffer(body, np.uint8, int(h) * int(w) * 3).reshape(h, w, 3).copy()

    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray:
        return self.pixels[:: 2**level, :: 2**level][y : y + h, x : x + w].copy()

    @property
    def fingerprint(self) -> str:
        return str(self.path.stat().st_size)


class CoarseFirst(Raw):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.levels = self.levels[::-1]


class BlueFirst(Raw):
    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray:
        return super().read(level, y, x, h, w)[:, :, ::-1]


class AlwaysTheCorner(Raw):
    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray:
        return super().read(level, 0, 0, h, w)


class HandsOutItsOwn(Raw):
    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray:
        return self.pixels[:: 2**level, :: 2**level][y : y + h, x : x + w]


class SeeksForEverybody(Raw):
    """Where to read is kept on the slide, as a file's position would be."""

    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray:
        self._place = (y, x)
        time.sleep(1e-3)
        return super().read(level, *self._place, h, w)


class KnownByName(Raw):
    @property
    def fingerprint(self) -> str:
        return self.path.name


class NeverTheSame(Raw):
    @property
    def fingerprint(self) -> str:
        return str(uuid4())


class TakesEverything(Raw):
    """Any file: what it lacks is black."""

    def __init__(self, path: Path) -> None:
        self.path = path
        content = path.read_bytes() if path.is_file() else b""
        self.pixels = np.zeros((120, 130, 3), np.uint8)
        body = np.frombuffer(content[len(HEADER) + 4 :], np.uint8)[: self.pixels.size]
        self.pixels.reshape(-1)[: len(body)] = body
        self.levels = (Level(120, 130, 1.0),)


READERS: list[tuple[type[Raw], str]] = [
    (CoarseFirst, "test_levels_go_from_fine_to_coarse"),
    (BlueFirst, "test_pixels_are_those_another_program_reads"),
    (AlwaysTheCorner, "test_boxes_are_crops_of_the_whole_level"),
    (HandsOutItsOwn, "test_what_was_read_belongs_to_the_caller"),
    (SeeksForEverybody, "test_threads_read_what_one_reads"),
    (KnownByName, "test_fingerprint_is_the_contents"),
    (NeverTheSame, "test_fingerprint_is_the_contents"),
    (TakesEverything, "test_foreign_files_are_left_to_others"),
    (TakesEverything, "test_truncated_file_is_refused_in_words"),
]


def reader_contract(reader: type[Raw]) -> type[ReaderContract]:
    class Contract(ReaderContract):
        def open(self, path: Path) -> Slide | None:
            ours = path.is_file() and path.read_bytes().startswith(HEADER)
            return reader(path) if ours or reader is TakesEverything else None

        def write(self, folder: Path) -> Path:
            size = np.array([120, 130], np.uint16).tobytes()
            (folder / "slide.raw").write_bytes(HEADER + size + striped_pixels(120, 130).tobytes())
            return folder / "slide.raw"

        def expected(self, path: Path) -> np.ndarray:
            return striped_pixels(120, 130)

    return Contract


# -- stores ---------------------------------------------------------------------------------------


class MakesAFolderAtOnce(OmeZarr):
    def claim(self, output: Path, overwrite: bool = False, resume: bool = False) -> None:
        super().claim(output, overwrite, resume)
        output.mkdir(exist_ok=True)


class TakesAnyPlace(OmeZarr):
    def claim(self, output: Path, overwrite: bool = False, resume: bool = False) -> None:
        self.output = output


class OverwritesUnasked(OmeZarr):
    def claim(self, output: Path, overwrite: bool = False, resume: bool = False) -> None:
        super().claim(output, overwrite=True, resume=resume)


class MakesParents(OmeZarr):
    def claim(self, output: Path, overwrite: bool = False, resume: bool = False) -> None:
        output.parent.mkdir(exist_ok=True, parents=True)
        super().claim(output, overwrite, resume)


class FillsHoles(OmeZarr):
    def commit(self, array: str, region: Region, data: np.ndarray) -> Receipt:
        return super().commit(array, region, np.nan_to_num(data))


class DropsWhatComesTogether(OmeZarr):
    def create(self, layout: Layout, slide: Slide, record: PlanRecord) -> None:
        super().create(layout, slide, record)
        self._busy = threading.Lock()

    def commit(self, array: str, region: Region, data: np.ndarray) -> Receipt:
        if not self._busy.acquire(blocking=False):
            return Receipt(array, region, "", 0, "")
        try:
            time.sleep(0.02)
            return super().commit(array, region, data)
        finally:
            self._busy.release()


class StartsFromZero(OmeZarr):
    def create(self, layout: Layout, slide: Slide, record: PlanRecord) -> None:
        super().create(layout, slide, record)
        for array in self._arrays.values():
            array[...] = 0


class HashesWhatItWasGiven(OmeZarr):
    def commit(self, array: str, region: Region, data: np.ndarray) -> Receipt:
        return replace(super().commit(array, region, data), bytes=data.nbytes)


class NamesTheArray(OmeZarr):
    def commit(self, array: str, region: Region, data: np.ndarray) -> Receipt:
        return replace(super().commit(array, region, data), path=self._arrays[array].path)


class CountsCommits(OmeZarr):
    def commit(self, array: str, region: Region, data: np.ndarray) -> Receipt:
        with (self.output / "commits.txt").open("a") as file:
            file.write("one more\n")
        return super().commit(array, region, data)


class SignsEachRun(OmeZarr):
    def finish(self, manifest: Mapping[str, Any], instances: tuple[Instance, ...]) -> None:
        super().finish({**manifest, "run": str(uuid4())}, instances)


class NeverFinishes(OmeZarr):
    def finish(self, manifest: Mapping[str, Any], instances: tuple[Instance, ...]) -> None:
        """The manifest is forgotten."""


class CompleteFromTheStart(OmeZarr):
    def create(self, layout: Layout, slide: Slide, record: PlanRecord) -> None:
        super().create(layout, slide, record)
        super().finish({}, ())


class SharesItsOutput(OmeZarr):
    def claim(self, output: Path, overwrite: bool = False, resume: bool = False) -> None:
        super().claim(output, overwrite, resume)
        self._held.release()
        self._held = None


class ForgetsCommits(OmeZarr):
    def missing(self, array: str, region: Region) -> str | None:
        return "who knows"


class TrustsTheDisk(OmeZarr):
    def missing(self, array: str, region: Region) -> str | None:
        return None if self._book.receipt(array, region) else "it was never committed"


class RemembersInMemory(OmeZarr):
    def remember(self, name: str, value: Any) -> None:
        self._facts = {**getattr(self, "_facts", {}), name: value}

    def recall(self, name: str) -> Any:
        return getattr(self, "_facts", {}).get(name)


class TakesHolesAsRead(OmeZarr):
    def missing(self, array: str, region: Region) -> str | None:
        receipt = self._book.receipt(array, region)
        return "it was never committed" if receipt is None else damage_of(self.output, receipt)


class DistrustsEverything(OmeZarr):
    def distrust(self, array: str, reason: str, region: Region | None = None) -> None:
        super().distrust(array, reason)


class SignsEachResume(OmeZarr):
    def reopen(self, layout: Layout, slide: Slide, record: PlanRecord) -> None:
        super().reopen(layout, slide, record)
        (self.output / "resumed.txt").touch()


class MixesPlans(OmeZarr):
    def reopen(self, layout: Layout, slide: Slide, record: PlanRecord) -> None:
        super().reopen(layout, slide, PlanRecord({"settings": {"explain": {"method": "test"}}}, None))


STORES: list[tuple[type[OmeZarr], str]] = [
    (SharesItsOutput, "test_an_output_in_use_is_refused"),
    (ForgetsCommits, "test_what_was_committed_is_not_missing"),
    (TrustsTheDisk, "test_a_damaged_region_is_missing_with_the_reason"),
    (RemembersInMemory, "test_facts_are_remembered"),
    (TakesHolesAsRead, "test_a_region_is_missing_as_long_as_a_part_of_it_is_unreadable"),
    (TakesHolesAsRead, "test_what_is_distrusted_is_missing_until_it_is_committed_again"),
    (DistrustsEverything, "test_what_is_distrusted_is_missing_until_it_is_committed_again"),
    (SignsEachResume, "test_a_result_that_went_on_has_the_same_bytes"),
    (MixesPlans, "test_another_plan_may_not_go_on"),
    (TrustsTheDisk, "test_derived_arrays_follow_what_they_are_made_of"),
    (MakesAFolderAtOnce, "test_claim_changes_nothing"),
    (TakesAnyPlace, "test_claim_refuses_what_is_not_ours"),
    (OverwritesUnasked, "test_claim_asks_before_it_overwrites_ours"),
    (TakesAnyPlace, "test_claim_needs_a_folder"),
    (MakesParents, "test_claim_needs_a_folder"),
    (FillsHoles, "test_committed_regions_are_read_back"),
    (DropsWhatComesTogether, "test_regions_committed_by_threads_are_read_back"),
    (StartsFromZero, "test_what_was_not_committed_is_nothing"),
    (HashesWhatItWasGiven, "test_receipts_are_true"),
    (NamesTheArray, "test_a_region_is_a_file_of_its_own"),
    (CountsCommits, "test_a_region_is_a_file_of_its_own"),
    (SignsEachRun, "test_same_data_gives_same_bytes"),
    (NeverFinishes, "test_finish_marks_the_result_complete"),
    (CompleteFromTheStart, "test_finish_marks_the_result_complete"),
]


class Complete(StoreContract):
    def is_complete(self, output: Path) -> bool:
        attributes = json.loads((output / "zarr.json").read_text())["attributes"]
        return bool(attributes["xaipipe"].get("complete"))


# -- all ------------------------------------------------------------------------------------------


def contract_of(method: type) -> type:
    if issubclass(method, Raw):
        return reader_contract(method)
    base = LoaderContract if issubclass(method, Loader) else Complete
    return type("Contract", (base,), {"method": method})


BROKEN: list[tuple[type, str]] = [*LOADERS, *READERS, *STORES]
HONEST = [
    (honest, check)
    for honest, cases in ((Tiles, LOADERS), (Raw, READERS), (OmeZarr, STORES))
    for check in sorted({check for _, check in cases})
]
FAILURES = (AssertionError, BoundaryError, pytest.fail.Exception)


@pytest.mark.parametrize(("broken", "check"), BROKEN, ids=lambda part: getattr(part, "__name__", part))
def test_broken_one_is_caught(broken: type, check: str, run_check: Any) -> None:
    with pytest.raises(FAILURES):
        run_check(contract_of(broken), check)


@pytest.mark.parametrize(("honest", "check"), HONEST, ids=lambda part: getattr(part, "__name__", part))
def test_honest_one_passes(honest: type, check: str, run_check: Any) -> None:
    run_check(contract_of(honest), check)


@pytest.mark.parametrize(
    ("contract", "cases"), [(LoaderContract, LOADERS), (ReaderContract, READERS), (StoreContract, STORES)]
)
def test_every_check_catches_somebody(contract: type, cases: list[tuple[type, str]], checks_of: Any) -> None:
    assert {check for _, check in cases} == checks_of(contract) - checks_of(StageContract)
