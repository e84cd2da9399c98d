"""Tests of nbs/10_phase2.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


# cell cf5e6b0c
import numpy as np
import pytest
import torch

from landmark_thesis.data import batches, phantom_data
from landmark_thesis.losses import WingLoss
from landmark_thesis.model import create_model
from landmark_thesis.trainer import LandmarkTrainer, Phase


@pytest.fixture(scope="module")
def toy():
    """Loader of a dozen small phantoms, and weights to start from."""
    torch.manual_seed(0)
    model = create_model("tiny", "regression", weights="none", hidden=32, dropout=0.0)
    return batches(phantom_data(12, size=64), 6, shuffle=True), {name: value.clone() for name, value in model.state_dict().items()}


def toy_trainer(start):
    model = create_model("tiny", "regression", weights="none", hidden=32, dropout=0.0)
    model.load_state_dict(start)
    return LandmarkTrainer(model, "cpu", save_dir=None, quiet=True, seed=0, precision="fp32")


def moved_by(toy, backbone_lr):
    loader, start = toy
    trainer = toy_trainer(start)
    trainer.train_phase2(loader, loader, WingLoss(), epochs=2, backbone_lr=backbone_lr, head_lr=1e-3)
    end = trainer.model.state_dict()
    names = [name for name, value in start.items() if value.ndim > 1]
    return {name: ((end[name] - start[name]).norm() / start[name].norm()).item() for name in names}


def test_the_rate_of_a_part_decides_how_far_it_moves(toy):
    gentle, bold = moved_by(toy, 1e-4), moved_by(toy, 1e-3)
    backbone = [name for name in gentle if name.startswith("backbone")]
    assert len(backbone) == 9
    assert all(5 < bold[name] / gentle[name] < 12 for name in backbone)
    assert all(0.8 < bold[name] / gentle[name] < 1.25 for name in gentle if name.startswith("head.layers"))
    assert min(gentle.values()) > 0  # phase 2 trains everything


# cell ebad75ed
def test_every_rate_falls_by_the_same_factor_and_is_recorded(toy):
    loader, start = toy
    history = toy_trainer(start).train_phase2(loader, loader, WingLoss(), epochs=4, backbone_lr=2e-5, head_lr=2e-4)
    ratio = np.divide(history["lr_head"], history["lr_backbone"])
    np.testing.assert_allclose(ratio, 10)
    np.testing.assert_allclose(history["lr_head"][2], 2e-4 * (0.05 + 0.95 / 2))  # half way through


def test_one_floor_for_all_would_end_at_one_to_one():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (2e-5, 2e-4)]
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=1e-6)
    for _ in range(20):
        optimizer.step()
        schedule.step()
    backbone, head = schedule.get_last_lr()
    assert head / backbone == pytest.approx(1)


# cell 08006eca
def test_the_best_of_both_phases_is_kept(toy):
    loader, start = toy
    trainer = toy_trainer(start)
    phases = [Phase("phase1", 2, {"head": 1e-3}, trainable="head"), Phase("phase2", 2, {"backbone": 0.5, "head": 0.5})]
    history = trainer.fit(phases, loader, loader, WingLoss())
    assert trainer.best_phase == "phase1" and min(history["phase2"]["val_error_px"]) > trainer.best_error_px
    held = trainer.validate(batches(loader.dataset, 12), WingLoss())["val_error_px"]
    assert held == pytest.approx(min(history["phase1"]["val_error_px"]), rel=1e-4)


def test_an_early_stop_under_a_cosine_tells_the_rate_it_left(toy):
    loader, start = toy
    trainer = toy_trainer(start)
    phase = Phase("phase2", 50, {"backbone": 0.5, "head": 0.5}, patience=1, schedule="cosine", floor_ratio=0.05)
    trainer.fit([phase], loader, loader, WingLoss())
    stop = trainer.stopped["phase2"]
    share = stop["epoch"] / 50
    assert share < 1
    assert stop["rates"]["head"] == pytest.approx(0.5 * (0.05 + 0.95 * (1 + np.cos(np.pi * share)) / 2))
