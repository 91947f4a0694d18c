"""What the operations of a forward pass keep to themselves on the way back from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from xaipipe.propagation.books import ABSORBERS, Books
from xaipipe.propagation.operation import Operation


@dataclass(eq=False, slots=True)
class Absorbed:
    """What an operation kept to itself, per image: `amounts` [absorbers, N]."""

    operation: Operation
    amounts: Tensor


@dataclass(eq=False, slots=True)
class Account:
    """One operation's."""

    operation: Operation
    kind: torch.dtype
    """In which amounts are kept."""
    amounts: Tensor | None = None
    """Of the latest way back [K, absorbers, N]; None where it did not come by."""

    def enter(self, books: Books, arriving: Tensor) -> None:
        """What a rule made of what arrived [K, …]."""
        amounts = arriving.new_zeros(len(arriving), len(ABSORBERS), books.images, dtype=self.kind)
        for row, absorber in enumerate(ABSORBERS):
            if (entered := books.amounts.get(absorber)) is not None:
                amounts[:, row] = entered
        self.amounts = amounts


class Ledger:
    """The accounts of one forward pass.

    Every operation that has one also reads `sink`, a leaf that gets nothing. So a way back that has the sink among its
    ends comes by all of them, those too from which nothing goes on to where it ends.
    """

    def __init__(self) -> None:
        self.accounts: list[Account] = []
        self.begin()

    def begin(self) -> None:
        """Leave out what ran until now: the way back ends before it."""
        self.accounts.clear()
        self.sink = torch.zeros((), requires_grad=True)

    def opened(self, operation: Operation, kind: torch.dtype) -> Account:
        account = Account(operation, torch.float64 if kind == torch.float64 else torch.float32)
        self.accounts.append(account)
        return account

    def clear(self) -> None:
        """Before a way back."""
        for account in self.accounts:
            account.amounts = None

    def drawn_up(self, questions: int, nothing: Tensor) -> Iterator[tuple[Absorbed, ...]]:
        """For each question of the latest way back what every operation kept; `nothing` [absorbers, N] where it did
        not come by."""
        for question in range(questions):
            yield tuple(
                Absorbed(account.operation, nothing if account.amounts is None else _of(account.amounts, question))
                for account in self.accounts
            )


def _of(amounts: Tensor, question: int) -> Tensor:
    """Of one question; what is the same for all torch hands on once."""
    return amounts[question if len(amounts) > 1 else 0]
