"""Ways to make the stains of slides alike, by name. Another one is a file and a line here."""

from __future__ import annotations

from xaipipe_tiles.stains.macenko import Macenko
from xaipipe_tiles.stains.reinhard import Reinhard
from xaipipe_tiles.stains.stain import Stain

STAINS: dict[str, type[Stain]] = {stain.name: stain for stain in (Macenko, Reinhard)}

__all__ = ["STAINS", "Stain"]
