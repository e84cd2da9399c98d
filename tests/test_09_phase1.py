"""Tests of nbs/09_phase1.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


# cell ed41f253
import torch

from landmark_thesis.data import batches, phantom_data
from landmark_thesis.losses import WingLoss
from landmark_thesis.model import create_model
from landmark_thesis.trainer import LandmarkTrainer, Phase, build_optimizer


def toy_phase1(device, epochs=2):
    """A trainer after phase 1 on a dozen small phantoms, and the model's state before it."""
    model = create_model("tiny", "regression", weights="none", hidden=32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = LandmarkTrainer(model, device, save_dir=None, quiet=True, seed=0, precision="fp32")
    loader = batches(phantom_data(12, size=64), 5, shuffle=True, device=device)
    trainer.train_phase1(loader, loader, WingLoss(), epochs=epochs)
    return trainer, before


def test_an_epoch_of_phase1_leaves_every_bit_of_the_backbone(device):
    trainer, before = toy_phase1(device)
    after = {name: value.cpu() for name, value in trainer.model.state_dict().items()}
    backbone = [name for name in after if name.startswith("backbone.")]
    assert sum("running_mean" in name for name in backbone) == 9
    assert all(torch.equal(before[name], after[name]) for name in backbone)
    learnt = [name for name, _ in trainer.model.head.named_parameters()]
    assert not any(torch.equal(before[f"head.{name}"], after[f"head.{name}"]) for name in learnt)


def test_the_fault_is_real_train_mode_alone_moves_a_frozen_backbone(device):
    model = create_model("tiny", "regression", weights="none").to(device)
    model.freeze_all_except_head()
    norm = model.backbone.network.features[0][1]
    start = norm.running_mean.clone()
    model.backbone.network.train()
    model(torch.rand(2, 1, 64, 64, device=device))
    assert not torch.equal(norm.running_mean, start)


def test_gradients_and_optimiser_know_the_head_only():
    model = create_model("tiny", "regression", weights="none", hidden=32)
    model(torch.rand(2, 1, 64, 64)).sum().backward()  # gradients of before the freeze must go, too
    model.freeze_all_except_head()
    assert all(p.grad is None for p in model.backbone.parameters())
    phase = Phase("phase1", 1, {"head": 1e-3}, trainable="head", optimizer="adamw", weight_decay=0.1)
    (group,) = build_optimizer(model, phase).param_groups
    assert group["name"] == "head" and [id(p) for p in group["params"]] == [id(p) for p in model.head.parameters()]


# cell c6283a9a
import pytest

from landmark_thesis.callbacks import EarlyStopping
from landmark_thesis.pixel_error import mean_radial_error


@pytest.mark.parametrize(("patience", "ends", "keeps"), [(1, 3, 2), (2, 4, 2), (3, 8, 5)])
def test_patience_decides_which_wobble_ends_a_run(patience, ends, keeps):
    script = [9.0, 7.0, 8.0, 7.5, 6.0, 6.5, 6.1, 6.2]
    stopper = EarlyStopping(patience=patience)
    assert [stopper(score, epoch) for epoch, score in enumerate(script, 1)].index(True) + 1 == ends
    stopper = EarlyStopping(patience=patience)
    for epoch, score in enumerate(script[:ends], 1):
        stopper(score, epoch)
    assert stopper.best_epoch == keeps


def test_attention_is_new_and_learns_in_phase1():
    trainer, before = toy_phase1("cpu")
    after = trainer.model.state_dict()
    assert not torch.equal(before["head.attention.rows.weight"], after["head.attention.rows.weight"])
    assert not torch.equal(before["head.attention.squeeze.1.running_mean"], after["head.attention.squeeze.1.running_mean"])


def test_a_head_on_taught_features_beats_the_mean_shape():
    model = create_model("tiny", "regression", deep=False, hidden=128, dropout=0.0, attention=False)
    if "RANDOM" in model.weights_used:
        pytest.skip("the package holds no weights for the tiny backbone")
    model.freeze_all_except_head()
    data = phantom_data(64, seed=11, size=96)
    with torch.no_grad():  # a frozen backbone need not be asked twice
        (features,) = model.eval().features(data.images.unsqueeze(1).float() / 255)
    optimizer, criterion, target = torch.optim.Adam(model.head.parameters(), lr=3e-3), WingLoss(), data.points.flatten(1)
    for _ in range(60):
        for chosen in torch.randperm(32).split(8):
            optimizer.zero_grad()
            criterion(model.head(features[chosen]), target[chosen]).backward()
            optimizer.step()
    mean_shape = target[:32].mean(0).expand(32, -1)
    with torch.no_grad():
        error, trivial = (float(mean_radial_error(guess, target[32:], 224)) for guess in (model.head(features[32:]), mean_shape))
    assert error < 0.85 * trivial
