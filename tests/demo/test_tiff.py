"""The file is a slide to openslide and the scene to whoever reads its pixels."""

from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile

from xaipipe_demo.scene import Scene
from xaipipe_demo.spool import reduce
from xaipipe_demo.tiff import write_slide


@pytest.fixture(scope="module")
def slide(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(scene, tmp_path_factory.mktemp("slide") / "demo.svs")


def test_openslide_takes_it_for_an_aperio_slide(slide: Path, scene: Scene) -> None:
    with openslide.OpenSlide(slide) as opened:
        assert opened.properties["openslide.vendor"] == "aperio"
        assert float(opened.properties["openslide.mpp-x"]) == scene.mpp
        assert opened.properties["openslide.objective-power"] == "20"
        assert opened.level_dimensions == ((1100, 1300), (275, 325), (68, 81))
        assert opened.level_downsamples == pytest.approx((1, 4, 16), rel=0.02)
        thumbnail = np.asarray(opened.associated_images["thumbnail"].convert("RGB"), float)
        level = np.asarray(opened.read_region((0, 0), 1, (275, 325)).convert("RGB"), float)
    assert thumbnail.mean((0, 1)) == pytest.approx(level.mean((0, 1)), abs=2)


def test_every_decoder_sees_the_scene(slide: Path, scene: Scene) -> None:
    levels = [scene.rgb(0, 0, 1300, 1100)]
    levels += [reduce(levels[0], 4)]
    levels += [reduce(levels[1], 4)]
    with openslide.OpenSlide(slide) as opened, tifffile.TiffFile(slide) as tiff:
        assert tiff.is_svs
        for i, expected in enumerate(levels):
            ours = np.asarray(opened.read_region((0, 0), i, opened.level_dimensions[i]).convert("RGB"), int)
            theirs = tiff.series[0].levels[i].asarray().astype(int)
            assert np.abs(ours - theirs).max() <= 2
            assert theirs.mean((0, 1)) == pytest.approx(expected.mean((0, 1)), abs=1)
            assert np.abs(theirs - expected).mean() < 8


@pytest.mark.parametrize("tile", [240, 512])
def test_tile_size_and_threads_do_not_change_the_slide(tile: int, tmp_path: Path) -> None:
    scene = Scene(3, 700, 530)
    written = write_slide(scene, tmp_path / "a.svs", tile=tile, threads=1, quality=95)
    with tifffile.TiffFile(written) as tiff:
        assert tiff.pages[0].tile == (tile, tile)
        pixels = tiff.pages[0].asarray().astype(int)
    assert np.abs(pixels - scene.rgb(0, 0, 700, 530)).mean() < 4


def test_the_same_scene_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (write_slide(Scene(3, 600, 700), tmp_path / n, threads=t) for n, t in (("a", 1), ("b", 3)))
    assert one.read_bytes() == two.read_bytes()


def test_a_sliver_of_a_slide_is_a_slide(tmp_path: Path) -> None:
    with openslide.OpenSlide(write_slide(Scene(3, 20, 9000), tmp_path / "a.svs")) as opened:
        assert opened.level_dimensions == ((9000, 20), (2250, 5), (562, 1))


def test_progress_counts_to_the_end_and_nothing_is_left_beside(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_slide(Scene(3, 600, 1100), tmp_path / "a.svs", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]
    assert [p.name for p in tmp_path.iterdir()] == ["a.svs"]


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    old = tmp_path / "a.svs"
    old.write_text("mine")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_slide(Scene(3, 600, 600), old, progress=stop)
    assert old.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize(("options", "said"), [({"tile": 250}, "tile = 250"), ({"levels": 6}, "levels = 6")])
def test_refusals_name_the_value(options: dict[str, int], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        write_slide(Scene(3, 600, 600), tmp_path / "a.svs", **options)
