"""Inside an epoch the host never waits for the device, and a compiled model learns like a plain one."""

import pytest
import torch

from landmark_thesis.augment import WIDE_AUGMENTATION
from landmark_thesis.data import batches, phantom_data
from landmark_thesis.losses import CombinedLoss, DenseLoss, WingLoss
from landmark_thesis.model import create_model
from landmark_thesis.trainer import (
    Compute,
    FiniteGuard,
    LandmarkTrainer,
    Mean,
    Phase,
    averaged_copy,
    build_optimizer,
    train_pass,
    update_average,
    validation_pass,
)

PICTURES = phantom_data(7, seed=1, size=32)
PHASE = Phase("phase2", 2, {"backbone": 1e-3, "head": 1e-3}, optimizer="adamw")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device and a CUDA build of torch")
@pytest.mark.parametrize(("head", "criterion"), [("dense", DenseLoss), ("regression", CombinedLoss)])
def test_the_host_waits_for_the_device_once_an_epoch(monkeypatch, head, criterion):
    """Under CUDA's own watch every wait is an error, but for the one that reads an epoch's means and its flag of a bad loss."""
    device = torch.device("cuda")
    compute = Compute(device, torch.bfloat16)
    model, criterion = compute.place(create_model("tiny", head, weights="none")), criterion()
    optimizer, average = build_optimizer(model, PHASE), averaged_copy(model)
    loader = batches(PICTURES, 4, shuffle=True, augmentation=WIDE_AUGMENTATION, device=device)

    def epoch():
        train_pass(model, loader, criterion, optimizer, compute, clip_norm=1.0, after_step=lambda step: update_average(average, model, 0.9))
        validation_pass(average.module, loader, criterion, compute)

    epoch()  # the first batch is looked at for pixels, and constants go to the device
    reads, real_read, real_exit = [], Mean.read, FiniteGuard.__exit__

    def read(self):
        torch.cuda.set_sync_debug_mode("default")
        reads.append(real_read(self))
        torch.cuda.set_sync_debug_mode("error")
        return reads[-1]

    def leave(self, *arguments):
        torch.cuda.set_sync_debug_mode("default")
        try:
            return real_exit(self, *arguments)
        finally:
            torch.cuda.set_sync_debug_mode("error")

    monkeypatch.setattr(Mean, "read", read)
    monkeypatch.setattr(FiniteGuard, "__exit__", leave)
    torch.cuda.set_sync_debug_mode("error")
    try:
        epoch()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(reads) == 2


@pytest.mark.slow
def test_a_compiled_model_learns_like_a_plain_one():
    """By the backend that traces forward and backward but generates no code: inductor's C++ takes minutes to build on a CPU."""
    def train(compiler):
        torch.manual_seed(0)
        trainer = LandmarkTrainer(
            create_model("tiny", weights="none", hidden=32, dropout=0.0), "cpu", None, precision="fp32", quiet=True, seed=0, compiler=compiler)
        trainer.fit([PHASE], batches(PICTURES, 4, shuffle=True), batches(PICTURES, 7), WingLoss())
        return trainer

    plain, compiled = train(None), train("aot_eager")
    for column, values in plain.history["phase2"].items():
        assert compiled.history["phase2"][column] == pytest.approx(values, rel=1e-3), column
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()
