"""One small slide that several tests look at."""

import pytest

from xaipipe_demo.scene import Scene


@pytest.fixture(scope="session")
def scene() -> Scene:
    """Large enough for every kind of tissue, and not a multiple of any block or tile."""
    return Scene(seed=11, height=1300, width=1100)
