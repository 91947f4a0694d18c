"""What the tests of class activation maps explain."""

from __future__ import annotations

import pytest
from torch import Tensor

from tests.cam.networks import TwoHalves, two_halves
from xaipipe.testing import images


@pytest.fixture
def net() -> TwoHalves:
    return two_halves()


@pytest.fixture
def x() -> Tensor:
    return images(2, (20, 14)).double()
