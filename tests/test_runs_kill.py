"""Runs that are killed: real processes, real SIGKILLs at any moment, and a resumed run that equals the uninterrupted one bit for bit."""

import multiprocessing
import os
import random
import signal
import stat
import time
from dataclasses import replace

import pytest
import torch

from landmark_thesis import runs, trainer
from landmark_thesis.data import phantom_data
from landmark_thesis.trainer import Phase

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL, which this system lacks")

TWO = replace(
    runs.changed(runs.SMOKE, image_size=64, precision="fp32"),
    batch_size=8,
    phases=(
        Phase("phase1", 2, {"head": 3e-3}, trainable="head", patience=4),
        Phase("phase2", 3, {"backbone": 1e-3, "head": 3e-3}, schedule="cosine", floor_ratio=0.05, patience=2),
    ),
)
RECIPES = {
    "two phases": TWO,
    "bf16": replace(TWO, precision="bf16"),
    "cached phase 1": replace(TWO, phases=(replace(TWO.phases[0], cache_views=3), TWO.phases[1])),
    "averaged": replace(
        TWO,
        augmentation=runs.WIDE_AUGMENTATION,
        phases=(
            Phase("phase1", 1, {"head": 1e-3}, trainable="head"),
            Phase("phase2", 4, {"backbone": 1e-3, "head": 1e-3}, schedule="onecycle", optimizer="adamw", weight_decay=0.05, average=0.9, select="last"),
        ),
    ),
    "attention and dropout": replace(
        TWO, head="regression", loss="wing", head_options={"attention": True, "deep": True, "hidden": 16, "dropout": 0.3}
    ),
}


def _pictures():
    return phantom_data(26, seed=3, size=64)


def _moments(kill_at, torn):
    """Count every moment of a run (each event of its loop, each step of each write) and die at number `kill_at`."""
    count = [0]

    def tick(function, *arguments):
        count[0] += 1
        if count[0] == kill_at:
            if torn and function is fsync and stat.S_ISREG(os.fstat(arguments[0]).st_mode):
                os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)  # what a kill in the middle of the write leaves
            os.kill(os.getpid(), signal.SIGKILL)

    def around(function):
        def wrapped(*arguments):
            tick(function, *arguments)
            result = function(*arguments)
            tick(None)
            return result

        return wrapped

    fsync = os.fsync
    os.fsync, os.replace, trainer.call_event = around(os.fsync), around(os.replace), around(trainer.call_event)
    return count


def _one_run(data, recipe, out, resume=False, kill_at=0, torn=False, pipe=None):
    """In a process of its own: one run from drawn pictures to the end, or to its death at moment `kill_at`."""
    torch.set_num_threads(1)
    runs.Source.check = lambda self, preprocessing: (data, [], runs.Signatures.of(data.images, data.names))
    count = _moments(kill_at, torn)
    runs.train(recipe, runs.Source(phantoms=len(data)), out, seed=5, resume=resume, quiet=True)
    if pipe is not None:
        pipe.send(count[0])


@pytest.fixture(scope="module")
def start():
    """`start(recipe, out, ...)` begins a run in a new process, forked from a server that has imported everything, once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["landmark_thesis.runs", "pytest"])
    data, begun = _pictures(), []

    def start(recipe, out, **options):
        process = context.Process(target=_one_run, args=(data, recipe, out), kwargs=options)
        process.start()
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.join()


def ends(process, code):
    process.join(300)
    assert process.exitcode == code


@pytest.fixture(scope="module")
def peaceful(start, tmp_path_factory):
    """`peaceful(name)`: the uninterrupted run of a recipe, how many moments it has, and how long it took; each run once."""
    done = {}

    def run(name):
        if name not in done:
            out = tmp_path_factory.mktemp("peaceful") / name.replace(" ", "-")
            receiver, sender = multiprocessing.Pipe(duplex=False)
            began = time.perf_counter()
            process = start(RECIPES[name], out, pipe=sender)
            process.join(300)
            assert process.exitcode == 0 and receiver.poll()
            done[name] = out, receiver.recv(), time.perf_counter() - began
        return done[name]

    return run


def same(a, b):
    """Equal to the bit, through dicts, lists and tensors."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b or (a != a and b != b)


def assert_same_run(killed, whole):
    """Every file that a later reader uses is the same: weights, history, best, the state of everything random; and nothing is left over."""
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in whole.iterdir())
    for name in ("recipe.json", "split.json", "history.csv", "signatures.npz"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    for name in ("best.pt", "last.pt"):
        ours, theirs = (torch.load(folder / name, weights_only=True) for folder in (killed, whole))
        assert same(ours, theirs), [key for key in theirs if not same(ours.get(key), theirs[key])]
    ours, theirs = ({**runs._read_json(folder / "environment.json"), "seconds": 0} for folder in (killed, whole))
    assert ours == theirs
    assert runs.Run(killed).finished


def survives(start, peaceful, name, out, moments, torn=False):
    """A run that is killed at each of `moments`, one process after the other, and then goes on to its end."""
    for number, moment in enumerate(moments):
        ends(start(RECIPES[name], out, resume=number > 0, kill_at=moment, torn=torn), -signal.SIGKILL)
    ends(start(RECIPES[name], out, resume=True), 0)
    assert_same_run(out, peaceful(name)[0])


@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_at_any_moment_goes_on_as_if_nothing_had_been(start, peaceful, tmp_path, seed):
    name = ["two phases", "averaged", "cached phase 1"][seed]
    moment = random.Random(seed).randint(1, peaceful(name)[1])
    survives(start, peaceful, name, tmp_path / "run", [moment], torn=bool(seed % 2))
