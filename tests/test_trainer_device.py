"""Inside an epoch the host never waits for the device, and a compiled model learns like a plain one."""

import pytest
import torch

from landmark_thesis import trainer as trainer_module
from landmark_thesis.augment import WIDE_AUGMENTATION
from landmark_thesis.data import batches, phantom_data
from landmark_thesis.landmarks import pixels_to_fractions, to_device
from landmark_thesis.losses import CombinedLoss, DenseLoss, WingLoss
from landmark_thesis.model import create_model
from landmark_thesis.trainer import (
    Compute,
    FeatureLoader,
    FiniteGuard,
    LandmarkTrainer,
    Mean,
    Phase,
    World,
    averaged_copy,
    build_optimizer,
    random_state,
    set_random_state,
    start_alike,
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


@pytest.fixture
def moves(monkeypatch):
    """What `Tensor.to` is asked for in this test: (type of values, device, whether the host goes on at once); nothing leaves the CPU."""
    asked, real = [], torch.Tensor.to

    def to(self, *arguments, **options):
        if arguments and isinstance(arguments[0], torch.device):
            asked.append((self.dtype, arguments[0].type, options.get("non_blocking", False)))
            return self
        return real(self, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "to", to)
    return asked


@pytest.mark.parametrize(("device", "waits", "double"), [("cuda", False, torch.float64), ("mps", True, torch.float32), ("cpu", True, torch.float64)])
def test_only_cuda_is_not_waited_for_and_mps_gets_no_double(moves, device, waits, double):
    """A copy that CUDA has begun has already read its source; on MPS the source may die before it is read."""
    where = torch.device(device)
    to_device(torch.zeros(2), where)
    to_device(torch.zeros(2, dtype=torch.float64), where)
    to_device(torch.zeros(2, dtype=torch.int64), where)
    assert moves == [(torch.float32, device, not waits), (double, device, not waits), (torch.int64, device, not waits)]


def test_whatever_goes_to_a_device_goes_by_the_same_rule(moves):
    """Pictures and landmarks of a batch, rows of stored features, the scheme's constants."""
    double = torch.rand(2, 1, 8, 8, dtype=torch.float64), torch.rand(2, 30, dtype=torch.float64), None
    Compute(torch.device("mps")).batch(double, "train_loader")
    assert moves == [(torch.float32, "mps", False)] * 2
    Compute(torch.device("cuda")).batch(double, "train_loader")
    assert moves[2:] == [(torch.float64, "cuda", True), (torch.float32, "cuda", True)]
    moves.clear()
    next(iter(FeatureLoader(batches(PICTURES, 4), torch.rand(7, 4), PICTURES.points.flatten(1))))
    assert (torch.int64, "cpu", False) in moves
    moves.clear()
    pixels_to_fractions(torch.rand(2, 15, 2), 224)
    assert moves == [(torch.float32, "cpu", False)]


@pytest.fixture
def streams(monkeypatch):
    """The random streams of two CUDA cards and of MPS, on a machine that may have neither: place -> state."""
    held = {"cuda:0": torch.tensor([10]), "cuda:1": torch.tensor([11]), "mps": torch.tensor([20])}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: held[str(device)])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: held.update({str(device): state}))
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: held["mps"])
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state: held.update(mps=state))
    return held


def test_the_stream_of_the_one_device_is_kept_and_goes_on_on_another_card(streams):
    kept = random_state("cuda:0")
    assert (kept["cuda"], kept["mps"]) == ([10], [])
    set_random_state(kept, torch.device("cuda:1"))
    assert streams == {"cuda:0": 10, "cuda:1": 10, "mps": 20}
    kept = random_state("mps")
    assert (kept["cuda"], kept["mps"]) == ([], [20])
    streams["mps"] = torch.tensor([21])
    set_random_state(kept, "mps")
    assert streams == {"cuda:0": 10, "cuda:1": 10, "mps": 20}
    assert random_state()["cuda"] == random_state()["mps"] == []


@pytest.mark.parametrize(("cards", "device", "then"), [([1, 2], "cuda:1", 2), ([1, 2], "cuda:0", 1), ([1], "cuda:1", 1), ([1, 2, 3], "cuda:1", 2)])
def test_files_that_kept_the_streams_of_all_cards_are_read(streams, cards, device, then):
    old = {**random_state(), "cuda": [torch.tensor([number]) for number in cards]}
    del old["mps"]
    set_random_state(old, device)
    assert streams[device] == then
    set_random_state(old, "cpu")
    set_random_state(old, "mps")  # nothing was kept of it then
    assert streams["mps"] == 20


def test_a_trainer_keeps_the_stream_of_its_own_device(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(trainer_module, "random_state", lambda *device: asked.append(device) or random_state())
    monkeypatch.setattr(trainer_module, "set_random_state", lambda state, *device: asked.append(device) or set_random_state(state, *device))

    def train(epochs):
        trainer = LandmarkTrainer(create_model("tiny", weights="none", hidden=8), "cpu", tmp_path, precision="fp32", quiet=True, seed=0)
        trainer.train_phase1(batches(PICTURES, 4), batches(PICTURES, 7), WingLoss(), epochs, cache_views=1, resume=True)

    train(1)
    number = len(asked)
    train(1)
    assert number > 3 and len(asked) > number and set(asked) == {(torch.device("cpu"),)}
    monkeypatch.setattr(World, "hear", lambda self, value: [value])
    monkeypatch.setattr(torch.distributed, "broadcast", lambda *_: None)
    start_alike(World(0, 2), torch.nn.Linear(1, 1))
    assert asked[-2:] == [(torch.device("cpu"),)] * 2 and len(asked) > number + 2
