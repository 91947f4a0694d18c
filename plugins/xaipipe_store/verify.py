"""Whether a result still is what was committed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xaipipe import Receipt
from xaipipe_store.ledger import Ledger

COMPLETE = "COMPLETE"
"""Written last of all: a result that holds it was finished."""


@dataclass(frozen=True)
class Damage:
    """A file of a result that is not what was committed, and in which way."""

    path: str
    reason: str


def damage_of(output: Path, receipt: Receipt) -> str | None:
    """What is wrong with a committed shard; None where it is as it was written."""
    try:
        content = (output / receipt.path).read_bytes()
    except FileNotFoundError:
        return "its shard is missing"
    except OSError as error:
        return f"its shard cannot be read: {error.strerror}"
    if len(content) != receipt.bytes:
        return f"its shard holds {len(content)} bytes, {receipt.bytes} were committed"
    if hashlib.sha256(content).hexdigest() != receipt.sha256:
        return "its shard's content changed (sha256)"
    return None


def all_damage(output: Path, ledger: Ledger) -> list[Damage]:
    """Of every shard and of every small file, against the ledger."""
    found = [
        Damage(receipt.path, reason)
        for receipt in ledger.receipts()
        if (reason := damage_of(output, receipt)) is not None
    ]
    found.extend(Damage(path, reason) for path, reason, _ in damaged_files(output, ledger))
    complete = output / COMPLETE
    if not complete.is_file():
        found.append(Damage(COMPLETE, "the run did not finish"))
    elif complete.read_bytes() != completion(ledger.fact("plan"), ledger.receipts()):
        found.append(Damage(COMPLETE, "its content changed"))
    return found


def damaged_files(output: Path, ledger: Ledger) -> Iterator[tuple[str, str, bytes]]:
    """Small files that are not what the ledger keeps: path, what is wrong, and what they held."""
    for path, content in ledger.files().items():
        file = output / path
        if not file.is_file():
            yield path, "it is missing", content
        elif file.read_bytes() != content:
            yield path, "its content changed", content


def completion(plan: str, receipts: list[Receipt]) -> bytes:
    """What the mark of completion holds: the plan's hash and every shard's."""
    shards = {receipt.path: receipt.sha256 for receipt in receipts}
    return json.dumps({"plan": plan, "shards": shards}, indent=1, sort_keys=True).encode()


def small_files(output: Path, receipts: list[Receipt]) -> dict[str, bytes]:
    """Everything in a result but shards and the mark of completion."""
    shards = {receipt.path for receipt in receipts}
    files = (path for path in sorted(output.rglob("*")) if path.is_file())
    names = {str(path.relative_to(output)): path for path in files}
    return {name: path.read_bytes() for name, path in names.items() if name not in shards and name != COMPLETE}
