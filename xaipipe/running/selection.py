"""Which tiles a run explains, kept with the result: what was made from others is made again.

Settings and slide decide on it, but where a part of the slide cannot be read nobody sees that it is background. When it
can be read again, other tiles are left to explain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from xaipipe.running.quarantine import distrust_derived
from xaipipe.running.run import Run

_NAME = "selection"


def keep_selection(run: Run) -> None:
    """Note the tiles of every region; in a resumed run, distrust the regions whose tiles are others than before."""
    store, now = run.config.store, _selection(run)
    before = store.recall(_NAME)
    if run.resumed and before is not None and before != now:
        for planned in run.plan.regions:
            key = f"{planned.region.row},{planned.region.column}"
            if before.get(key) != now[key]:
                for array in run.plan.layout.first_pass:
                    store.distrust(array.name, "other tiles of it are worth explaining than before", planned.region)
        distrust_derived(run, "the map under it is made from other tiles than before")
    store.remember(_NAME, now)


def _selection(run: Run) -> Mapping[str, str]:
    """A hash of its tiles' places for every region."""
    places = {
        f"{planned.region.row},{planned.region.column}": ";".join(f"{tile.y},{tile.x}" for tile in planned.tiles)
        for planned in run.plan.regions
    }
    return {key: hashlib.sha256(text.encode()).hexdigest()[:16] for key, text in places.items()}
