"""Two processes train one model as one process does: the same pictures, means, decisions and files; and they end together."""

import multiprocessing
import os
import socket
import sys
import time
from functools import partial

import pytest
import torch

from landmark_thesis.augment import Augmentation
from landmark_thesis.callbacks import Callback, CSVLogger, EarlyStopping, ModelCheckpoint, read_checkpoint
from landmark_thesis.data import batches, phantom_data
from landmark_thesis.losses import CombinedLoss, DenseLoss
from landmark_thesis.model import create_model
from landmark_thesis.trainer import LandmarkTrainer, Phase, World, processes

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="starts its processes by fork, which this system lacks")


def _one(rank, size, port, work, folder, patience):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    sys.stdout, sys.stderr = open(folder / f"out{rank}", "w"), open(folder / f"err{rank}", "w")
    torch.set_num_threads(1)
    with processes("cpu", patience) as (world, _):
        torch.save(work(world), folder / f"result{rank}")


def run_together(work, folder, size=2, patience=60.0, limit=120.0):
    """What `work(world)` gives in each of `size` processes, started as torchrun would; their exit codes where one of them failed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    running = [context.Process(target=_one, args=(rank, size, port, work, folder, patience)) for rank in range(size)]
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


class Break(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_start(self, trainer, phase, epoch):
        if (phase.name, epoch) == ("phase2", self.epoch):
            raise KeyboardInterrupt


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
    alone = train(World(), tmp_path / "alone")
    first, second = run_together(partial(train, folder=tmp_path / "two"), tmp_path)
    weights, numbers = difference(first, alone)
    print(f"largest difference: weights {weights:.2e}, history {numbers:.2e}")
    assert weights < 1e-4 and numbers < 1e-4 and first["best"] == alone["best"]
    assert difference(first, second) == (0, 0)
