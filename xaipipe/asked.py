"""One batch of which several questions are asked: they are answered together, and handed over one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from xaipipe.errors import BoundaryError

if TYPE_CHECKING:
    from xaipipe.models.targets import Question
    from xaipipe.types import Explanation

Answering = Callable[["Sequence[Question]"], "list[Explanation]"]


class Answers:
    """The explanations for all questions of a batch, made when the first of them is asked for."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self.questions = tuple(questions)
        self._found: list[Explanation] | None = None

    def of(self, number: int, method: str, answer: Answering) -> Explanation:
        if self._found is None:
            self._found = one_each(method, answer(self.questions), len(self.questions))
        return self._found[number]


class Asked:
    """One question of several about a batch."""

    def __init__(self, answers: Answers, number: int) -> None:
        self._answers, self.number = answers, number

    def answered(self, method: str, answer: Answering) -> Explanation:
        """The answer to this one; `answer` gives those to all, and is called for the first only."""
        return self._answers.of(self.number, method, answer)


def one_each(method: str, explanations: Any, questions: int) -> list[Explanation]:
    """What a method returned for several questions, if it is an explanation for each."""
    if not isinstance(explanations, list) or len(explanations) != questions:
        got = len(explanations) if isinstance(explanations, list) else type(explanations).__name__
        raise BoundaryError(
            f"explain method '{method}' returned something else than a map a target", got=got, expected=questions
        )
    return explanations
