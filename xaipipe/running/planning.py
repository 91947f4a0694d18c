"""Making a plan: choose the level, lay the tiles, and try every stage once on one batch before the long work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from xaipipe.config import Config
from xaipipe.errors import InputError, UsageError
from xaipipe.models.model import Model
from xaipipe.models.preprocess import Preprocess
from xaipipe.models.weight_cache import WeightCache
from xaipipe.registry import Registry
from xaipipe.resolution import at_resolution
from xaipipe.running.assembly import as_kept
from xaipipe.running.chain import final_map, fit_segmenters, map_item, segmented
from xaipipe.running.exact.checking import check_numerically
from xaipipe.running.exact.network import Network
from xaipipe.running.exact.planning import exact_lattice, exact_tiling, find_network, passes_over
from xaipipe.running.exact.shares import largest_tile
from xaipipe.running.layout import STANDARD_ERROR, STATES, STATUS, ArraySpec, Layout
from xaipipe.running.loading import Worth, counted, fit_loader, mask_spec, masks_of, worth_explaining
from xaipipe.running.patched import PatchedSlide
from xaipipe.running.plan import Plan, RegionPlan
from xaipipe.running.probing import Probe, memory_of, probed, timed
from xaipipe.running.run import Run
from xaipipe.running.sample import readable_sample
from xaipipe.running.tiling import Lattice, Tiling, make_lattice, make_tiling
from xaipipe.several import require_several
from xaipipe.slides import as_asked
from xaipipe.types import Explanation, Grid, LabelImage, Region, Slide, Tile


def make_run(configs: Mapping[str | None, Config], registry: Registry, model: Model, slide: Slide) -> Run:
    """A run that is ready to execute; whatever is wrong with its settings or its model shows here.

    Of several targets each has settings, under the name of its result; their stages are alike but for what is asked.
    """
    (name, config), *others = configs.items()
    _require_no_pictures(config)
    require_several(configs, model.labels)
    preprocess = required_preprocess(config, model)
    slide, level = at_resolution(as_asked(slide, config.loader.params), preprocess.mpp)
    # methods that want to know the range of a pixel ask the model, and its weights stay as they are until the end
    model = replace(model, preprocess=preprocess, weights=WeightCache())
    run = Run(config, registry, model, preprocess, name)
    run.also = tuple(Run(own, registry, model, preprocess, other) for other, own in others)
    seen = PatchedSlide(slide)
    fit_loader(run, seen, level)
    how = _exactly(run, slide, level) if config.run.mode == "exact" else _tile_by_tile(run, slide, level, seen)
    probe, masks = how.probe.explanation, masks_of(run)
    layout = _layout(config, how.tiling, how.lattice, probe, masks)
    memory = memory_of(run, layout, how.probe, how.wanted)
    sampled, seconds = timed(run, how.sample[: memory.sizes.batch])
    plan = Plan(
        tiling=how.tiling,
        lattice=how.lattice,
        layout=layout,
        regions=how.worth.regions,
        background=how.worth.background,
        unjudged=how.worth.unjudged,
        masks=masks,
        findings=config.loader.findings(run.fitted.get(config.loader)),
        channels=int(probe.values.shape[1]),
        seconds_per_tile=seconds / sampled,
        passes=how.passes,
        sampled=sampled,
        memory=memory,
        grid_source=str(probe.diagnostics.get("grid", "the method's own")),
        layer=probe.diagnostics.get("layer"),
        network=how.network,
        targets=len(configs),
    )
    for one, explanation in zip(run.every, how.probe.explanations, strict=True):
        one.planned = plan
        one.fitted[config.loader] = run.fitted[config.loader]
        _try_later_stages(one, explanation)
    return run


def _require_no_pictures(config: Config) -> None:
    for stage in config.postprocessors:
        if stage.is_for_pictures:
            raise UsageError(
                f"postprocess method '{stage.name}' says how a picture is drawn, and a run draws none",
                hint="leave it out; `xaipipe export --to png` draws one, with --percentile, --colours and --opacity",
            )


@dataclass(frozen=True)
class _Division:
    """How a level is divided, and what a sample of it gave."""

    tiling: Tiling
    lattice: Lattice
    worth: Worth
    sample: tuple[Tile, ...]
    probe: Probe
    """Of the sample's first tile."""
    wanted: int
    """Tiles in a batch, if memory allows."""
    passes: int = 1
    network: Network | None = None


def _tile_by_tile(run: Run, slide: Slide, level: int, seen: PatchedSlide) -> _Division:
    """Every tile by itself; background is left out."""
    params = run.config.loader.params
    tile = params.tile or run.preprocess.size
    tiling = make_tiling(slide, level, tile, params.overlap, run.config.store.params.shard)
    worth = worth_explaining(run, tiling, seen)
    if not any(planned.count for planned in worth.regions):
        raise InputError(
            "there is nothing to explain: every tile is background",
            got=counted(worth.background),
            where=slide,
            hint='set [load] tissue = "off"',
        )
    sample = readable_sample(run, slide, worth.regions)
    probe = probed(run, sample[0])
    return _Division(tiling, make_lattice(tiling, probe.explanation), worth, sample, probe, params.batch)


def _exactly(run: Run, slide: Slide, level: int) -> _Division:
    """Shares of the whole image, background too: it goes into the network's poolings like the rest."""
    if getattr(run.config.loader.params, "tissue", None) == "on":
        raise UsageError(
            "an exact run explains the whole image, background too",
            got='[load] tissue = "on"',
            expected='"auto" or "off"',
        )
    network = find_network(run, slide, level)
    tiling = exact_tiling(run, network, slide, level)
    check_numerically(run, network, tiling)
    regions = tuple(RegionPlan.of(one, tiling, [True] * len(tiling.tiles(one))) for one in tiling.regions())
    tile = largest_tile(network, tiling, run.config.explainer)
    return _Division(
        tiling,
        exact_lattice(network, tiling),
        Worth(regions, {}),
        sample=(tile,),
        probe=probed(run, tile),
        wanted=max(run.config.loader.params.batch * run.preprocess.size**2 // (tile.h * tile.w), 1),
        passes=passes_over(run, network),
        network=network,
    )


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


def _layout(
    config: Config, tiling: Tiling, lattice: Lattice, probe: Explanation, masks: tuple[LabelImage, ...]
) -> Layout:
    channels = tuple(f"channel {i}" for i in range(probe.values.shape[1]))
    slide, downsample = tiling.slide, tiling.slide.levels[tiling.level].downsample
    map_spec = ArraySpec(
        name="heatmap",
        role="heatmap",
        channels=channels,
        height=lattice.height,
        width=lattice.width,
        grid=lattice.grid,
        shard=lattice.per_region,
        dtype="float64" if probe.values.dtype == torch.float64 else "float32",
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
    if probe.standard_error is not None:
        arrays.append(replace(map_spec, name=STANDARD_ERROR))
    arrays.append(replace(map_spec, name=STATUS, role="labels", channels=("status",), dtype="uint8", classes=STATES))
    arrays.extend(mask_spec(mask, downsample) for mask in masks)
    return config.store.extended(Layout(tuple(arrays), tiling.level, downsample, slide.mpp), slide.original)


def _try_later_stages(run: Run, probe: Explanation) -> None:
    """Postprocessing and segmenting the sample's first tile: a stage that cannot work says so now."""
    first, step = run.plan.lattice.first, run.plan.lattice.step[0]
    side = run.plan.lattice.per_core
    values = as_kept(probe.values[0, :, first[0] : first[0] + side, first[1] : first[1] + side]).numpy()
    region = Region(0, 0, 0, 0, values.shape[1] * step, values.shape[2] * step)
    item = final_map(run, map_item(run, region, values, (0, 0)))
    segmenters = run.config.segmenters
    fit_segmenters(run, segmenters, lambda summarise: [summarise(item)])
    segmented(run, segmenters, item)
    for segmenter in segmenters:
        run.fitted.pop(segmenter, None)
