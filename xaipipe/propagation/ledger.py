"""What the operations of a forward pass keep to themselves on the way back from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaipipe.propagation.books import ABSORBERS, Absorber, Books
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
    """The type in which amounts are kept."""
    books: Books | None = None
    """Of the latest way back; None where it did not come by."""

    def row(self, absorber: Absorber, nothing: Tensor) -> Tensor:
        """What went to an absorber, in the place of `nothing` [K, N]."""
        amounts = None if self.books is None else self.books.amounts.get(absorber)
        return nothing if amounts is None else amounts.to(self.kind).to(nothing).expand_as(nothing)


class Ledger:
    """The accounts of one forward pass.

    Every operation that has one also reads `sink`, a leaf that gets nothing. So a way back that has the sink among its
    ends comes by all of them, those too from which nothing goes on to where it ends.
    """

    def __init__(self, images: int) -> None:
        self._images = images
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
            account.books = None

    def drawn_up(self, questions: int, like: Tensor) -> list[tuple[Absorbed, ...]]:
        """For each question of the latest way back what every operation kept; on the device of `like`."""
        kind = torch.float64 if any(account.kind == torch.float64 for account in self.accounts) else torch.float32
        nothing = like.new_zeros(questions, self._images, dtype=kind)
        rows = [account.row(absorber, nothing) for account in self.accounts for absorber in ABSORBERS]
        if not rows:
            return [()] * questions
        every = torch.stack(rows, dim=1).reshape(questions, len(self.accounts), len(ABSORBERS), self._images)
        return [
            tuple(Absorbed(account.operation, own) for account, own in zip(self.accounts, of_one, strict=True))
            for of_one in every
        ]
