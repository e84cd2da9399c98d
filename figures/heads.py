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
from landmark_thesis.landmarks import AXIS, CENTRAL, LATERAL, LEFT_CONTOUR, LEVELS, NUM_LANDMARKS, project_to_shape
from landmark_thesis.losses import SHORTEST_AXIS, DenseLoss, LandmarkLoss
from landmark_thesis.model import DenseHead, DenseOptions, LandmarkOutput, cell_centres, soft_argmax
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
        return self.logits(self.seen(maps)).float()


@dataclass
class AxisOutput:
    """Points (B, 2K) and, for each, two distributions over bins: `x` and `y` (B, K, bins)."""

    landmarks: Tensor
    x: Tensor
    y: Tensor


class SimCCHead(LocalHead):
    """SimCC (Li et al., ECCV 2022): a point is two classifications, one over columns and one over rows, finer than the map.

    A shared linear layer turns each flattened map of 32 x 32 cells into 2 x `bins` logits; read by soft-argmax; no bin lies beyond the border. For pictures of 224.
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


SIDES = tuple(-1.0 if k in LEFT_CONTOUR else 1.0 for k in LATERAL)  # where a lateral point lies, in the sign of `to_shape`


def across_axis(ends: Tensor) -> tuple[Tensor, Tensor]:
    """L1 and L2 (B, 2, 2) -> the axis (B, 2) and its normal towards the image's right (B, 2), of length 1.

    An axis shorter than `SHORTEST_AXIS` has a shorter normal: an untrained head's may vanish, and a direction would have no slope there.
    """
    axis = ends[:, 1] - ends[:, 0]
    length = torch.linalg.vector_norm(axis, dim=-1, keepdim=True).clamp_min(SHORTEST_AXIS)
    return axis, torch.stack([axis[:, 1], -axis[:, 0]], -1) / length


@dataclass
class ShapeOutput:
    """Points (B, 30) that have a shape of 14 numbers, the maps (B, 15, h, w) and, for each of LATERAL, one distribution (B, 10, bins)."""

    landmarks: Tensor
    logits: Tensor
    distances: Tensor


class AxisHead(DenseHead):
    """First the axis, from the maps of the five points on it; then each lateral distance, looked for along the perpendicular of that axis.

    The axis is the least-squares line through L1, L9, L10, L11 and L2 at their levels. On the perpendicular of each lateral point the
    features are read at `bins` distances; two convolutions along it make a distribution, whose mean is the distance. So the answer has the
    14 numbers of the labels and no more. The maps of the lateral points are drawn for the loss alone, which holds the features to them.
    Places where features are read get no gradient: the axis learns from the points. Coordinates must be isotropic: square pictures.
    """

    bins = 48
    farthest = 0.64  # of the picture's width: the labels reach .54, and a view is up to 1.16 times as large

    def __init__(self, channels: Sequence[int], num_landmarks: int, options: DenseOptions):
        if num_landmarks != NUM_LANDMARKS:
            raise ValueError(f"the head of the axis knows the {NUM_LANDMARKS} landmarks of landmarks.py, not {num_landmarks} points")
        super().__init__(channels, num_landmarks, options)
        width = options.channels
        self.along = nn.Sequential(  # one place of a perpendicular beside the other; the perpendiculars do not mix
            nn.Conv2d(width, width, (1, 5), padding=(0, 2)), nn.ReLU(inplace=True), nn.Conv2d(width, len(LATERAL), (1, 5), padding=(0, 2))
        )
        nn.init.normal_(self.along[-1].weight, std=0.3)  # flat logits learn slowly, as DenseHead says
        nn.init.zeros_(self.along[-1].bias)
        levels = torch.tensor([LEVELS[k] for k in (*AXIS, *CENTRAL)])
        slope = (levels - levels.mean()) / ((levels - levels.mean()) ** 2).sum()
        upper = 1 / len(levels) - levels.mean() * slope
        # constants that live on the device: made anew in each step, their copy would stall it
        for name, values in {
            "ends": torch.stack([upper, upper + slope]),  # (2, 5): what each point on the axis says of L1 and of L2
            "level": torch.tensor(LEVELS),
            "lateral_level": torch.tensor([LEVELS[k] for k in LATERAL]),
            "side": torch.tensor(SIDES),
            "reach": torch.linspace(0, self.farthest, self.bins),
        }.items():
            self.register_buffer(f"_{name}", values, persistent=False)

    def forward(self, maps: Sequence[Tensor]) -> ShapeOutput:
        features = self.seen(maps)
        whole = self.logits(features).float()
        ends = self._axis_ends(soft_argmax(whole, self.margin))
        logits = self.along(self._read(features, ends.detach()))  # (B, 10, 10, bins): each row of weights has its own perpendicular
        logits = logits.diagonal(dim1=1, dim2=2).transpose(1, 2).float()
        with torch.autocast(whole.device.type, enabled=False):
            points = self._points(ends, (logits.softmax(-1) * self._reach).sum(-1))
        inside = slice(self.margin, -self.margin or None)
        return ShapeOutput(points.flatten(1), whole[..., inside, inside], logits)

    def _axis_ends(self, points: Tensor) -> Tensor:
        """(B, 15, 2) -> L1 and L2 (B, 2, 2) of the least-squares line. Products and sums: TF32 would round a matrix product."""
        on_axis = torch.stack([points[:, k] for k in (*AXIS, *CENTRAL)], 1)
        return (self._ends[..., None] * on_axis[:, None]).sum(2)

    def _read(self, features: Tensor, ends: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, 10, bins): the features along the perpendiculars, from the axis outwards; beyond the map, those of its border.

        The gradient of grid_sample is not deterministic on CUDA: two runs of one seed differ there. A search bears that, a recipe would not.
        """
        with torch.autocast(features.device.type, enabled=False):
            axis, normal = across_axis(ends)
            base = ends[:, None, 0] + self._lateral_level[:, None] * axis[:, None]
            away = self._side[:, None] * normal[:, None]
            places = base[:, :, None] + self._reach[:, None] * away[:, :, None]  # (B, 10, bins, 2)
            width, height = features.shape[-1], features.shape[-2]  # -1 and 1 are the edges of the map, which reaches beyond the picture's
            x, y = ((places[..., k] * (cells - 2 * self.margin) + self.margin) / cells for k, cells in enumerate((width, height)))
            return F.grid_sample(features.float(), 2 * torch.stack([x, y], -1) - 1, padding_mode="border", align_corners=False)

    def _points(self, ends: Tensor, distances: Tensor) -> Tensor:
        """L1 and L2 (B, 2, 2) and distances (B, 10), none negative -> (B, 15, 2), as `from_shape` has it."""
        axis, normal = across_axis(ends)
        signed, nothing = self._side * distances, torch.zeros_like(distances[:, 0])
        across = torch.stack([signed[:, LATERAL.index(k)] if k in LATERAL else nothing for k in range(NUM_LANDMARKS)], 1)
        return ends[:, None, 0] + self._level[:, None] * axis[:, None] + across[..., None] * normal[:, None]


class AxisLoss(DenseLoss):
    """`DenseLoss` and, where the output has `.distances`, a cross-entropy of each with a Gaussian of `sigma_px` round the labelled distance.

    That is the distance of the labelled point from the labelled axis. It counts where the point does and both ends of the axis are known:
    an end outside the picture still says how the axis runs.
    """

    def forward(self, output: Any, target: Tensor) -> dict[str, Tensor]:
        losses = super().forward(output, target)
        logits = getattr(output, "distances", None)
        if logits is None:
            return losses
        _, inside, counted = self.points(output, target)
        wanted, known = self._labelled(target.reshape(inside.shape).to(inside.dtype))
        counted = known & torch.stack([counted[:, k] for k in LATERAL], 1)
        reach = torch.linspace(0, AxisHead.farthest, logits.shape[-1], device=logits.device)
        share = (-0.5 * ((reach - wanted[..., None]) * self.image_size / self.sigma_px) ** 2).softmax(-1)
        crosses = -(share * logits.log_softmax(-1)).sum(-1)
        distance = (crosses * counted).sum() / counted.sum().clamp(min=1)
        return {**losses, "total": losses["total"] + distance, "distance": distance}

    def _labelled(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 15, 2) -> the lateral distances (B, 10), and which can be told; 0 where not, for NaN times 0 is NaN."""
        _, normal = across_axis(target[:, : len(AXIS)])
        distances = [side * ((target[:, k] - target[:, AXIS[0]]) * normal).sum(-1) for k, side in zip(LATERAL, SIDES, strict=True)]
        wanted = torch.stack(distances, 1)
        known = wanted.isfinite()
        return wanted.masked_fill(~known, 0.0), known


HEADS = {"refined": RefinedHead, "local": LocalHead, "simcc": SimCCHead, "axis": AxisHead}


def register() -> None:
    """Make them known by name, in this process alone."""
    model._HEADS.update({name: (head, DenseOptions) for name, head in HEADS.items()})
    runs.LOSSES.update({"shape": ShapeLoss, "simcc": SimCCLoss, "correlated": CorrelatedLoss, "axis": AxisLoss})
