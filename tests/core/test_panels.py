"""Pictures of maps: colours that mean what the legend says, over what was explained, and side by side."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import xaipipe
from xaipipe import Explanation, Grid
from xaipipe.display import Style, coloured, overlay, styled
from xaipipe.panels import Panel, drawn, side_by_side


def mapped(values: list[list[float]]) -> Explanation:
    tensor = torch.tensor(values)[None, None]
    return Explanation(tensor, Grid(), (1,), torch.zeros(1), tuple(tensor.shape[2:]))


GREY = np.full((2, 2, 3), 128, np.uint8)


def test_signed_maps_diverge_about_zero() -> None:
    colours = coloured(np.array([[-2.0, 0.0, 2.0]], np.float32), limit=2.0)
    blue, middle, red = colours[0].astype(int)
    assert blue[2] > blue[0] + 80
    assert red[0] > red[2] + 80
    assert middle.min() >= 240
    lopsided = coloured(np.array([[-1.0, 0.0, 4.0]], np.float32))
    assert lopsided[0, 1].min() >= 240


def test_maps_without_sign_go_from_dark_to_bright() -> None:
    for name in ("auto", "heat", "viridis", "grey"):
        ramp = coloured(np.linspace(0, 1, 9, dtype=np.float32)[None], style=Style(colours=name, percentile=100))
        brightness = ramp[0].astype(int).sum(axis=1)
        assert (np.diff(brightness) > 0).all(), name


def test_the_full_colour_is_that_of_the_percentile() -> None:
    values = np.arange(1, 102, dtype=np.float32)[None]
    assert Style(percentile=90).limit(values) == 91
    assert Style(percentile=90).limit(-values) == 91
    assert Style(percentile=100).limit(values) == 101
    assert Style().limit(values) == 100
    clipped = coloured(values, style=Style(percentile=50))
    assert (clipped[0, 50:] == clipped[0, 50]).all()
    assert (clipped[0, 49] != clipped[0, 50]).any()


def test_a_few_large_values_do_not_hide_the_rest_nor_zeros_the_few() -> None:
    values = np.zeros(10_000, np.float32)
    values[:1000], values[:5] = 1, 1000
    assert Style().limit(values[None]) == 1
    assert Style(percentile=100).limit(values[None]) == 1000


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0])
def test_a_constant_map_has_colours_too(value: float) -> None:
    values = np.full((4, 4), value, np.float32)
    assert Style().limit(values) == (abs(value) or 1)
    assert len(np.unique(coloured(values).reshape(-1, 3), axis=0)) == 1


def test_the_legend_says_where_colours_end() -> None:
    plain = mapped([[0.0, 1.0], [2.0, 3.0]])
    below = [drawn(styled(plain, legend=True, percentile=p), None)[256 + 32 :, 90:170] for p in (99.0, 100.0)]
    assert (below[0] < 128).any(), "a note between the ends"
    assert (below[1] > 128).all(), "the largest value is at the end"


def test_nothing_shows_through_what_is_opaque_and_all_through_what_is_not() -> None:
    values = np.array([[0.0, 1.0], [1.0, 0.0]], np.float32)
    opaque = overlay(GREY, values, style=Style(opacity=1.0))
    np.testing.assert_array_equal(opaque[0, 1], coloured(values)[0, 1])
    np.testing.assert_array_equal(opaque[0, 0], GREY[0, 0])
    np.testing.assert_array_equal(overlay(GREY, values, style=Style(opacity=0.0)), GREY)


def test_a_style_travels_with_the_map_and_leaves_its_values() -> None:
    plain = mapped([[0.0, 1.0], [2.0, 3.0]])
    shown = styled(styled(plain, colours="grey"), legend=True)
    assert Style.of(shown) == Style(colours="grey", legend=True)
    assert shown.values is plain.values
    assert Style.of(plain) == Style()


def test_a_legend_is_drawn_below_where_it_is_asked_for() -> None:
    plain = mapped([[0.0, 1.0], [2.0, 3.0]])
    bare = drawn(plain, GREY)
    assert bare.shape == (2, 2, 3)
    with_bar = drawn(styled(plain, legend=True, colours="grey"), None)
    assert with_bar.shape[0] > 256
    shades = with_bar[256 + 14, 8:-16].astype(int)
    assert (np.diff(shades[:, 0]) >= 0).all()
    assert shades[0, 0] < 20 < 235 < shades[-1, 0]


def test_maps_of_a_row_share_one_scale() -> None:
    strong, weak = mapped([[0.0, 8.0], [8.0, 8.0]]), mapped([[0.0, 4.0], [4.0, 4.0]])
    picture = side_by_side([[Panel(strong, None, ("strong",)), Panel(weak, None, ("weak",))]])
    half = picture.shape[1] // 2
    np.testing.assert_array_equal(picture[200, 200], coloured(np.array([[8.0]], np.float32), limit=8.0)[0, 0])
    np.testing.assert_array_equal(picture[200, half + 200], coloured(np.array([[4.0]], np.float32), limit=8.0)[0, 0])


def test_rows_of_other_widths_lie_on_white() -> None:
    one = Panel(mapped([[1.0, 2.0]]), None, ("a label that is much too long to be written below a picture so small",))
    picture = side_by_side([[one, one], [one]])
    assert (picture[-5:, -200:] == 255).all()


@pytest.mark.parametrize("shape", [(1, 3), (3, 1)])
def test_a_plot_has_the_size_of_its_input(shape: tuple[int, int]) -> None:
    e = mapped([[0.5] * shape[1]] * shape[0])
    assert e.plot(torch.zeros(1, 3, *shape)).rgb.shape == (*shape, 3)
    assert isinstance(e.plot(), xaipipe.display.Picture)
