"""The heads that were only tried: they must be right, or their rows of the table mean nothing."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from landmark_thesis import model, runs
from landmark_thesis.landmarks import AXIS, CENTRAL, LATERAL, from_shape, project_to_shape
from landmark_thesis.losses import DenseLoss
from landmark_thesis.model import DenseHead, DenseOptions, LandmarkOutput, build_backbone, cell_centres
from landmark_thesis.phantom import sample_shapes

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "figures"))
import heads


def bump(x, y, cells=28, sd=1.5, height=1.0):
    place = (torch.arange(cells) + 0.5) / cells
    return height * -((place - x)[None, :] ** 2 + (place - y)[:, None] ** 2) * cells**2 / (2 * sd**2)


@pytest.mark.parametrize("place", [(0.5, 0.5), (0.31, 0.67), (0.25, 0.8), (0.42, 0.205)])
def test_a_window_finds_a_planted_peak_and_is_not_pulled_by_a_second_one(place):
    far = (place[0] + 0.4 if place[0] < 0.5 else place[0] - 0.4, place[1])
    both = torch.logaddexp(bump(*place, sd=1.2), bump(*far, sd=1.2) - 0.5)
    one, two = heads.local_soft_argmax(torch.stack([bump(*place, sd=1.2), both])[None], radius=6)[0] * 224
    assert (one - torch.tensor(place) * 224).norm() < 0.05
    assert (two - one).norm() < 0.05


def test_a_window_respects_the_margin():
    whole = torch.full((1, 1, 32, 32), -30.0)
    whole[0, 0, 2 + 5, 2 + 9] = 30
    assert torch.allclose(heads.local_soft_argmax(whole, margin=2)[0, 0], torch.tensor([9.5, 5.5]) / 28)


@pytest.mark.parametrize(("place", "sd"), [((1.5, 14.0), 0.8), ((0.6, 27.3), 0.7), ((-0.5, 10.5), 0.4), ((14.5, 28.5), 0.4)])  # in cells: near the edges, and beyond them
def test_a_window_finds_a_peak_near_the_edge_and_beyond_it(place, sd):
    cells = torch.arange(32) - 2 + 0.5
    whole = -((cells - place[0])[None, :] ** 2 + (cells - place[1])[:, None] ** 2) / (2 * sd**2)
    assert torch.allclose(heads.local_soft_argmax(whole[None, None], radius=6, margin=2)[0, 0] * 28, torch.tensor(place), atol=0.05 / 8)  # a twentieth of a pixel


@pytest.fixture(scope="module")
def maps():
    torch.manual_seed(0)
    with torch.no_grad():
        return build_backbone("tiny").eval()(torch.rand(2, 1, 224, 224))


def test_a_refined_head_begins_as_the_dense_one_and_then_moves_all_points_by_one(maps):
    torch.manual_seed(1)
    plain = DenseHead((16, 24, 40, 64, 88)[-4:], 15, DenseOptions())
    refined = heads.RefinedHead((16, 24, 40, 64, 88)[-4:], 15, DenseOptions())
    refined.load_state_dict(plain.state_dict(), strict=False)
    before = plain(maps).landmarks
    assert torch.equal(refined(maps).landmarks, before)
    refined.refine.weight.data[:, 3] = 0.25
    assert torch.allclose(refined(maps).landmarks, before + (before[:, 3:4] - 0.5), atol=1e-6)


@pytest.mark.parametrize("head", ["RefinedHead", "LocalHead", "SimCCHead", "AxisHead"])
def test_each_sees_the_maps_as_the_dense_head_does_and_by_the_same_step(maps, head, monkeypatch):
    torch.manual_seed(1)
    plain, made = (kind((16, 24, 40, 64, 88)[-4:], 15, DenseOptions()).eval() for kind in (DenseHead, getattr(heads, head)))
    made.load_state_dict(plain.state_dict(), strict=False)
    seen, steps = DenseHead.seen, []
    monkeypatch.setattr(DenseHead, "seen", lambda self, maps: steps.append(seen(self, maps)) or steps[-1])
    wanted, output = plain(maps).logits, made(maps)
    assert len(steps) == 2 and torch.equal(*steps)
    assert torch.equal(getattr(output, "logits", wanted), wanted)  # SimCC hands out no maps


@pytest.mark.parametrize("head", ["RefinedHead", "LocalHead", "SimCCHead", "AxisHead"])
@pytest.mark.parametrize("place", [0.02, 0.5, 0.98])
def test_each_learns_from_a_far_off_start_with_finite_gradients(maps, head, place):
    torch.manual_seed(2)
    made = getattr(heads, head)((16, 24, 40, 64, 88)[-4:], 15, DenseOptions())
    criterion = {"RefinedHead": heads.ShapeLoss, "SimCCHead": heads.SimCCLoss, "AxisHead": heads.AxisLoss}.get(head, DenseLoss)()
    rng = torch.Generator().manual_seed(0)
    target = (torch.rand(2, 30, generator=rng) * 0.1 + place).clamp(0.01, 0.99)
    optimiser = torch.optim.Adam(made.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = criterion(made(maps), target)["total"]
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in made.parameters() if p.grad is not None)
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_classified_bins_read_back_the_place_that_the_loss_wants():
    criterion = heads.SimCCLoss()
    target = torch.tensor([[0.3, 0.71]])
    centres = heads.cell_centres(112)
    logits = [-0.5 * ((centres - place) * 224 / 6) ** 2 for place in target[0]]
    points = torch.stack([(line.softmax(0) * centres).sum() for line in logits])
    assert torch.allclose(points * 224, target[0] * 224, atol=0.05)
    wanted = heads.AxisOutput(target, logits[0][None, None], logits[1][None, None])
    elsewhere = heads.AxisOutput(target, logits[1][None, None], logits[0][None, None])
    assert criterion(wanted, target)["heatmap"] < criterion(elsewhere, target)["heatmap"]


@pytest.mark.parametrize(("place", "read"), [((0.3, 0.71), (0.3, 0.71)), ((0.05, 0.95), (0.05, 0.95)), ((-0.1, 1.2), (0.5 / 112, 1 - 0.5 / 112))])
def test_a_classified_point_is_read_column_before_row_and_never_beyond_the_outermost_bins(maps, place, read):
    head = heads.SimCCHead((16, 24, 40, 64, 88)[-4:], 15, DenseOptions())
    wanted = [-0.5 * ((cell_centres(112) - one) * 224 / 3) ** 2 * (1 if 0 < one < 1 else 100) for one in place]
    head.classify.weight.data.zero_()
    head.classify.bias.data = torch.cat(wanted)
    output = head(maps)
    assert torch.allclose(output.landmarks.view(2, 15, 2) * 224, torch.tensor(read) * 224, atol=0.05)
    assert torch.allclose(output.x, wanted[0]) and torch.allclose(output.y, wanted[1])


def test_the_loss_after_projection_forgives_what_projection_takes_away():
    truth = torch.from_numpy(sample_shapes(1)).float()
    moved = truth.clone()
    moved[0, 8] += torch.tensor([0.05, 0.0])  # a point off the axis: no such shape exists
    output = heads.LandmarkOutput(moved.flatten(1), torch.zeros(1, 15, 28, 28))
    straight = {"scale_px": 1000.0, "coefficient": 1000.0, "heatmap_weight": 0}  # the mean distance in px, almost
    plain, shaped = (kind(**straight)(output, truth.flatten(1))["total"] for kind in (DenseLoss, heads.ShapeLoss))
    assert plain.item() == pytest.approx(0.05 * 224 / 15, rel=0.01)
    spread = heads.project_to_shape(moved) - truth
    assert shaped.item() == pytest.approx(spread.norm(dim=-1).mean().item() * 224, rel=0.01) and (spread**2).sum() < 0.5 * 0.05**2


def test_a_correlated_distance_counts_what_wavers_together_once():
    criterion = heads.CorrelatedLoss(coefficient=10.0, scale_px=4.0)
    form = torch.linalg.inv(criterion.whitener.double() @ criterion.whitener.double().T)
    assert torch.allclose(form.trace(), torch.tensor(30.0, dtype=torch.float64), rtol=1e-3)
    truth = from_shape(torch.tensor([[0.5, 0.1, 0.5, 0.9, *[-0.2, 0.2] * 5]]))
    worst, least = (torch.linalg.eigh(form)[1][:, k].float().view(15, 2) for k in (-1, 0))

    def loss(direction, px=30**0.5):
        moved = truth + torch.stack([direction[:, 1], direction[:, 0]], -1) * px / 224  # an upright axis: along is y
        output = SimpleNamespace(landmarks=moved.flatten(1), logits=torch.zeros(1, 15, 28, 28))
        return criterion(output, truth.flatten(1))["coordinate"]

    values = torch.linalg.eigvalsh(form)
    for direction, value in ((worst, values[-1]), (least, values[0])):
        assert loss(direction) == pytest.approx(10 * torch.log1p(value**-0.5 / 4).item(), rel=1e-2)
    assert loss(worst) < loss(least)
    below = truth + torch.tensor([0.0, 1.2])  # all but the upper end lies outside
    output = SimpleNamespace(landmarks=torch.rand(1, 30, requires_grad=True), logits=torch.zeros(1, 15, 28, 28))
    criterion(output, below.flatten(1))["total"].backward()
    assert output.landmarks.grad.abs().max() == 0  # neither NaN nor pulled


CHANNELS = (16, 24, 40, 64, 88)[-4:]
SHAPES = torch.tensor([
    [0.52, 0.12, 0.47, 0.88, -0.29, 0.31, -0.33, 0.35, -0.36, 0.34, -0.15, 0.18, -0.40, 0.37],
    [0.35, 0.30, 0.62, 0.75, -0.20, 0.15, -0.22, 0.30, -0.25, 0.28, -0.09, 0.11, -0.30, 0.21],  # an axis that leans
    [0.50, 0.03, 0.50, 1.003, -0.40, 0.45, -0.47, 0.50, -0.50, 0.49, -0.28, 0.25, -0.54, 0.50],  # L2 and some lateral points lie outside
])  # fmt: skip
DISTANCES = SHAPES[:, 4:].abs()


class Planted(torch.nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer


def bumps(points, cells=32, margin=2, sd=0.7):
    """Maps (B, K, cells, cells) whose soft-argmax is `points` (B, K, 2)."""
    away = (cell_centres(cells, margin) - points[..., None]) * (cells - 2 * margin)  # (B, K, 2, cells)
    return -0.5 * (away[..., 1, :, None] ** 2 + away[..., 0, None, :] ** 2) / sd**2


def peaks(distances, sigma_px=6.0):
    reach = torch.linspace(0, heads.AxisHead.farthest, heads.AxisHead.bins)
    return -0.5 * ((reach - distances[..., None]) * 224 / sigma_px) ** 2


def axis_head(seed=3, **options):
    torch.manual_seed(seed)
    return heads.AxisHead(CHANNELS, 15, DenseOptions(**options))


def test_an_axis_and_distances_that_were_planted_give_the_points_of_that_shape(maps):
    head = axis_head()
    wanted, rows = from_shape(SHAPES), peaks(DISTANCES)
    drawn = bumps(wanted)
    drawn[:, list(LATERAL)] = 0  # what the maps of the lateral points say has no part in the answer
    head.logits = Planted(drawn)
    others = 9 * torch.randn(3, 10, 10, heads.AxisHead.bins)  # a row of weights on the perpendicular of another point
    head.along = Planted(torch.where(torch.eye(10, dtype=torch.bool)[..., None], rows[:, None], others))
    output = head([level[:1].expand(3, -1, -1, -1) for level in maps])
    assert ((output.landmarks.view(3, 15, 2) - wanted).norm(dim=-1) * 224).max() < 0.05
    assert torch.equal(output.distances, rows) and torch.equal(output.logits, drawn[..., 2:-2, 2:-2])
    assert output.landmarks.dtype == output.logits.dtype == output.distances.dtype == torch.float32


def test_the_axis_is_the_line_of_least_squares_through_its_five_points():
    points = from_shape(SHAPES) + 0.02 * torch.randn(3, 15, 2, generator=torch.Generator().manual_seed(0))
    design = torch.tensor([[1.0, t] for t in (0, 1, 0.25, 0.5, 0.75)])
    line = torch.linalg.lstsq(design.expand(3, -1, -1), points[:, [*AXIS, *CENTRAL]]).solution
    ends = axis_head()._axis_ends(points)
    assert torch.allclose(ends, torch.stack([line[:, 0], line.sum(1)], 1), atol=1e-6)


@pytest.mark.parametrize("margin", [0, 1, 2])
def test_the_features_are_read_where_the_points_of_each_distance_lie(margin):
    head, cells = axis_head(margin=margin), 28 + 2 * margin
    place = cell_centres(cells, margin)
    ramps = torch.stack([place.expand(cells, cells), place[:, None].expand(cells, cells)])  # each cell knows where it is: x, then y
    read = head._read(ramps.expand(3, -1, -1, -1), SHAPES[:, :4].view(3, 2, 2))
    assert read.shape == (3, 2, 10, heads.AxisHead.bins)
    for k, distance in enumerate(head._reach):
        shape = torch.cat([SHAPES[:, :4], SHAPES[:, 4:].sign() * distance], 1)
        there = from_shape(shape)[:, list(LATERAL)].transpose(1, 2)
        assert torch.allclose(read[..., k], there.clamp(place[0], place[-1]), atol=1e-5)  # beyond the last cell, what that one has


@pytest.mark.parametrize("autocast", [False, True])
def test_the_answer_has_a_shape_of_14_numbers(maps, autocast):
    head = axis_head()
    head.logits.weight.data *= 20  # maps with peaks: an axis of some length
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output = head(maps)
    points = output.landmarks.view(-1, 15, 2)
    assert output.logits.shape == (2, 15, 28, 28) and output.distances.shape == (2, 10, heads.AxisHead.bins)
    assert {output.landmarks.dtype, output.logits.dtype, output.distances.dtype} == {torch.float32}
    assert (points[:, AXIS[1]] - points[:, AXIS[0]]).norm(dim=-1).min() > 0.1
    assert (project_to_shape(points.double()) - points).norm(dim=-1).max() * 224 < 1e-3


def test_where_features_are_read_teaches_nothing_and_the_points_teach_the_axis(maps):
    head = axis_head()
    head(maps).distances.square().sum().backward()
    assert head.logits.weight.grad is None and head.along[0].weight.grad.abs().max() > 0
    head(maps).landmarks.square().sum().backward()
    slopes = head.logits.weight.grad.flatten(1).abs().amax(1)
    assert (slopes[[*AXIS, *CENTRAL]] > 0).all() and (slopes[list(LATERAL)] == 0).all()


@pytest.mark.parametrize("spread", [0.0, 1e-6, 1e-3])
def test_an_axis_without_length_has_finite_slopes(spread):
    ends = torch.tensor([[[0.5, 0.5], [0.5, 0.5 + spread]]], requires_grad=True)
    head, distances = axis_head(), torch.full((1, 10), 0.3, requires_grad=True)
    points = head._points(ends, distances)
    heads.AxisLoss()(SimpleNamespace(landmarks=points.flatten(1), logits=torch.zeros(1, 15, 28, 28)), from_shape(SHAPES[:1]).flatten(1))["total"].backward()
    assert points.isfinite().all() and ends.grad.isfinite().all() and ends.grad.abs().max() < 1e3


def axis_losses(logits, target):
    return heads.AxisLoss()(heads.ShapeOutput(torch.full((len(target), 30), 0.5), torch.zeros(len(target), 15, 28, 28), logits), target.flatten(1))


def test_the_loss_wants_the_labelled_distances_from_the_labelled_axis():
    logits = peaks(DISTANCES).requires_grad_()
    losses = axis_losses(logits[:2], from_shape(SHAPES[:2]))
    losses["distance"].backward()
    assert logits.grad.abs().max() < 1e-5  # nothing to gain
    assert losses["total"].item() == pytest.approx((losses["coordinate"] + losses["heatmap"] + losses["distance"]).item())
    moved = from_shape(SHAPES[:2])
    axis = moved[:, AXIS[1]] - moved[:, AXIS[0]]
    slid = moved.clone()
    slid[:, list(LATERAL)] += 0.03 * axis[:, None]  # along the axis: no distance changes
    assert axis_losses(logits[:2], slid)["distance"].item() == pytest.approx(losses["distance"].item(), abs=1e-4)
    farther = peaks(DISTANCES + 0.05)[:2]
    assert axis_losses(farther, moved)["distance"] > losses["distance"] + 1


def test_without_distances_it_is_the_dense_loss():
    output, target = LandmarkOutput(torch.rand(2, 30), torch.randn(2, 15, 28, 28)), from_shape(SHAPES[:2]).flatten(1)
    assert heads.AxisLoss()(output, target) == DenseLoss()(output, target)


def test_distances_of_points_that_do_not_count_count_nothing():
    target = from_shape(SHAPES[[0, 0, 0]])
    plain = axis_losses(peaks(DISTANCES + 0.1)[:1], target[:1])["distance"]
    outside, missing = LATERAL[3], LATERAL[7]
    target[0, outside, 0], target[0, missing] = 1.2, float("nan")
    target[1, AXIS[0]] = float("nan")  # no axis, no distance
    target[2, AXIS[1], 1] += 0.4  # outside, but known
    logits = peaks(DISTANCES[[0, 0, 0]] + 0.1).requires_grad_()
    losses = axis_losses(logits, target)
    losses["distance"].backward()
    counted = logits.grad.abs().amax(-1) > 0
    assert counted[0].tolist() == [k not in (outside, missing) for k in LATERAL]
    assert not counted[1].any() and counted[2].all()
    assert logits.grad.isfinite().all() and losses["total"].isfinite()
    alone = axis_losses(logits[:1], target[:1])["distance"]
    assert alone.item() == pytest.approx(plain.item(), rel=0.02)  # the mean over eight distances, not eight tenths of it
    nobody = axis_losses(logits, torch.full_like(target, float("nan")))
    assert nobody["total"] == 0 and nobody["distance"] == 0


def test_a_head_of_the_axis_reads_back_from_its_file(monkeypatch):
    monkeypatch.setattr(model, "_HEADS", dict(model._HEADS))
    monkeypatch.setattr(runs, "LOSSES", dict(runs.LOSSES))
    heads.register()
    torch.manual_seed(4)
    made = model.create_model("tiny", "axis", weights="none", margin=1).eval()
    again = model.model_from_weights(made.config, made.state_dict()).eval()
    picture = torch.rand(1, 1, 224, 224)
    with torch.no_grad():
        assert torch.equal(again(picture).landmarks, made(picture).landmarks)
    assert not [name for name in made.state_dict() if name.split(".")[-1].startswith("_")]  # constants stay out of the file
    assert runs.LOSSES["axis"] is heads.AxisLoss
    with pytest.raises(ValueError, match="15 landmarks of landmarks.py, not 4 points"):
        model.create_model("tiny", "axis", weights="none", num_landmarks=4)
