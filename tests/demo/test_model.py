"""The packaged network tells patches apart, and its evidence lies on the cells."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from xaipipe_demo import model as demo
from xaipipe_demo.model import CLASSES, PREPROCESS, STRIDE, build, normalise
from xaipipe_demo.patches import Patches, draw_patches
from xaipipe_demo.scene import Scene
from xaipipe_demo.train import HELD_OUT_SEEDS, TRAINING_SEEDS, accuracy

FRESH_SEEDS = (70_001, 70_002, 70_003)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return build()


@pytest.fixture(scope="module")
def fresh() -> Patches:
    """Patches of slides that neither training nor its own held-out measure has seen."""
    assert not set(FRESH_SEEDS) & {*TRAINING_SEEDS, *HELD_OUT_SEEDS}
    return draw_patches(FRESH_SEEDS, 160, PREPROCESS["size"], side=1536)


@torch.inference_mode()
def evidence(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """The class activation map of 'damaged', [N, h, w]."""
    features = network.features(normalise(torch.from_numpy(pixels)))
    weight = network.classifier.weight[CLASSES.index("damaged")]
    return torch.einsum("nchw,c->nhw", features, weight).numpy()


def test_weights_are_small_and_say_how_good_they_are() -> None:
    packaged = Path(demo.__file__).with_name("weights.safetensors")
    assert packaged.stat().st_size < 1_000_000
    with safe_open(packaged, framework="pt") as opened:
        facts = opened.metadata()
    assert float(facts["held_out_accuracy"]) >= 0.97
    assert facts["classes"] == ",".join(CLASSES)


def test_weights_can_come_from_elsewhere(tmp_path: Path, network: nn.Module) -> None:
    zeros = {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    save_file(zeros, tmp_path / "zeros.safetensors")
    other = build(tmp_path / "zeros.safetensors")
    assert not other.training
    assert other(torch.ones(1, 3, 32, 32)).abs().max() == 0


def test_calls_fresh_slides_right(network: nn.Module, fresh: Patches) -> None:
    assert 100 < fresh.damaged.sum() < len(fresh.damaged) - 100
    assert accuracy(network, fresh) >= 0.97


def test_score_is_the_mean_of_the_evidence(network: nn.Module, fresh: Patches) -> None:
    few = fresh.pixels[:4]
    with torch.inference_mode():
        scores = network(normalise(torch.from_numpy(few)))[:, 1].numpy()
    bias = float(network.classifier.bias.detach()[1])
    np.testing.assert_allclose(evidence(network, few).mean((1, 2)) + bias, scores, rtol=1e-3, atol=1e-3)


def test_strongest_evidence_lies_on_a_damaged_cell(network: nn.Module) -> None:
    scene, size = Scene(70_005, 2048, 2048), 128
    picture, nuclei = scene.rgb(0, 0, 2048, 2048), scene.nuclei(0, 0, 2048, 2048)
    sick = np.stack([nuclei.cy, nuclei.cx], 1)[nuclei.damaged]
    corners = np.clip(sick.astype(int) - size // 2, 0, 2048 - size)[::3]
    patches = np.stack([picture[y : y + size, x : x + size] for y, x in corners])
    maps = evidence(network, patches)
    peaks = np.stack(np.unravel_index(maps.reshape(len(maps), -1).argmax(1), maps.shape[1:]), 1)
    # Cell i of the map is centred on the corner between its middle pixels.
    at = corners + (peaks + 0.5) * STRIDE
    away = np.linalg.norm(at[:, None] - sick[None], axis=2).min(axis=1)
    assert len(away) > 20
    assert (away < 12).mean() > 0.95


def test_map_turns_with_the_patch(network: nn.Module, fresh: Patches) -> None:
    sick = fresh.pixels[fresh.damaged][:32]
    before = evidence(network, sick)
    after = np.rot90(evidence(network, np.ascontiguousarray(np.rot90(sick, 1, (1, 2)))), -1, (1, 2))
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9
