"""Training is seeded to the last bit, and its patches are labelled beyond doubt."""

import numpy as np
import pytest
import torch

from xaipipe_demo.patches import CLEAR, WELL_INSIDE, _labelled, draw_patches, training_scene
from xaipipe_demo.scene import Scene
from xaipipe_demo.train import Recipe, train

TINY = Recipe(slides=2, patches=24, side=700, epochs=2, batch=16)


def test_training_twice_gives_the_same_weights(capsys: pytest.CaptureFixture[str]) -> None:
    (one, losses), (two, again) = train(TINY), train(TINY)
    assert losses == again
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert "epoch 2/2" in capsys.readouterr().out


def test_seed_decides() -> None:
    assert train(TINY)[1] != train(Recipe(**{**vars(TINY), "seed": 1}))[1]


def test_patches_are_the_same_every_time() -> None:
    one, two = (draw_patches([1001], 20, 64, side=700) for _ in range(2))
    np.testing.assert_array_equal(one.pixels, two.pixels)
    np.testing.assert_array_equal(one.damaged, two.damaged)
    assert one.damaged.any()
    assert not one.damaged.all()


def test_slides_with_artefacts_are_all_healthy() -> None:
    assert training_scene(1000, 700).artefacts
    assert not draw_patches([1000], 20, 64, side=700).damaged.any()


@pytest.mark.parametrize(
    ("row", "expected"),
    [(32.0, [True]), (WELL_INSIDE, [True]), (WELL_INSIDE - 1, []), (-CLEAR, []), (-CLEAR - 1, [False])],
)
def test_labels_are_beyond_doubt(row: float, expected: list[bool]) -> None:
    sick = np.array([[100 + row, 132.0]])
    _, labels = _labelled(np.array([[100, 100]]), sick, 64, Scene(1, 500, 500))
    assert labels.tolist() == expected


def test_patches_off_the_slide_are_dropped() -> None:
    corners = np.array([[-1, 0], [0, 437], [436, 436]])
    kept, labels = _labelled(corners, np.empty((0, 2)), 64, Scene(1, 500, 500))
    assert kept.tolist() == [[436, 436]]
    assert labels.tolist() == [False]
