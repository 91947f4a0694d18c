"""xaipipe explains vision models, from one photograph to a gigapixel whole-slide image.

What a reader of slides needs is imported at once. The rest needs torch and is imported when it is first asked for, so
that the processes which only read start quickly and stay small.
"""

from typing import TYPE_CHECKING, Any

from xaipipe.array_slide import ArraySlide
from xaipipe.errors import (
    BoundaryError,
    ExplanationWarning,
    InputError,
    LockedError,
    SlideLostError,
    StorageError,
    UnreadableError,
    UntrustedError,
    UsageError,
    XaipipeError,
)
from xaipipe.hookspecs import hookimpl
from xaipipe.types import (
    Batch,
    Explanation,
    Grid,
    Instance,
    LabelImage,
    Level,
    Receipt,
    Region,
    Segmentation,
    Slide,
    Tile,
    Unreadable,
)

if TYPE_CHECKING:
    from xaipipe.heavy import (
        CellwiseExplainer,
        ComparingExplainer,
        Explainer,
        ExplainerParams,
        FittedExplainer,
        Histogram,
        Layer,
        Loader,
        LoaderParams,
        Model,
        Other,
        Params,
        Pipeline,
        Placement,
        Postprocessor,
        Preprocess,
        Question,
        Registry,
        Segmenter,
        Similarity,
        Stage,
        Store,
        StoreParams,
        Summary,
        SummedExplainer,
        Target,
        evidence_at_pixels,
        explain,
        fused,
        own_cells,
        placement,
        to_pixels,
    )

__all__ = [
    "ArraySlide",
    "Batch",
    "BoundaryError",
    "CellwiseExplainer",
    "ComparingExplainer",
    "Explainer",
    "ExplainerParams",
    "Explanation",
    "ExplanationWarning",
    "FittedExplainer",
    "Grid",
    "Histogram",
    "InputError",
    "Instance",
    "LabelImage",
    "Layer",
    "Level",
    "Loader",
    "LoaderParams",
    "LockedError",
    "Model",
    "Other",
    "Params",
    "Pipeline",
    "Placement",
    "Postprocessor",
    "Preprocess",
    "Question",
    "Receipt",
    "Region",
    "Registry",
    "Segmentation",
    "Segmenter",
    "Similarity",
    "Slide",
    "SlideLostError",
    "Stage",
    "StorageError",
    "Store",
    "StoreParams",
    "Summary",
    "SummedExplainer",
    "Target",
    "Tile",
    "Unreadable",
    "UnreadableError",
    "UntrustedError",
    "UsageError",
    "XaipipeError",
    "evidence_at_pixels",
    "explain",
    "fused",
    "hookimpl",
    "own_cells",
    "placement",
    "to_pixels",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'xaipipe' has no attribute '{name}'")
    from xaipipe import heavy

    globals()[name] = getattr(heavy, name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
