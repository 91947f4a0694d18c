"""Making a plan: choose the level, lay the tiles, and try every stage once on one batch before the long work."""

from __future__ import annotations

import time
from dataclasses import replace

from xaipipe.config import Config
from xaipipe.errors import BoundaryError, InputError, UsageError
from xaipipe.models.model import Model
from xaipipe.models.preprocess import Preprocess
from xaipipe.registry import Registry
from xaipipe.resolution import at_resolution
from xaipipe.running.assembly import Assembly
from xaipipe.running.chain import final_map, fit_segmenters, map_item, segmented
from xaipipe.running.layout import ArraySpec, Layout
from xaipipe.running.plan import Plan, RegionPlan
from xaipipe.running.run import Run
from xaipipe.running.tiling import Lattice, Tiling, make_lattice, make_tiling
from xaipipe.slides import as_asked
from xaipipe.types import Explanation, Grid, Region, Slide, Tile


def make_run(config: Config, registry: Registry, model: Model, slide: Slide) -> Run:
    """A run that is ready to execute; whatever is wrong with its settings or its model shows here."""
    preprocess = required_preprocess(config, model)
    loader = config.loader.params
    slide, level = at_resolution(as_asked(slide, loader), preprocess.mpp)
    tile = loader.tile or preprocess.size
    tiling = make_tiling(slide, level, tile, loader.overlap, config.store.params.shard)
    regions, tiles_in_all = _regions(config, tiling)
    run = Run(config, registry, model, preprocess)
    sample = next((r.tiles for r in regions if r.tiles), ())[: loader.batch]
    if not sample:
        raise InputError(
            "there is nothing to explain: every tile is background",
            where=slide,
            hint='set [load] tissue = "off"',
        )
    probe, seconds = _probe(run, sample)
    lattice = make_lattice(tiling, probe)
    run.planned = Plan(
        tiling=tiling,
        lattice=lattice,
        layout=_layout(config, tiling, lattice, probe, level),
        regions=regions,
        tiles_in_all=tiles_in_all,
        channels=int(probe.values.shape[1]),
        seconds_per_tile=seconds / len(sample),
        sampled=len(sample),
        grid_source=str(probe.diagnostics.get("grid", "the method's own")),
        layer=probe.diagnostics.get("layer"),
    )
    _try_later_stages(run, probe, sample[0])
    return run


def required_preprocess(config: Config, model: Model) -> Preprocess:
    """The model's own with the settings' on top; never a guess."""
    if model.preprocess is None and not config.preprocess:
        raise UsageError(
            "nothing says how this model wants its input",
            where=model.source,
            expected="a [preprocess] table with size, mean and std",
            hint="or a dictionary PREPROCESS beside the factory",
        )
    return Preprocess.merged(model.preprocess, config.preprocess, "[preprocess]")


def _regions(config: Config, tiling: Tiling) -> tuple[tuple[RegionPlan, ...], int]:
    planned, in_all = [], 0
    for region in tiling.regions():
        tiles = tiling.tiles(region)
        wanted = config.loader.foreground(tiling.slide, tiling.level, tiles)
        if len(wanted) != len(tiles):
            raise BoundaryError(
                f"load method '{config.loader.name}' answered for the wrong number of tiles",
                got=len(wanted),
                expected=len(tiles),
                where=region,
            )
        in_all += len(tiles)
        planned.append(RegionPlan(region, tuple(t for t, keep in zip(tiles, wanted, strict=True) if keep)))
    return tuple(planned), in_all


def _probe(run: Run, sample: tuple[Tile, ...]) -> tuple[Explanation, float]:
    """The map of a sample, and how long it takes once everything is warm."""
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        batch = run.stage(run.config.loader, sample)
        probe = run.stage(run.config.explainer, batch)
        seconds = time.perf_counter() - started
    return probe, seconds


def _layout(config: Config, tiling: Tiling, lattice: Lattice, probe: Explanation, level: int) -> Layout:
    channels = tuple(f"channel {i}" for i in range(probe.values.shape[1]))
    slide = tiling.slide
    map_spec = ArraySpec(
        name="heatmap",
        role="heatmap",
        channels=channels,
        height=lattice.height,
        width=lattice.width,
        grid=lattice.grid,
        shard=lattice.per_region,
        dtype="float32",
    )
    arrays = [map_spec]
    if config.postprocessors:
        arrays.insert(0, replace(map_spec, name="raw"))
    if config.segmenters:
        arrays.append(
            ArraySpec(
                "segmentation", "labels", ("label",), tiling.height, tiling.width, Grid(), tiling.region, "uint32"
            )
        )
    arrays.extend(config.store.more_arrays(slide.original))
    return Layout(tuple(arrays), level, slide.levels[level].downsample, slide.mpp)


def _try_later_stages(run: Run, probe: Explanation, tile: Tile) -> None:
    """Postprocessing and segmenting the sample's first tile: a stage that cannot work says so now."""
    region = Region(0, 0, tile.y, tile.x, tile.h, tile.w)
    cells = run.plan.lattice.per_core
    assembly = Assembly(region, run.plan.lattice, (cells, cells), run.plan.channels)
    assembly.add(probe.replace(values=probe.values[:1], tiles=probe.tiles[:1]))
    item = final_map(run, map_item(run, region, assembly.values, (0, 0)))
    segmenters = run.config.segmenters
    fit_segmenters(run, segmenters, lambda summarise: [summarise(item)])
    segmented(run, segmenters, item)
    run.fitted.clear()
