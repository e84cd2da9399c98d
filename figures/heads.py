"""Heads and losses that the search tried beside the product's own (research.py names them; its table says how each fared).

What wins moves into the package; what loses stays here, so that its row of the table can be made again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landmark_thesis import model, runs
from landmark_thesis.landmarks import project_to_shape
from landmark_thesis.losses import DenseLoss, LandmarkLoss
from landmark_thesis.model import DenseHead, DenseOptions, LandmarkOutput, cell_centres
from landmark_thesis.pixel_error import along_across

FORM = Path(__file__).resolve().parent / "research" / "wavering.json"


class RefinedHead(DenseHead):
    """Each coordinate may lean on all others: a linear layer over the points that the maps give, which starts as nothing.

    The labels have 14 degrees of freedom, so what one point says of the axis, the others can correct.
    """

    def __init__(self, channels: Sequence[int], num_landmarks: int, options: DenseOptions):
        super().__init__(channels, num_landmarks, options)
        self.refine = nn.Linear(2 * num_landmarks, 2 * num_landmarks)
        nn.init.zeros_(self.refine.weight)
        nn.init.zeros_(self.refine.bias)

    def forward(self, maps: Sequence[Tensor]) -> LandmarkOutput:
        output = super().forward(maps)
        with torch.autocast(output.landmarks.device.type, enabled=False):
            return LandmarkOutput(output.landmarks + self.refine(4 * (output.landmarks - 0.5)), output.logits)


def local_soft_argmax(logits: Tensor, radius: int = 3, margin: int = 0) -> Tensor:
    """(B, K, h, w) -> (B, K, 2) fractions: the mean of the map within `radius` cells of its highest cell (Sun et al. 2018, windowed).

    What lies farther off has no say, so a second, lower peak cannot pull the point between the two.
    """
    height, width = logits.shape[-2:]
    peak = logits.flatten(2).argmax(-1)
    rows = torch.arange(height, device=logits.device)
    columns = torch.arange(width, device=logits.device)
    near = ((rows - (peak // width)[..., None]).abs() <= radius)[..., :, None] & ((columns - (peak % width)[..., None]).abs() <= radius)[..., None, :]
    weights = logits.masked_fill(~near, float("-inf")).flatten(2).softmax(-1).view(logits.shape)
    x = (weights.sum(-2) * cell_centres(width, margin, logits.device)).sum(-1)
    y = (weights.sum(-1) * cell_centres(height, margin, logits.device)).sum(-1)
    return torch.stack([x, y], -1)


class LocalHead(DenseHead):
    """The dense head's maps, read in a window about their peak."""

    def forward(self, maps: Sequence[Tensor]) -> LandmarkOutput:
        whole = self._all_logits(maps)
        inside = slice(self.margin, -self.margin or None)
        return LandmarkOutput(local_soft_argmax(whole, margin=self.margin).flatten(1), whole[..., inside, inside])

    def _all_logits(self, maps: Sequence[Tensor]) -> Tensor:
        levels = [lateral(x) for lateral, x in zip(self.lateral, maps[-self.levels :], strict=True)]
        x = self.context(levels.pop())
        while levels:
            finer = levels.pop()
            x = finer + F.interpolate(x, size=finer.shape[-2:], mode="nearest")
        return self.logits(self.look(x)).float()


@dataclass
class AxisOutput:
    """Points (B, 2K) and, for each, two distributions over bins: `x` and `y` (B, K, bins)."""

    landmarks: Tensor
    x: Tensor
    y: Tensor


class SimCCHead(LocalHead):
    """SimCC (Li et al., ECCV 2022): a point is two classifications, one over columns and one over rows, finer than the map.

    A shared linear layer turns each flattened map of 32 x 32 cells into 2 x `bins` logits; read by soft-argmax. For pictures of 224.
    """

    bins = 112  # two pixels each

    def __init__(self, channels: Sequence[int], num_landmarks: int, options: DenseOptions):
        super().__init__(channels, num_landmarks, options)
        self.classify = nn.Linear((28 + 2 * self.margin) ** 2, 2 * self.bins)

    def forward(self, maps: Sequence[Tensor]) -> AxisOutput:
        x, y = self.classify(self._all_logits(maps).flatten(2)).float().chunk(2, -1)
        centres = cell_centres(self.bins, 0, x.device)
        points = torch.stack([(x.softmax(-1) * centres).sum(-1), (y.softmax(-1) * centres).sum(-1)], -1)
        return AxisOutput(points.flatten(1), x, y)


class SimCCLoss(LandmarkLoss):
    """The logarithm of the distance, as `DenseLoss` has it, and a cross-entropy with a Gaussian of `sigma_px` on each axis."""

    def __init__(self, image_size: int = 224, sigma_px: float = 6.0) -> None:
        super().__init__()
        self.image_size, self.sigma_px = image_size, sigma_px
        self.distance = DenseLoss(image_size, heatmap_weight=0)

    def forward(self, output: Any, target: Tensor) -> dict[str, Tensor]:
        _, points, counted = self.points(output, target)
        coordinate = self.distance(output, target)["coordinate"]
        crosses = sum(self._cross(logits, points[..., k]) for k, logits in enumerate((output.x, output.y)))
        heatmap = (crosses * counted).sum() / counted.sum().clamp(min=1)
        return {"total": coordinate + heatmap, "coordinate": coordinate, "heatmap": heatmap}

    def _cross(self, logits: Tensor, place: Tensor) -> Tensor:
        centres = cell_centres(logits.shape[-1], 0, logits.device)
        wanted = (-0.5 * ((centres - place[..., None]) * self.image_size / self.sigma_px) ** 2).softmax(-1)
        return -(wanted * logits.log_softmax(-1)).sum(-1)


class ShapeLoss(DenseLoss):
    """`DenseLoss`, its distance measured after the points were moved to the nearest shape of 14 numbers, as prediction does."""

    def points(self, output: Any, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        predicted, target, counted = super().points(output, target)
        return project_to_shape(predicted), target, counted


class CorrelatedLoss(DenseLoss):
    """`DenseLoss`, its distance that of a whole picture, by how the answers of `dense` waver (`research.py wavering dense-0`: 30 x 30, no label).

    e = sqrt(r' C^-1 r / 30) with r the errors along and across the axis in px and C of mean variance 1: what wavers together counts once.
    Points that are not counted have no error.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        form = torch.tensor(json.loads(FORM.read_text(encoding="utf-8")), dtype=torch.float64)
        self.register_buffer("whitener", torch.linalg.cholesky(torch.linalg.inv(form)).float(), persistent=False)

    def forward(self, output: Any, target: Tensor) -> dict[str, Tensor]:
        labelled = target.view(len(target), -1, 2)  # an end of the axis outside the picture still says how the axis runs
        predicted, target, counted = self.points(output, target)
        errors = along_across(labelled + (predicted - target) * counted[..., None], labelled, self.image_size)
        whitened = errors.flatten(1) @ self.whitener.to(errors.device)
        distance = (whitened.square().mean(1) + 1e-6).sqrt()  # the root has no slope at 0
        coordinate = (self.coefficient * torch.log1p(distance / self.scale_px)).mean()
        heatmap = (self._cross_entropy(output, target) * counted).sum() / counted.sum().clamp(min=1)
        return {"total": coordinate + self.heatmap_weight * heatmap, "coordinate": coordinate, "heatmap": heatmap}


def register() -> None:
    """Make them known by name, in this process alone."""
    model._HEADS.update({name: (head, DenseOptions) for name, head in (("refined", RefinedHead), ("local", LocalHead), ("simcc", SimCCHead))})
    runs.LOSSES.update({"shape": ShapeLoss, "simcc": SimCCLoss, "correlated": CorrelatedLoss})
