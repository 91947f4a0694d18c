"""What crosses between a run and its readers: facts of a slide, and errors in words."""

from __future__ import annotations

import errno
import math
import os
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any

from xaipipe import errors
from xaipipe.errors import InputError, XaipipeError
from xaipipe.slides import MOST_LEVELS, check_levels
from xaipipe.types import Level, Slide

_MOST_NOTES = 20
_LARGEST_PROFILE = 4 << 20
_LONGEST = 2000
"""Characters of what an error says."""


@dataclass(frozen=True)
class SlideFacts:
    """A slide without its pixels."""

    levels: tuple[Level, ...]
    mpp: float | None
    fingerprint: str
    name: str
    location: str | None
    notes: tuple[str, ...]
    profile: bytes | None


def facts_to_message(slide: Slide) -> dict[str, Any]:
    shown = slide.levels[: MOST_LEVELS + 1]  # one too many is enough to be refused
    levels = [[int(level.height), int(level.width), float(level.downsample)] for level in shown]
    mpp = None if slide.mpp is None else float(slide.mpp)
    notes = [str(note)[:_LONGEST] for note in slide.notes[:_MOST_NOTES]]
    profile = slide.profile or b""
    if len(profile) > _LARGEST_PROFILE:
        notes.append(f"its ICC profile of {len(profile)} bytes is left out: no profile is so large")
        profile = b""
    return {
        "levels": levels,
        "mpp": mpp,
        "fingerprint": str(slide.fingerprint),
        "name": slide.name,
        "location": slide.location,
        "notes": notes,
        "profile": b64encode(profile).decode() if profile else None,
    }


def facts_from_message(message: dict[str, Any], where: object) -> SlideFacts:
    """The facts, or an `InputError`: a damaged header may claim anything."""
    levels = tuple(Level(height, width, downsample) for height, width, downsample in message["levels"])
    check_levels(levels, where)
    mpp = message["mpp"]
    if mpp is not None and not (math.isfinite(mpp) and mpp > 0):
        raise InputError("the slide has an impossible resolution", got=f"{mpp} µm per pixel", where=where)
    profile = message["profile"]
    return SlideFacts(
        levels,
        mpp,
        str(message["fingerprint"]),
        str(message["name"]),
        message["location"],
        tuple(message["notes"]),
        None if profile is None else b64decode(profile),
    )


def error_to_message(error: XaipipeError) -> dict[str, Any]:
    """An error in our words, as the nearest kind that everybody knows."""
    kind = next(kind.__name__ for kind in type(error).__mro__ if getattr(errors, kind.__name__, None) is kind)
    facts = {name: None if fact is None else str(fact)[:_LONGEST] for name, fact in error.facts.items()}
    return {"answer": "error", "kind": kind, "problem": error.problem[:_LONGEST], "facts": facts}


def error_from_message(message: dict[str, Any], like: type[XaipipeError] | None = None) -> XaipipeError:
    """The error again, with all it said; `like` makes it another kind."""
    kind = like or vars(errors)[message["kind"]]
    facts = dict(message["facts"])
    error: XaipipeError = kind(message["problem"], hint=facts.pop("next"), **facts)
    return error


def refusal(error: OSError) -> str:
    """What the system said; without the file's name, which the error's place tells."""
    name = errno.errorcode.get(error.errno, "") if error.errno else ""
    return f"{os.strerror(error.errno)} ({name})" if name and error.errno else str(error)[:_LONGEST]
