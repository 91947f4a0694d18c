"""Our own composition of stains is scikit-image's."""

import numpy as np
from skimage.color import hed2rgb

from xaipipe_demo.stain import staining, transmit


def test_transmitted_light_equals_hed2rgb() -> None:
    hed = np.random.default_rng(0).uniform(0, 0.3, (20, 30, 3)).astype(np.float32)
    light = transmit(*np.moveaxis(hed, -1, 0)).transpose(1, 2, 0)
    np.testing.assert_allclose(light, hed2rgb(hed), atol=2e-6)


def test_more_light_than_there_is_cannot_come_through() -> None:
    none = np.full((2, 2), -0.1, np.float32)
    assert transmit(none, none, none).max() == 1


def test_slides_are_stained_differently() -> None:
    assert staining(1) != staining(2)
    assert staining(1) == staining(1)
