"""Make `tiny.pt`, the weights of the `tiny` backbone that travel with the package.

    python -m landmark_thesis.weights.make_tiny [--out FILE] [--phantoms N] [--epochs N] [--seed N]

The backbone learns to take phantoms apart: from each of its maps, one linear layer must redraw what every tissue added
to the picture (lungs, heart, ribs, ...), and from the mean of its last map another must tell how much of each tissue
lies in each seventh of the picture's height and width, and which kind of opacity there is. No landmark is shown. Those
layers are then thrown away.

Its phantoms are of another make than the chapters': `PRETRAIN_STYLE` (exposures, noise, bones) and `PRETRAIN_SEED`,
a stream of chests that no chapter may use. It works on one thread of the CPU, a minute or two of it. Same seed, same
kind of machine and libraries: the same file, byte for byte; another processor rounds otherwise and gives another file,
which does as well.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landmark_thesis.augment import change_greys, flip, random_matrices, warp
from landmark_thesis.data import PreprocessSettings, preprocess
from landmark_thesis.model import Backbone, build_backbone, file_hash, pick_precision, save_backbone
from landmark_thesis.phantom import CATEGORIES, PRETRAIN_STYLE, attenuation_layers, expose, sample_shapes
from landmark_thesis.trainer import schedule_factor

PRETRAIN_SEED = 1_000_003  # of the phantoms; reserved: chapters, tests and recipes draw theirs from other seeds
SIDE, STRIDE, BINS = 224, 8, 7  # of the pictures; of the redrawn tissues; of the profiles along height and width
TISSUES = ("body", "lungs", "heart", "diaphragm", "opacities", "airway", "spine", "ribs", "shoulders")


@dataclass(frozen=True)
class Settings:
    """How long and how.

    phantoms: how many are drawn, once. seed: of weights, order and views. rate: the peak of a one-cycle schedule.
    sizes: sides at which a batch may be shown, multiples of 32, so that the features serve small pictures too.
    Raises ValueError where there would be no step to train.
    """

    phantoms: int = 1500
    epochs: int = 10
    seed: int = 0
    batch_size: int = 24
    rate: float = 4e-3
    weight_decay: float = 0.01
    sizes: tuple[int, ...] = (96, 128, 160, 224)

    def __post_init__(self) -> None:
        if self.phantoms < self.batch_size or self.epochs < 1:
            raise ValueError(f"{self.phantoms} phantoms and {self.epochs} epochs: give at least {self.batch_size} (one batch) and 1")


@dataclass(frozen=True)
class Tissues:
    """Pictures (N, S, S) uint8, tissues (N, T, S/8, S/8) in units of each tissue's RMS, kinds of opacity (N,)."""

    images: Tensor
    layers: Tensor
    kinds: Tensor


def draw_tissues(n: int, side: int = SIDE) -> Tissues:
    """The first n phantoms of PRETRAIN_SEED with what they are made of; kinds of opacity take turns."""
    images, layers = np.zeros((n, side, side), np.uint8), np.zeros((n, len(TISSUES), side // STRIDE, side // STRIDE), np.float32)
    kinds = np.arange(n) % len(CATEGORIES)
    for number, points in enumerate(sample_shapes(n, PRETRAIN_SEED)):
        key = (PRETRAIN_SEED, number)
        parts = attenuation_layers(points, side, key, PRETRAIN_STYLE, CATEGORIES[kinds[number]])
        images[number] = preprocess(expose(sum(parts.values()), key, PRETRAIN_STYLE), PreprocessSettings(size=side))
        for row, name in enumerate(TISSUES):
            layers[number, row] = cv2.resize(parts[name], layers.shape[2:], interpolation=cv2.INTER_AREA)
    layers /= np.sqrt(np.square(layers).mean((0, 2, 3), keepdims=True))
    return Tissues(torch.from_numpy(images), torch.from_numpy(layers), torch.from_numpy(kinds))


Answers = tuple[list[Tensor], Tensor, Tensor]


class Pretext(nn.Module):
    """The backbone and the linear layers that question it: one per map, two for the mean of its last map."""

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone
        self.finest = backbone.strides.index(STRIDE)
        pairs = zip(backbone.channels[self.finest :], backbone.strides[self.finest :], strict=True)
        self.redraw = nn.ModuleList(nn.Conv2d(width, len(TISSUES) * (stride // STRIDE) ** 2, 1) for width, stride in pairs)
        self.profiles = nn.Linear(backbone.channels[-1], len(TISSUES) * 2 * BINS)
        self.kind = nn.Linear(backbone.channels[-1], len(CATEGORIES))

    def forward(self, images: Tensor) -> Answers:
        """images (B, 1, S, S) -> tissues as each map sees them, [(B, T, S/8, S/8)]; profiles (B, T, 14); logits of kinds (B, 3)."""
        maps = self.backbone(images)[self.finest :]
        redrawn = [F.pixel_shuffle(layer(x), 2**level) for level, (layer, x) in enumerate(zip(self.redraw, maps, strict=True))]
        mean = maps[-1].float().mean((2, 3))
        return redrawn, self.profiles(mean).view(-1, len(TISSUES), 2 * BINS), self.kind(mean)


def profiles(layers: Tensor) -> Tensor:
    """(B, T, h, w) -> (B, T, 14): each tissue's mean in 7 rows and in 7 columns."""
    rows, columns = F.adaptive_avg_pool2d(layers, (BINS, 1)), F.adaptive_avg_pool2d(layers, (1, BINS))
    return torch.cat([rows.flatten(2), columns.flatten(2)], -1)


def pretext_loss(answers: Answers, layers: Tensor, kinds: Tensor) -> dict[str, Tensor]:
    """Mean squared errors of tissues (in their RMS) and of profiles, cross-entropy of kinds, and their weighted sum, "total"."""
    redrawn, profile, kind = answers
    parts = {
        "tissues": torch.stack([F.mse_loss(each.float(), layers) for each in redrawn]).mean(),
        "profiles": F.mse_loss(profile.float(), profiles(layers)),
        "kinds": F.cross_entropy(kind.float(), kinds),
    }
    return {"total": parts["tissues"] + 3 * parts["profiles"] + 0.1 * parts["kinds"], **parts}


def view(images: Tensor, layers: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random view of pictures (B, 1, S, S) in [0, 1] and their tissues, mirrored, moved, re-exposed, at side `size`."""
    nowhere = torch.zeros(len(images), 1, 2)  # the geometry wants points; this task has none
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    matrices = random_matrices(len(images), generator, rotation=12, scale=0.2, shift=0.12)
    seen = []
    for maps in (images, layers):
        maps = torch.where(mirrored, flip(maps, nowhere, (0,))[0], maps)
        seen.append(warp(maps, nowhere, matrices)[0])
    images, layers = seen
    brightness, contrast = 0.8 + 0.4 * torch.rand(2, len(images), generator=generator)
    images = change_greys(images, brightness, contrast)
    if size != images.shape[-1]:
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        layers = F.interpolate(layers, size=(size // STRIDE, size // STRIDE), mode="bilinear", antialias=True)
    return images, layers


def train(data: Tissues, settings: Settings) -> Backbone:
    """The backbone after the whole schedule; nothing is selected."""
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    model = Pretext(build_backbone("tiny")).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * (len(data.images) // settings.batch_size)  # batches are whole: batch norm likes them so
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule_factor("onecycle", step / steps))
    dtype, began = pick_precision("cpu"), time.perf_counter()
    print(f"{steps} steps of {settings.batch_size} pictures in {dtype or torch.float32}", flush=True)
    for epoch in range(settings.epochs):
        sums: dict[str, float] = {}
        order = torch.randperm(len(data.images), generator=generator)
        batches = order[: steps // settings.epochs * settings.batch_size].split(settings.batch_size)
        for index in batches:
            size = settings.sizes[int(torch.randint(len(settings.sizes), (), generator=generator))]
            images, layers = view(data.images[index, None].float() / 255, data.layers[index], size, generator)
            with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
                answers = model(images)
            losses = pretext_loss(answers, layers, data.kinds[index])
            optimizer.zero_grad()
            losses["total"].backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.item() / len(batches)
        said = ", ".join(f"{name} {value:.4f}" for name, value in sums.items())
        print(f"epoch {epoch + 1}/{settings.epochs}: {said} ({time.perf_counter() - began:.0f} s)", flush=True)
    return model.backbone.eval()


def make(out: Path, settings: Settings) -> str:
    """Draw, train, and write the file, whole or not at all; returns its sha256."""
    print(f"drawing {settings.phantoms} phantoms of seed {PRETRAIN_SEED} in PRETRAIN_STYLE, {SIDE} x {SIDE}", flush=True)
    data = draw_tissues(settings.phantoms)
    save_backbone(train(data, settings), "tiny", out)
    digest = file_hash(out)
    print(f"wrote {out.name}: {out.stat().st_size} bytes, sha256 {digest}")
    return digest


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m landmark_thesis.weights.make_tiny", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Settings()
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("tiny.pt"), help="the file to write (default: the package's own)")
    parser.add_argument("--phantoms", type=int, default=default.phantoms)
    parser.add_argument("--epochs", type=int, default=default.epochs)
    parser.add_argument("--seed", type=int, default=default.seed, help="of weights, order and views; the phantoms are always the same")
    chosen = parser.parse_args(arguments)
    try:
        settings = Settings(phantoms=chosen.phantoms, epochs=chosen.epochs, seed=chosen.seed)
    except ValueError as error:
        parser.error(str(error))
    torch.set_num_threads(1)  # sums are then added in one order, and a busy machine does not wait for its slowest thread
    make(chosen.out, settings)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
