"""The kinds of stage. A method is one subclass: a name, a `Params`, and the one function that does the work.

Where a stage needs to know something of the whole slide before it can do its work (a threshold from the slide's
histogram, labels that agree across regions), it also has `survey`, which summarises one region, and `fit`, which
merges the summaries, in whatever order they come. What `fit` returns is handed to the stage as `fitted`. A loader's
`fit` looks at the slide itself, once, while the run is planned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, Field
from torch import Tensor

from xaipipe.errors import BoundaryError
from xaipipe.models.targets import Question, ScoreAs, Target, Within
from xaipipe.params import Params
from xaipipe.running.device import prepared
from xaipipe.types import (
    Batch,
    Explanation,
    Instance,
    LabelImage,
    Receipt,
    Region,
    Segmentation,
    Slide,
    Tile,
    Unreadable,
)

if TYPE_CHECKING:
    import numpy as np

    from xaipipe.models.model import Model
    from xaipipe.models.preprocess import Preprocess
    from xaipipe.running.layout import Layout
    from xaipipe.running.manifest import PlanRecord
    from xaipipe.running.run import Run


class Stage(ABC):
    """Base of all stages; subclass one of the kinds below."""

    kind: ClassVar[str]
    name: ClassVar[str]
    Params: ClassVar[type[Params]] = Params
    plugin: ClassVar[str] = ""
    """The plugin that brought the method; the registry writes it here."""

    def __init__(self, params: BaseModel | None = None, **values: Any) -> None:
        where = f"{self.kind} method '{self.name}'"
        self.params: Any = params if params is not None else self.Params.parse(values, where)

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self.params)
        return f"{type(self).__name__}({settings})"

    @abstractmethod
    def process(self, item: Any, run: Run) -> Any:
        """Called by the framework: hands the item to the method's own function."""


class LoaderParams(Params):
    """What every loader can be told."""

    tile: int | None = Field(None, ge=8, description="side of a tile in pixels, overlap included; unset: the model's")
    overlap: int = Field(0, ge=0, description="pixels that neighbours share, as context")
    batch: int = Field(8, ge=1, description="tiles in one batch")
    mpp: float | None = Field(None, gt=0, description="µm per level-0 pixel, where the file does not say or is wrong")
    icc: bool = Field(False, description="turn colours into sRGB by the file's ICC profile")


class Loader(Stage):
    """Tiles of a slide → a `Batch` of pixels as the model wants them."""

    kind = "load"
    Params = LoaderParams

    @abstractmethod
    def load(self, tiles: tuple[Tile, ...], preprocess: Preprocess, fitted: Any) -> Batch: ...

    def fit(self, slide: Slide, level: int) -> Any:
        """What has to be known of the whole slide; the same for the same slide. Nothing unless a loader needs it."""
        return None

    def background(self, tiles: tuple[Tile, ...], fitted: Any) -> tuple[str | None, ...]:
        """What each tile is that is not worth explaining ('glass'); None where it is, which is everywhere at first."""
        return (None,) * len(tiles)

    def masks(self, fitted: Any) -> tuple[LabelImage, ...]:
        """Label images of the whole slide, to be kept in the result."""
        return ()

    def findings(self, fitted: Any) -> Mapping[str, Mapping[str, Any]]:
        """What `fit` found out, in a few numbers for the plan and the manifest."""
        return {}

    def identity(self, fitted: Any) -> Mapping[str, Any]:
        """What of it the pixels of every tile depend on: a run goes on only where it is the same."""
        return {}

    def process(self, item: tuple[Tile, ...], run: Run) -> Batch:
        batch: Any = self.load(item, run.preprocess, run.fitted.get(self))
        if not isinstance(batch, Batch) or not isinstance(batch.pixels, Tensor) or not isinstance(batch.valid, Tensor):
            return batch  # type: ignore[no-any-return]  # for the check behind this stage to name
        return prepared(batch, run.model.device, run.model.dtype)


class ExplainerParams(Params):
    """What every explainer can be told."""

    target: Target = Field(
        "predicted", description="class index, label, 'predicted', 'norm' of the whole output, or a callable"
    )
    score: ScoreAs = Field("logit", description="of a class: its logit, or its softmax (one output: its sigmoid)")
    within: Within = Field(
        None, description="of a segmentation: 'everywhere', or a mask; unset: the pixels given to the class"
    )

    @property
    def question(self) -> Question:
        """What the model is asked."""
        return Question(self.target, self.score, self.within)


class Explainer(Stage):
    """A `Batch` and a model → an `Explanation`: raw, signed, at the resolution at which it arises."""

    kind = "explain"
    Params = ExplainerParams

    @abstractmethod
    def explain(self, batch: Batch, model: Model) -> Explanation:
        """The map for `self.params.question`."""

    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        """A map for each question, the same as `explain` gives; methods that can do it in one pass override this."""
        return [self.asking(question).explain(batch, model) for question in questions]

    def asking(self, question: Question) -> Self:
        """The same method with another question; what it keeps of models and layers is shared."""
        other = copy(self)
        asked = {"target": question.target, "score": question.score, "within": question.within}
        other.params = self.params.model_copy(update=asked)
        return other

    def process(self, item: Batch, run: Run) -> Explanation:
        if item.asked is None:
            return self.explain(item, run.model)
        return item.asked.answered(self.name, lambda questions: self.explain_each(item, run.model, questions))


class Postprocessor(Stage):
    """An `Explanation` → an `Explanation` on the same grid."""

    kind = "postprocess"
    is_for_pictures: ClassVar[bool] = False
    """Whether it says how one picture is drawn and leaves values alone; a run, which draws none, refuses it."""

    @abstractmethod
    def apply(self, explanation: Explanation) -> Explanation: ...

    def halo(self) -> int:
        """How many cells around a cell its new value depends on."""
        return 0

    def process(self, item: Explanation, run: Run) -> Explanation:
        return self.apply(item)


class Segmenter(Stage):
    """An `Explanation`, or what an earlier segmenter made of it → a `Segmentation`."""

    kind = "segment"

    @abstractmethod
    def segment(self, item: Explanation | Segmentation, fitted: Any) -> Segmentation: ...

    def halo(self) -> int:
        """How many cells of the map around a pixel its label depends on."""
        return 0

    def survey(self, item: Explanation | Segmentation) -> Any:
        """A summary of one region, for `fit`; only where the method needs to know the whole slide."""
        return None

    def fit(self, surveys: Iterable[Any]) -> Any:
        """What the whole slide says, from the summaries of its regions."""
        return None

    def instances(self, fitted: Any) -> tuple[Instance, ...]:
        """The objects of the whole slide, where the method finds objects."""
        return ()

    def findings(self, fitted: Any) -> Mapping[str, Any]:
        """What `fit` found out, in a few numbers for the report and the manifest."""
        return {}

    @property
    def surveys(self) -> bool:
        return type(self).survey is not Segmenter.survey

    def process(self, item: Explanation | Segmentation, run: Run) -> Segmentation:
        return self.segment(item, run.fitted.get(self))


class StoreParams(Params):
    """What every store can be told."""

    shard: int = Field(4096, ge=8, description="pixels along a region; rounded down to whole tiles")


class Store(Stage):
    """Finished regions → shards on disk, each with a `Receipt`."""

    kind = "store"
    Params = StoreParams
    output: Path
    """Where the result goes; set by `claim`."""

    @abstractmethod
    def claim(self, output: Path, overwrite: bool = False, resume: bool = False) -> None:
        """Check that the output can be written, is nobody else's and in nobody's use; hold it until `release`.

        Called first of all; after `release` everything is as it was. With `resume` the output is a run's that ended
        early, or a finished one that is looked over.
        """

    @abstractmethod
    def release(self) -> None:
        """Let go of the output, however the run ended."""

    def begun(self, output: Path) -> bool:
        """Whether a run left anything at an output to go on with; asked before it is claimed."""
        return output.exists()

    def extended(self, layout: Layout, slide: Slide) -> Layout:
        """The layout with what the store wants beside maps and labels.

        Copies of the slide's levels become arrays with the role `image`, in the order of the levels; what the store
        makes of other arrays becomes `derived`.
        """
        return layout

    @abstractmethod
    def create(self, layout: Layout, slide: Slide, record: PlanRecord) -> None:
        """Make the claimed output, empty, and keep the record of its plan; called when the plan stands."""

    @abstractmethod
    def reopen(self, layout: Layout, slide: Slide, record: PlanRecord) -> None:
        """Go on with an output that was created under the same plan; a `UsageError` says what differs if it is not."""

    @abstractmethod
    def missing(self, array: str, region: Region) -> str | None:
        """Why a region has to be computed (again); None where it is committed and verified to be as it was."""

    @abstractmethod
    def commit(self, array: str, region: Region, data: np.ndarray[Any, Any]) -> Receipt:
        """Write one region [C, h, w] of one array whole; called from several threads."""

    def derive(self, array: str, region: Region) -> np.ndarray[Any, Any]:
        """One region [C, h, w] of a derived array, made of what is committed; called from several threads.

        Arrays come in the order of the layout's `derived`, each when those before it are committed.
        """
        raise BoundaryError(f"store method '{self.name}' does not say how its derived arrays are made", got=array)

    @abstractmethod
    def remember(self, name: str, value: Any) -> None:
        """Keep a fact of the run, which JSON can say, in place of what was kept under that name."""

    @abstractmethod
    def recall(self, name: str) -> Any:
        """A fact that was kept; None where none was."""

    @abstractmethod
    def distrust(self, array: str, reason: str, region: Region | None = None) -> None:
        """Have a committed region of an array, or all, missing for that reason until it is committed again."""

    @abstractmethod
    def note_unreadable(self, array: str, region: Region, parts: tuple[Unreadable, ...]) -> None:
        """Keep what could not be read of a region, in place of what was kept before; called from several threads.

        As long as there is anything, the region is missing.
        """

    @abstractmethod
    def unreadable(self) -> tuple[Unreadable, ...]:
        """All that is noted, in an order that does not depend on when it was."""

    @abstractmethod
    def read(self, array: str, y: int, x: int, h: int, w: int) -> np.ndarray[Any, Any]:
        """A box [C, h, w] of an array that was committed."""

    @abstractmethod
    def finish(self, manifest: Mapping[str, Any], instances: tuple[Instance, ...]) -> None:
        """Called once, after the last commit."""

    def process(self, item: tuple[str, Region, np.ndarray[Any, Any]], run: Run) -> Receipt:
        return self.commit(*item)


KINDS: dict[str, type[Stage]] = {kind.kind: kind for kind in (Loader, Explainer, Postprocessor, Segmenter, Store)}
