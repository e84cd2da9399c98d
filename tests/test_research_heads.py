"""The heads that were only tried: they must be right, or their rows of the table mean nothing."""

import sys
from pathlib import Path

import pytest
import torch

from landmark_thesis.losses import DenseLoss
from landmark_thesis.model import DenseHead, DenseOptions, build_backbone

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


@pytest.mark.parametrize("head", ["RefinedHead", "LocalHead", "SimCCHead"])
@pytest.mark.parametrize("place", [0.02, 0.5, 0.98])
def test_each_learns_from_a_far_off_start_with_finite_gradients(maps, head, place):
    torch.manual_seed(2)
    made = getattr(heads, head)((16, 24, 40, 64, 88)[-4:], 15, DenseOptions())
    criterion = heads.SimCCLoss() if head == "SimCCHead" else heads.ShapeLoss() if head == "RefinedHead" else DenseLoss()
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


def test_the_loss_after_projection_forgives_what_projection_takes_away():
    from landmark_thesis.phantom import sample_shapes

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
    from types import SimpleNamespace

    from landmark_thesis.landmarks import from_shape

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
