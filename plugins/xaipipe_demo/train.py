"""Train the demo's network: `python -m xaipipe_demo.train`. Seeded; nothing but patch labels is shown to it."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from xaipipe_demo.model import PREPROCESS, DamageNet, normalise
from xaipipe_demo.patches import Patches, draw_patches

TRAINING_SEEDS = range(1000, 1040)
HELD_OUT_SEEDS = range(9000, 9012)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights."""

    slides: int = len(TRAINING_SEEDS)
    patches: int = 300
    """Patches from each slide."""
    side: int = 2048
    """Side of the slides in pixels."""
    epochs: int = 8
    batch: int = 64
    rate: float = 3e-3
    sparsity: float = 1e-3
    """Price of evidence anywhere: keeps the map dark where there is nothing to show."""
    symmetry: float = 0.05
    """Price of a map that does not turn with the patch."""
    seed: int = 0


def train(recipe: Recipe) -> tuple[DamageNet, list[float]]:
    """Train from scratch; returns the network and the loss of every epoch."""
    torch.manual_seed(recipe.seed)
    size = PREPROCESS["size"]
    data = draw_patches(TRAINING_SEEDS[: recipe.slides], recipe.patches, size, recipe.side)
    model = _fresh()
    optimiser = torch.optim.AdamW(model.parameters(), recipe.rate, weight_decay=1e-4)
    steps = recipe.epochs * -(-len(data.damaged) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=steps, pct_start=0.15)
    losses = []
    for epoch in range(recipe.epochs):
        total = 0.0
        for x, y in _batches(data, recipe.batch, [recipe.seed, epoch]):
            loss = _loss(model, x, y, recipe)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item() * len(y)
        losses.append(total / len(data.damaged))
        print(f"epoch {epoch + 1}/{recipe.epochs}: loss {losses[-1]:.4f}", flush=True)
    return model, losses


def _fresh() -> DamageNet:
    """He-initialised features under a linear layer whose two classes start, and so stay, mirror images."""
    model = DamageNet()
    for layer in model.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    weight = model.classifier.weight
    with torch.no_grad():
        weight[0] = -weight[1]
        model.classifier.bias.zero_()
    return model


def _loss(model: DamageNet, x: Tensor, y: Tensor, recipe: Recipe) -> Tensor:
    """Cross-entropy on the patch labels, and two demands on the map of evidence that need no label.

    It must be dark where there is nothing to show, and turn with the patch: a map that turns about every cell
    cannot lie to one side of it. A quarter of the batch is enough to ask for the second.
    """
    quarter = -(-len(x) // 4)
    features = model.features(torch.cat([x, torch.rot90(x[:quarter], 1, (2, 3))]))
    scores = model.classifier(model.pool(features[: len(x)]).flatten(1))
    contrast = model.classifier.weight[1] - model.classifier.weight[0]
    evidence = torch.einsum("nchw,c->nhw", features, contrast)
    here, turned = evidence[: len(x)], evidence[len(x) :]
    before = torch.rot90(here[:quarter], 1, (1, 2))
    lopsided = F.mse_loss(turned, before) / (before.detach().square().mean() + 0.1)
    price = recipe.sparsity * here.abs().mean() + recipe.symmetry * lopsided
    loss: Tensor = F.cross_entropy(scores, y) + price
    return loss


def _batches(data: Patches, batch: int, seed: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches, each turned and mirrored as a whole."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(data.damaged))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        x = normalise(torch.from_numpy(data.pixels[chosen]))
        x = torch.rot90(x, int(rng.integers(4)), (2, 3))
        x = x.flip(3) if rng.integers(2) else x
        yield x.contiguous(), torch.from_numpy(data.damaged[chosen]).long()


@torch.inference_mode()
def accuracy(model: nn.Module, data: Patches) -> float:
    """Share of patches called right."""
    called = [
        model(normalise(torch.from_numpy(data.pixels[i : i + 256]))).argmax(1).numpy()
        for i in range(0, len(data.damaged), 256)
    ]
    return float((np.concatenate(called) == data.damaged).mean())


def main() -> None:
    """Train, measure on slides never seen, save."""
    parser = argparse.ArgumentParser(description="Train the demo's network.")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("weights.safetensors"))
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    chosen = parser.parse_args()
    recipe = Recipe(epochs=chosen.epochs)
    model, _ = train(recipe)
    held_out = accuracy(model, draw_patches(HELD_OUT_SEEDS, recipe.patches, PREPROCESS["size"], recipe.side))
    print(f"held-out accuracy: {held_out:.4f}")
    facts = {"held_out_accuracy": f"{held_out:.4f}", "seed": str(recipe.seed), "classes": "healthy,damaged"}
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, chosen.out, metadata=facts)


if __name__ == "__main__":
    main()
