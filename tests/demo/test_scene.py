"""The picture and its truth are functions of seed and coordinate, and agree with each other."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xaipipe_demo.artefacts import ARTEFACTS
from xaipipe_demo.nuclei import Kind
from xaipipe_demo.scene import Scene


@settings(max_examples=12, deadline=None)
@given(st.integers(300, 900), st.integers(300, 900), st.integers(1, 200), st.integers(1, 200))
def test_a_tile_is_the_same_in_whatever_window(y: int, x: int, h: int, w: int) -> None:
    whole = _rendered()
    scene = Scene(4, 1600, 1600, artefacts=ARTEFACTS)
    np.testing.assert_array_equal(scene.rgb(y, x, h, w), whole[0][y : y + h, x : x + w])
    labels, damaged = scene.truth(y, x, h, w)
    np.testing.assert_array_equal(labels, whole[1][y : y + h, x : x + w])
    np.testing.assert_array_equal(damaged, whole[2][y : y + h, x : x + w])
    np.testing.assert_array_equal(scene.tissue(y, x, h, w), whole[3][y : y + h, x : x + w])


_whole: list[tuple[np.ndarray, ...]] = []


def _rendered() -> tuple[np.ndarray, ...]:
    """Picture, labels, damage and tissue of the slide above, made once, from its origin."""
    if not _whole:
        scene, everything = Scene(4, 1600, 1600, artefacts=ARTEFACTS), (0, 0, 1200, 1200)
        _whole.append((scene.rgb(*everything), *scene.truth(*everything), scene.tissue(*everything)))
    return _whole[0]


@settings(max_examples=25, deadline=None)
@given(st.integers(-20, 1200), st.integers(-20, 1000), st.integers(1, 300), st.integers(1, 300))
def test_nuclei_of_a_window_are_those_of_the_slide_in_it(y: int, x: int, h: int, w: int) -> None:
    scene = Scene(11, 1300, 1100)
    slide = scene.nuclei(0, 0, 1300, 1100)
    inside = (slide.cy >= y) & (slide.cy < y + h) & (slide.cx >= x) & (slide.cx < x + w)
    part = scene.nuclei(y, x, h, w)
    for name in ("id", "cy", "cx", "kind", "radius", "ratio", "angle", "density", "damaged"):
        np.testing.assert_array_equal(getattr(part, name), getattr(slide, name)[inside])


def test_far_corner_of_a_gigapixel_slide_costs_no_more() -> None:
    scene = Scene(1, 100_000, 100_000)
    assert scene.rgb(50_000, 49_990, 30, 40).std() > 0
    everywhere = scene.nuclei(50_000, 50_000, 2000, 2000)
    assert len(everywhere)
    assert everywhere.id.max() < 2**32


def test_seeds_differ() -> None:
    one, two = (Scene(seed, 1024, 1024).rgb(400, 400, 200, 200).astype(int) for seed in (1, 2))
    assert np.abs(one - two).mean() > 5


def test_survives_the_way_to_a_worker(scene: Scene) -> None:
    copy = pickle.loads(pickle.dumps(scene))
    assert copy == scene
    np.testing.assert_array_equal(copy.rgb(500, 500, 40, 40), scene.rgb(500, 500, 40, 40))


def test_nuclei_are_darker_than_what_surrounds_them(scene: Scene) -> None:
    grey = scene.rgb(0, 0, 1300, 1100).mean(axis=2)
    labels, _ = scene.truth(0, 0, 1300, 1100)
    tissue = scene.tissue(0, 0, 1300, 1100)
    nuclei = scene.nuclei(0, 0, 1300, 1100)
    assert grey[labels > 0].mean() < grey[tissue & (labels == 0)].mean() - 50
    assert set(np.unique(labels)) - {0} <= set(nuclei.id)
    assert np.isin(nuclei.id, labels).mean() > 0.99
    assert 0.3 < tissue.mean() < 0.9


def test_each_nucleus_lies_where_the_table_says(scene: Scene) -> None:
    labels, damaged = scene.truth(0, 0, 1300, 1100)
    nuclei = scene.nuclei(0, 0, 1300, 1100)
    within = (nuclei.cy > 20) & (nuclei.cx > 20) & (nuclei.cy < 1280) & (nuclei.cx < 1080)
    inner = nuclei.select(within)
    at_centre = labels[inner.cy.astype(int), inner.cx.astype(int)]
    assert (at_centre == inner.id).mean() > 0.98
    right = damaged[inner.cy.astype(int), inner.cx.astype(int)] == inner.damaged
    assert right.mean() > 0.98


def test_darkness_does_not_tell_damage() -> None:
    side = 1536
    scene = Scene(5, side, side, damaged=0.08)
    grey = scene.rgb(0, 0, side, side).mean(axis=2)
    labels, _ = scene.truth(0, 0, side, side)
    ids, where = np.unique(labels, return_inverse=True)
    mean = np.bincount(where.ravel(), grey.ravel()) / np.bincount(where.ravel())
    nuclei = scene.nuclei(0, 0, side, side)
    sick = np.isin(ids, nuclei.id[nuclei.damaged])[1:]
    below = mean[1:, None] < np.percentile(mean[1:], np.arange(1, 100))[None]
    balanced = (below[sick].mean(axis=0) + (~below[~sick]).mean(axis=0)) / 2
    assert sick.sum() > 50
    assert max(balanced.max(), 1 - balanced.min()) < 0.75


def test_share_of_damage_is_about_what_was_asked_for_and_clusters() -> None:
    nuclei = [Scene(seed, 4096, 4096, damaged=0.04).nuclei(0, 0, 4096, 4096) for seed in range(20, 26)]
    damaged = np.concatenate([n.damaged for n in nuclei])
    assert 0.02 < damaged.mean() < 0.07
    assert {Kind.PYKNOTIC, Kind.KARYORRHECTIC} <= set(np.concatenate([n.kind for n in nuclei]))
    n = nuclei[0]
    cell = np.histogram2d(n.cy, n.cx, 16, [[0, 4096], [0, 4096]])[0].ravel()
    sick = np.histogram2d(n.cy[n.damaged], n.cx[n.damaged], 16, [[0, 4096], [0, 4096]])[0].ravel()
    expected = cell * n.damaged.mean()
    assert sick.var() > 3 * expected.var()
    assert not Scene(20, 2048, 2048, damaged=0).nuclei(0, 0, 2048, 2048).damaged.any()


@pytest.mark.parametrize("artefact", sorted(ARTEFACTS))
def test_artefacts_change_the_picture_and_not_the_truth(artefact: str) -> None:
    clean, spoilt = Scene(7, 1024, 1024), Scene(7, 1024, 1024, artefacts=frozenset({artefact}))
    window = (0, 0, 1024, 1024)
    changed = (clean.rgb(*window) != spoilt.rgb(*window)).any(axis=2).mean()
    assert 0.005 < changed < 0.6
    np.testing.assert_array_equal(clean.truth(*window)[0], spoilt.truth(*window)[0])


def test_refusals_name_the_value() -> None:
    with pytest.raises(ValueError, match="hair"):
        Scene(1, 10, 10, artefacts=frozenset({"hair"}))
    with pytest.raises(ValueError, match="0 x 10"):
        Scene(1, 0, 10)
    with pytest.raises(ValueError, match="0 x 5"):
        Scene(1, 10, 10).rgb(0, 0, 0, 5)
