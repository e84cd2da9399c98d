"""Two processes train one model as one process does: the same pictures, means, decisions and files; and they end together."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.distributed import TCPStore

from landmark_thesis.augment import Augmentation
from landmark_thesis.callbacks import Callback, CSVLogger, read_checkpoint
from landmark_thesis.data import batches, phantom_data
from landmark_thesis.losses import CombinedLoss, DenseLoss
from landmark_thesis.model import create_model
from landmark_thesis.trainer import (
    LandmarkTrainer,
    Phase,
    ProcessError,
    World,
    _card,
    add_up,
    own_chance,
    processes,
    start_alike,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="starts its processes by fork, which this system lacks")


START = "spawn" if torch.cuda.is_available() else "fork"  # quick, but a fork cannot use the CUDA that an earlier test began


def _one(rank, size, port, work, folder, patience):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    sys.stdout, sys.stderr = open(folder / f"out{rank}", "w"), open(folder / f"err{rank}", "w")
    torch.set_num_threads(1)
    with processes("cpu", patience) as (world, _):
        torch.save(work(world), folder / f"result{rank}")


def run_together(work, folder, size=2, patience=60.0, limit=120.0):
    """What `work(world)` gives in each of `size` processes, started as torchrun would; their exit codes where one of them failed."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # torchrun, too, keeps it outside the processes
    context = multiprocessing.get_context(START)
    running = [context.Process(target=_one, args=(rank, size, store.port, work, folder, patience)) for rank in range(size)]
    for process in running:
        process.start()
    deadline = time.monotonic() + limit
    for process in running:
        process.join(max(0.0, deadline - time.monotonic()))
    hung = [process for process in running if process.is_alive()]
    for process in hung:
        process.kill()
        process.join()
    assert not hung, "processes hang"
    codes = [process.exitcode for process in running]
    return [torch.load(folder / f"result{rank}") for rank in range(size)] if codes == [0] * size else codes


TRAIN, HELD_OUT = phantom_data(17, seed=1, size=32), phantom_data(5, seed=2, size=32)  # 17 = 2 * 8 + 1: a share is empty
TRAIN.points[3, 5] = float("nan")
AUGMENTATION = Augmentation(rotation=30.0, shift=0.1)  # some points leave the picture, unevenly


class Calm(torch.nn.Module):
    """A model whose batch norm stays in eval mode: then a share is normalised like the whole batch."""

    def __new__(cls, head="dense", dropout=0.0, **options):
        model = create_model("tiny", head, weights="none", **({"channels": 16} if head == "dense" else {"hidden": 32, "dropout": dropout}), **options)
        model.keep_eval = lambda: [part for part in model.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
        return model


PHASES = (
    Phase("phase1", 2, {"head": 3e-3}, trainable="head", cache_views=3),
    Phase("phase2", 3, {"backbone": 1e-3, "head": 1e-3}, schedule="cosine", average=0.9, clip_norm=5.0, patience=2, optimizer="adamw", weight_decay=0.01),
)


class At(Callback):
    """Does something in one process at the start of an epoch of phase 2; rank None is every process."""

    def __init__(self, epoch, rank, deed):
        self.epoch, self.rank, self.deed = epoch, rank, deed

    def on_epoch_start(self, trainer, phase, epoch):
        if (phase.name, epoch) == ("phase2", self.epoch) and self.rank in (None, trainer.world.rank):
            self.deed(trainer)


def interrupt(trainer):
    raise KeyboardInterrupt


def fail(trainer):
    raise OSError("the disk of this process is gone")


def die(trainer):
    os._exit(9)


def ask_to_stop(trainer):
    trainer.request_stop("enough, says one")


def train(world, folder, head="dense", phases=PHASES, resume=False, callbacks=(), **options):
    torch.manual_seed(7 + 10 * world.rank)  # other weights in each process, until the first one's are sent
    model = Calm(head, **options)
    criterion = DenseLoss() if head == "dense" else CombinedLoss()
    trainer = LandmarkTrainer(model, "cpu", folder, callbacks=[*callbacks, CSVLogger(folder / "history.csv")], precision="fp32", seed=3, world=world)
    loaders = batches(TRAIN, 8, shuffle=True, seed=5, augmentation=AUGMENTATION), batches(HELD_OUT, 3)
    try:
        trainer.fit(phases, *loaders, criterion, resume=resume)
    except KeyboardInterrupt:
        pass
    return {"weights": dict(trainer.model.state_dict()), "history": trainer.history, "best": (trainer.best_phase, trainer.best_epoch), "stopped": trainer.stopped}


def difference(a, b):
    """The largest difference between two results: of weights, and relatively of numbers in the history."""
    names = [name for name in b["weights"] if name != "head.logits.bias"]  # a softmax does not feel it: its gradient is rounding noise, which Adam makes large
    weights = max(float((a["weights"][name].double() - b["weights"][name].double()).abs().max()) for name in names)
    pairs = [(x, y) for phase in b["history"] for column in b["history"][phase] for x, y in zip(a["history"][phase][column], b["history"][phase][column], strict=True)]
    return weights, max(abs(x - y) / max(abs(y), 1e-12) for x, y in pairs)


def test_two_processes_train_as_one(tmp_path):
    """Stored features, averaged weights, a clipped gradient, points out of the picture, a share that is empty."""
    alone = train(World(), tmp_path / "alone")
    first, second = run_together(partial(train, folder=tmp_path / "two"), tmp_path)
    weights, numbers = difference(first, alone)
    print(f"largest difference: weights {weights:.2e}, history {numbers:.2e}")
    assert weights < 1e-4 and numbers < 1e-5 and first["best"] == alone["best"]
    assert difference(first, second) == (0, 0)
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(path.name for path in (tmp_path / "alone").iterdir())
    ours, theirs = (read_checkpoint(tmp_path / name / "last.pt") for name in ("two", "alone"))
    assert ours.keys() == theirs.keys() and (tmp_path / "err1").read_text() == (tmp_path / "out1").read_text() == ""


def test_a_resumed_pair_equals_a_peaceful_one_under_dropout(tmp_path):
    """Bit for bit, both processes; an early stop asked for in one process alone stops both."""
    pair = partial(train, head="regression", dropout=0.3, phases=(PHASES[0], replace(PHASES[1], epochs=4)))
    peaceful = run_together(partial(pair, folder=tmp_path / "a", callbacks=[At(3, 1, ask_to_stop)]), tmp_path)
    run_together(partial(pair, folder=tmp_path / "b", callbacks=[At(2, None, interrupt)]), tmp_path)
    resumed = run_together(partial(pair, folder=tmp_path / "b", callbacks=[At(3, 1, ask_to_stop)], resume=True), tmp_path)
    assert difference(resumed[0], peaceful[0]) == difference(resumed[1], peaceful[0]) == (0, 0)
    assert [one["stopped"]["phase2"]["reason"] for one in (*resumed, *peaceful)] == ["enough, says one"] * 4
    with pytest.raises(ValueError, match="processes: 2 then, 1 now"):
        pair(World(), folder=tmp_path / "b", resume=True)


def masks(world):
    """What dropout hides in each process, and whether the global stream is alike afterwards."""
    torch.manual_seed(0)
    with own_chance(world, torch.device("cpu")):
        hidden = torch.rand(8)
    return hidden, torch.rand(4)


def test_each_process_has_a_chance_of_its_own_and_one_in_common(tmp_path):
    (first, common), (second, too) = run_together(masks, tmp_path)
    assert not torch.equal(first, second) and torch.equal(common, too)


def joined(world, dtype):
    whole = torch.arange(10.0).reshape(5, 2).to(dtype)
    whole[3] = float("nan")
    part = world.take(whole).requires_grad_()
    together = world.join(part, 5)
    together.nan_to_num().sum().backward()
    return torch.equal(together.nan_to_num(-1.0), whole.nan_to_num(-1.0)), together.dtype == dtype, len(part.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parts_join_to_the_whole_and_only_the_own_part_learns(tmp_path, dtype):
    assert run_together(partial(joined, dtype=dtype), tmp_path) == [(True, True, 2), (True, True, 3)]


def statistics(world):
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    start_alike(world, net)
    whole = torch.arange(10.0).reshape(5, 2)
    net(world.take(whole)).sum().backward()
    add_up(world, net, 5)
    with torch.no_grad():
        expected = 0.1 * net[0](whole).mean(0)
    return bool(torch.allclose(net[1].running_mean, expected)), net[1].running_mean, net[1].running_var, net[0].weight.grad


def test_moving_statistics_are_averaged_by_share_and_equal_everywhere(tmp_path):
    (right, *first), (_, *second) = run_together(statistics, tmp_path)
    assert right and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def other_batches(world):
    trainer = LandmarkTrainer(Calm(), "cpu", None, precision="fp32", quiet=True, world=world)
    trainer.train_phase1(batches(TRAIN, 8, shuffle=True, seed=world.rank), batches(HELD_OUT, 3), DenseLoss(), epochs=1)


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (other_batches, "train_loader gives each process other batches"),
        (partial(train, callbacks=[At(1, 1, fail)]), "the disk of this process is gone"),
        (partial(train, callbacks=[At(1, 1, die)]), "another process of this training has ended or does not answer"),
        pytest.param(
            partial(train, callbacks=[At(1, 1, lambda trainer: time.sleep(6))]), "another process of this training has ended or does not answer",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["other batches", "an error", "a kill", "a hang"],
)
def test_one_that_fails_ends_all_and_one_error_is_told(tmp_path, work, words):
    if work is not other_batches:
        work = partial(work, folder=tmp_path / "run")
    began = time.monotonic()
    codes = run_together(work, tmp_path, patience=3.0)
    assert 0 not in codes and time.monotonic() - began < 60
    told = [text for text in (tmp_path / f"err{rank}" for rank in range(2)) if "Traceback" in text.read_text()]
    assert len(told) == 1 and words in told[0].read_text()


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ProcessError, match="process 1 .* has no GPU: there are 1; use --nproc_per_node=1"):
        _card(torch.device("cuda"), 1)


@pytest.mark.slow
def test_torchrun_makes_a_run_folder_like_any_other(tmp_path):
    """The command of the README under torchrun, against the same command alone: same files, same settings, nearly the same history."""
    command = ["-m", "landmark_thesis", "train-landmarks", "--data", "phantom", "--recipe", "smoke", "--image-size", "64", "--precision", "fp32", "--device", "cpu"]
    launch = {"one": [], "two": ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]}
    for name, words in launch.items():
        subprocess.run([sys.executable, *words, *command, "--out", str(tmp_path / name)], check=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert (tmp_path / "one/recipe.json").read_text() == (tmp_path / "two/recipe.json").read_text()
    notes = [json.loads((tmp_path / name / "environment.json").read_text()) for name in launch]
    assert [note["processes"] for note in notes] == [1, 2] and notes[0].keys() == notes[1].keys()
    one, two = ((tmp_path / name / "history.csv").read_text().splitlines()[:2] for name in launch)
    assert one[0] == two[0] and float(one[1].split(",")[2]) == pytest.approx(float(two[1].split(",")[2]), rel=0.2)  # batch norm per process


def test_a_process_whose_own_card_is_full_does_not_blame_another(monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(torch, "zeros", full)
    with pytest.raises(torch.OutOfMemoryError):
        World(0, 2).join(torch.ones(1, 2), 2)


@pytest.mark.parametrize(("device", "backends"), [("cuda", "cpu:gloo,cuda:nccl"), ("cpu", "gloo")])
def test_plain_values_go_by_gloo_whatever_the_device(monkeypatch, device, backends):
    """Gloo raises where another process is gone; NCCL's watchdog would end this one without a word."""
    asked = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.distributed, "rendezvous", lambda *_, **__: iter([(None, 0, 2)]))
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend, **_: asked.append(backend))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    monkeypatch.setattr("landmark_thesis.trainer._card", lambda device, _: device)
    with processes(device) as (world, where):
        assert world == World(0, 2) and where == torch.device(device)
    assert asked == [backends]
