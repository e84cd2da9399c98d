"""Runs that are killed: real processes, real SIGKILLs at any moment, and a resumed run that equals the uninterrupted one bit for bit."""

import multiprocessing
import os
import random
import signal
import stat
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from kept import keep

from landmark_thesis import runs, trainer
from landmark_thesis.trainer import Phase

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL, which this system lacks")

TWO = replace(
    runs.changed(runs.SMOKE, image_size=32, precision="fp32"),
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
        likeliest=True,
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


def _moments(end_at, torn, by):
    """Name every moment of a run (each event of its loop, each step of each write), and send itself the signal `by` at number `end_at`."""
    passed, fsync = [], os.fsync

    def tick(moment, handle=None):
        passed.append(moment)
        if len(passed) == end_at:
            if torn and handle is not None and stat.S_ISREG(os.fstat(handle).st_mode):
                os.ftruncate(handle, os.fstat(handle).st_size // 2)  # what a kill in the middle of the write leaves
            os.kill(os.getpid(), by)

    def synced(handle):
        tick("before fsync", handle)
        fsync(handle)
        tick("after fsync")

    def replaced(temporary, path, replace=os.replace):
        tick(f"before {Path(path).name}")
        replace(temporary, path)
        tick(f"after {Path(path).name}")

    def called(callbacks, event, *arguments, call_event=trainer.call_event):
        tick(f"before {event}")
        call_event(callbacks, event, *arguments)
        tick(f"after {event}")

    os.fsync, os.replace, trainer.call_event = synced, replaced, called
    return passed


def _one_run(data, recipe, out, resume=False, end_at=0, torn=False, by=signal.SIGTERM, pipe=None, seldom=False):
    """In a process of its own: one run from drawn pictures to the end, or to a signal at moment `end_at`.

    `seldom`: its files count as large, and are written at the first epoch and the end of a phase alone.
    """
    torch.set_num_threads(1)
    if seldom:
        trainer.SMALL_FILE, trainer.SAVING_SHARE = 0, 1e-6
    runs.Source.check = lambda self, preprocessing: (data, [], runs.Signatures.of(data.images, data.names))
    passed = _moments(end_at, torn, by)
    runs.train(recipe, runs.Source(phantoms=len(data)), out, seed=5, resume=resume, quiet=True)
    if pipe is not None:
        pipe.send(passed)


COUNTED: Counter[str] = Counter()  # runs that were compared after they had been ended, and how often they were ended


@pytest.fixture(scope="module", autouse=True)
def _kept(request):
    """What was compared, where every comparison came out well."""
    COUNTED.clear()
    yield
    if not request.session.testsfailed:
        keep("kills", request.config, {name: COUNTED[name] for name in ("compared", "killed", "interrupted")})


@pytest.fixture(scope="module")
def start(_twenty_six):
    """`start(recipe, out, ...)` begins a run in a new process, forked from a server that has imported everything, once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["landmark_thesis.runs", "pytest"])
    data, begun = _twenty_six, []

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
    for name in ("recipe.json", "split.json", "history.csv", "signatures.npz", *([runs.WAVERING] if (whole / runs.WAVERING).exists() else [])):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    for name in ("best.pt", "last.pt"):
        ours, theirs = (torch.load(folder / name, weights_only=True) for folder in (killed, whole))
        assert same(ours, theirs), [key for key in theirs if not same(ours.get(key), theirs[key])]
    ours, theirs = ({**runs._read_json(folder / "environment.json"), "seconds": 0, "sessions": [], "peak_memory_bytes": 0} for folder in (killed, whole))
    assert ours == theirs
    assert runs.Run(killed).finished


def survives(start, peaceful, name, out, moments, by=signal.SIGKILL, **options):
    """A run that is ended at each of `moments`, one process after the other, and then goes on to its end (writing as it always does)."""
    for number, moment in enumerate(moments):
        ends(start(RECIPES[name], out, resume=number > 0, end_at=moment, by=by, **options), -by if by == signal.SIGKILL else 1)
        COUNTED["killed" if by == signal.SIGKILL else "interrupted"] += 1
    ends(start(RECIPES[name], out, resume=True), 0)
    assert_same_run(out, peaceful(name)[0])
    COUNTED["compared"] += 1


def when(moments, moment, number):
    """The place (from 1) of the `number`-th `moment`."""
    return [place for place, passed in enumerate(moments, 1) if passed == moment][number]


def test_a_run_killed_at_any_moment_goes_on_as_if_nothing_had_been(start, peaceful, tmp_path):
    survives(start, peaceful, "cached phase 1", tmp_path / "run", [random.Random(0).randint(1, len(peaceful("cached phase 1")[1]))])


def test_so_does_one_killed_in_the_middle_of_a_write_and_then_again(start, peaceful, tmp_path):
    moments = peaceful("averaged")[1]
    written = when(moments, "before last.pt", 3)
    again = random.Random(1).randint(1, len(moments) - written)
    survives(start, peaceful, "averaged", tmp_path / "run", [written - 2, again], torn=True)


def test_so_does_one_whose_large_files_are_written_seldom(start, peaceful, tmp_path):
    """What was trained since is trained again; files, histories in them included, do not tell when they were written."""
    moments = peaceful("two phases")[1]
    place = when(moments, "before on_epoch_end", -1)  # in the last epoch of phase 2, two epochs after the last file
    survives(start, peaceful, "two phases", tmp_path / "run", [place - 8], seldom=True)


def test_so_does_one_killed_before_anything_was_saved_and_in_phase_1_on_stored_features(start, peaceful, tmp_path):
    moments, out = peaceful("cached phase 1")[1], tmp_path / "run"
    begun = when(moments, "before recipe.json", 0)
    survives(start, peaceful, "cached phase 1", out, [begun, when(moments, "before on_batch_end", 3)])


def test_the_same_seed_gives_the_same_run_in_any_process(peaceful, tmp_path, few_pictures):
    """Here after other tests, there in a fresh process with another order of hashes: the same weights, history and random states."""
    runs.train(RECIPES["cached phase 1"], runs.Source(phantoms=26), tmp_path / "run", seed=5, quiet=True)
    assert_same_run(tmp_path / "run", peaceful("cached phase 1")[0])


def test_nothing_saved_yet_is_said(tmp_path, few_pictures, capsys):
    (tmp_path / ".recipe.json.123.0a1b2c3d.tmp").write_text("{")
    (tmp_path / "lock").touch()
    runs.train(replace(TWO, phases=(replace(TWO.phases[0], epochs=1), replace(TWO.phases[1], epochs=0))), runs.Source(phantoms=26), tmp_path, resume=True)
    assert f"nothing saved in {tmp_path} yet: the run begins anew" in capsys.readouterr().out
    assert runs.Run(tmp_path).finished and not list(tmp_path.glob(".*"))


def test_two_runs_in_one_folder_the_second_is_refused_and_a_killed_ones_lock_blocks_nobody(start, peaceful, tmp_path, monkeypatch):
    out = tmp_path / "run"
    asleep = when(peaceful("cached phase 1")[1], "before on_fit_start", 0)
    first = start(RECIPES["cached phase 1"], out, end_at=asleep, by=signal.SIGSTOP)  # it holds the folder
    deadline = time.monotonic() + 120
    while not (out / "train.log").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    looked = []
    monkeypatch.setattr(runs.Source, "check", lambda *_: looked.append(1))
    for resume in (False, True):
        with pytest.raises(runs.RunError, match="another training writes there now"):
            runs.train(TWO, runs.Source(phantoms=26), out, resume=resume, quiet=True)
    assert not looked, "refused only after the pictures were checked"
    assert first.is_alive()
    first.kill()
    ends(first, -signal.SIGKILL)
    assert (out / "lock").exists()
    with runs.locked(out):
        pass


def test_a_run_that_came_and_went_while_the_pictures_were_checked_is_not_overwritten(tmp_path, monkeypatch, few_pictures):
    out, data = tmp_path / "run", few_pictures

    def check(self, preprocessing):
        out.mkdir()
        (out / "recipe.json").write_text("another's")
        return data, [], runs.Signatures.of(data.images, data.names)

    monkeypatch.setattr(runs.Source, "check", check)
    with pytest.raises(runs.RunError, match="holds files already"):
        runs.train(TWO, runs.Source(phantoms=len(data)), out, quiet=True)
    assert [path.name for path in out.iterdir()] == ["recipe.json"] and (out / "recipe.json").read_text() == "another's"


def test_a_lock_whose_name_was_taken_away_is_not_held(tmp_path, monkeypatch):
    """A opens, the holder ends and unlinks, A locks what nobody else can see: B would lock a new file."""
    real = runs._lock

    def late(file):
        (tmp_path / "lock").unlink()
        return real(file)

    monkeypatch.setattr(runs, "_lock", late)
    with pytest.raises(runs.RunError, match="another training"), runs.locked(tmp_path):
        raise AssertionError("held a lock without a name")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_thirty_kills_from_outside(start, peaceful, tmp_path, seed):
    name = list(RECIPES)[seed % len(RECIPES)]
    whole, _, seconds = peaceful(name)
    draw, out = random.Random(seed), tmp_path / "run"
    for resume in (False, True)[: 1 + seed % 2]:  # every other one twice in a row
        process = start(RECIPES[name], out, resume=resume)
        process.join(draw.uniform(0, seconds))
        process.kill()
        process.join()
        COUNTED["killed"] += process.exitcode == -signal.SIGKILL
    if not (out.exists() and runs.Run(out).path.joinpath("environment.json").exists() and runs.Run(out).finished):
        ends(start(RECIPES[name], out, resume=True), 0)
    assert_same_run(out, whole)
    COUNTED["compared"] += 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_kills_where_large_files_are_written_seldom(start, peaceful, tmp_path, seed):
    name, by = list(RECIPES)[seed % len(RECIPES)], (signal.SIGKILL, signal.SIGINT)[seed // 4]
    moments = len(peaceful(name)[1])
    survives(start, peaceful, name, tmp_path / "run", [random.Random(seed).randint(1, 3 * moments // 4)], by=by, seldom=True)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["recipe.json", "split.json", "signatures.npz", "environment.json", "best.pt", "history.csv", "last.pt", runs.WAVERING])
def test_kills_at_every_step_of_a_write(start, peaceful, tmp_path, file):
    name = "averaged" if file == runs.WAVERING else "two phases"
    moments = peaceful(name)[1]
    place = when(moments, f"before {file}", -1)
    for step in (-2, -1, 0, 1, 2, 3):  # around the fsync of the file, the rename, the fsync of the folder
        survives(start, peaceful, name, tmp_path / f"{step}", [place + step], torn=step == -2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_so_does_one_interrupted_by_ctrl_c_at_any_moment(start, peaceful, tmp_path, seed):
    name = list(RECIPES)[seed % len(RECIPES)]
    moment = random.Random(seed).randint(1, len(peaceful(name)[1]))
    survives(start, peaceful, name, tmp_path / "run", [moment], by=signal.SIGINT)
