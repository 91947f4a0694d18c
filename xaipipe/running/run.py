"""A run: its stages, its model and its plan, as stages and hooks see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xaipipe.config import Config
from xaipipe.models.model import Model
from xaipipe.models.preprocess import Preprocess
from xaipipe.registry import Registry
from xaipipe.running.plan import Plan
from xaipipe.stages import Stage
from xaipipe.types import Receipt, Region, Unreadable


@dataclass(frozen=True, slots=True)
class Redone:
    """A region of an array that an earlier run did not leave behind as it should be."""

    array: str
    region: Region
    reason: str


@dataclass(eq=False)
class Run:
    """One run. Stages read it; the executor writes what came of it."""

    config: Config
    registry: Registry
    model: Model
    preprocess: Preprocess
    name: str | None = None
    """What its result is called where several targets are asked."""
    planned: Plan | None = None
    fitted: dict[Stage, Any] = field(default_factory=dict)
    """What each surveying stage learned from the whole slide."""
    explained: Mapping[str, Any] = field(default_factory=dict)
    """In an exact run: what the model says of the whole image."""
    also: tuple[Run, ...] = ()
    """Where several targets are asked: the runs of the others, each with its own result. They share this one's plan,
    reading and forward passes."""
    doubts: tuple[str, ...] = ()
    """What was doubtful of the tiles that the plan was tried on."""
    resumed: bool = False
    """Whether the output was begun by an earlier run."""
    redone: list[Redone] = field(default_factory=list)
    """In a resumed run: what was computed (again), and why."""
    unreadable: list[Unreadable] = field(default_factory=list)
    """What this run could not read, and left out."""
    begun_with: int | None = None
    """In a resumed run: the batch of the run before, since batches of another size may round differently."""
    fits: int | None = None
    """Tiles that are explained at once, where more did not fit into memory."""
    notes: list[str] = field(default_factory=list)
    """What whoever started the run should know."""
    receipts: list[Receipt] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """Time spent in each kind of stage, summed over threads."""

    @property
    def plan(self) -> Plan:
        """There from the end of planning on; stages that are tried while planning do not need it."""
        assert self.planned is not None
        return self.planned

    @property
    def every(self) -> tuple[Run, ...]:
        """This run and those of the other targets."""
        return (self, *self.also)

    @property
    def batch(self) -> int:
        """Tiles explained together: what this run's result was begun with, or else the plan's."""
        return self.begun_with or self.plan.memory.sizes.batch

    def note(self, remarks: Iterable[str]) -> None:
        """Each once."""
        self.notes.extend(remark for remark in dict.fromkeys(remarks) if remark not in self.notes)

    def stage(self, stage: Stage, item: Any) -> Any:
        """Run one stage on one item, through the hooks that time, check or replace it."""
        return self.registry.hooks.hook.run_stage(stage=stage, item=item, run=self)
