"""Opening a slide as the settings of a run want it read."""

from __future__ import annotations

from xaipipe.config import RunSettings
from xaipipe.reading.guarded import GuardedSlide
from xaipipe.reading.process import Limits
from xaipipe.registry import Registry
from xaipipe.slides import Place, open_slide
from xaipipe.types import Slide


def open_guarded(registry: Registry, place: Place, settings: RunSettings) -> Slide:
    """The slide in processes of its own, or in this one where that is asked for.

    A reader that was made in this process, and comes neither from a package nor from a file, cannot be made again in
    another one: where there is such a reader, slides are read here. So is what lies in this process's own memory.
    """
    here = not settings.isolate or str(place).startswith("memory://")
    plugins = None if here else registry.sources("open_slide", "open_url")
    if plugins is None:
        return open_slide(registry, place)
    return GuardedSlide(place, plugins, Limits(settings.readers, settings.read_timeout, settings.reader_memory << 20))
