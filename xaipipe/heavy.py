"""What `xaipipe` offers that needs torch; `xaipipe` takes it from here when it is first asked for."""

from xaipipe.api import explain
from xaipipe.models.layers import Layer
from xaipipe.models.model import Model
from xaipipe.models.placement import Placement, placement
from xaipipe.models.preprocess import Preprocess
from xaipipe.models.targets import Question, Similarity, Target
from xaipipe.params import Params
from xaipipe.pipeline import Pipeline, Summary
from xaipipe.registry import Registry
from xaipipe.resample import evidence_at_pixels, fused, to_pixels
from xaipipe.shares import CellwiseExplainer, ComparingExplainer, FittedExplainer, Other, SummedExplainer, own_cells
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

__all__ = [
    "CellwiseExplainer",
    "ComparingExplainer",
    "Explainer",
    "ExplainerParams",
    "FittedExplainer",
    "Histogram",
    "Layer",
    "Loader",
    "LoaderParams",
    "Model",
    "Other",
    "Params",
    "Pipeline",
    "Placement",
    "Postprocessor",
    "Preprocess",
    "Question",
    "Registry",
    "Segmenter",
    "Similarity",
    "Stage",
    "Store",
    "StoreParams",
    "Summary",
    "SummedExplainer",
    "Target",
    "evidence_at_pixels",
    "explain",
    "fused",
    "own_cells",
    "placement",
    "to_pixels",
]
