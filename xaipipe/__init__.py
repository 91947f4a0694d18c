"""xaipipe explains vision models, from one photograph to a gigapixel whole-slide image."""

from xaipipe.api import explain
from xaipipe.array_slide import ArraySlide
from xaipipe.errors import (
    BoundaryError,
    InputError,
    LockedError,
    StorageError,
    UntrustedError,
    UsageError,
    XaipipeError,
)
from xaipipe.hookspecs import hookimpl
from xaipipe.models.layers import Layer
from xaipipe.models.model import Model
from xaipipe.models.preprocess import Preprocess
from xaipipe.models.targets import Target
from xaipipe.params import Params
from xaipipe.pipeline import Pipeline, Summary
from xaipipe.registry import Registry
from xaipipe.resample import evidence_at_pixels, to_pixels
from xaipipe.stages import (
    Explainer,
    ExplainerParams,
    Loader,
    LoaderParams,
    Postprocessor,
    Segmenter,
    Stage,
    Store,
    StoreParams,
)
from xaipipe.statistics import Histogram
from xaipipe.types import (
    Batch,
    Explanation,
    Grid,
    Instance,
    Level,
    Receipt,
    Region,
    Segmentation,
    Slide,
    Tile,
)

__all__ = [
    "ArraySlide",
    "Batch",
    "BoundaryError",
    "Explainer",
    "ExplainerParams",
    "Explanation",
    "Grid",
    "Histogram",
    "InputError",
    "Instance",
    "Layer",
    "Level",
    "Loader",
    "LoaderParams",
    "LockedError",
    "Model",
    "Params",
    "Pipeline",
    "Postprocessor",
    "Preprocess",
    "Receipt",
    "Region",
    "Registry",
    "Segmentation",
    "Segmenter",
    "Slide",
    "Stage",
    "StorageError",
    "Store",
    "StoreParams",
    "Summary",
    "Target",
    "Tile",
    "UntrustedError",
    "UsageError",
    "XaipipeError",
    "evidence_at_pixels",
    "explain",
    "hookimpl",
    "to_pixels",
]
