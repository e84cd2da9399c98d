"""Many runs at once: what ends is noted, what a killed process took with it is named, and nothing is trained twice side by side."""

import os
import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from landmark_thesis import runs
from landmark_thesis.data import Signatures

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "figures"))
import research
import sources

ENDED = Path("run"), {"val": {}}, {"nearest": {"x": 2.0, "y": 3.0}, "likeliest": {"x": 1.0, "y": 2.0}}


def job_in_a_process(job, data, out):
    """Stands for a training: seed 1 is killed, the others end."""
    return os._exit(9) if job.endswith("/1") else ENDED


@pytest.fixture
def noted(monkeypatch):
    """The variants whose runs were noted, in order."""
    seen = []
    monkeypatch.setattr(research, "note", lambda run, variant, results, likeliest: seen.append(variant))
    return seen


def printed(capsys):
    """The lines of a sweep without their seconds."""
    return [line.partition(" s  ")[2] or line for line in capsys.readouterr().out.splitlines()]


def test_a_killed_process_ends_the_sweep_in_order(tmp_path, monkeypatch, noted, capsys):
    monkeypatch.setattr(research, "_one_of_many", job_in_a_process)
    research.sweep(["grey/0", "wider/1", "narrow/0"], tmp_path, tmp_path, at_once=1, seconds=300)
    assert noted == ["grey"]
    assert printed(capsys) == [
        "grey/0: nearest 2.500, likeliest 1.500 px@224",
        "a process was killed, and with it all that ran: too many at once for the memory?",
        "wider/1: not ended",
        "narrow/0: not ended",
    ]


class BreakingPool:
    """Its first job has ended; the second ends while that is noted, and then the pool breaks."""

    _processes = {}

    def __init__(self, *arguments):
        self.begun = [Future(), Future()]
        self.begun[0].set_result(ENDED)
        self.left = list(self.begun)

    def submit(self, *arguments):
        if not self.left:
            raise BrokenProcessPool
        return self.left.pop(0)

    def shutdown(self, **options):
        pass


def test_what_ended_before_the_pool_broke_is_noted_too(tmp_path, monkeypatch, noted, capsys):
    pool = BreakingPool()

    def note(run, variant, results, likeliest):
        noted.append(variant)
        if variant == "grey":
            pool.begun[1].set_result(ENDED)

    monkeypatch.setattr(research, "note", note)
    monkeypatch.setattr(research, "ProcessPoolExecutor", lambda *arguments: pool)
    research.sweep(["grey/0", "wider/0", "narrow/0", "lite0/0"], tmp_path, tmp_path, at_once=2, seconds=300)
    assert noted == ["grey", "wider"]
    assert printed(capsys)[3:] == ["narrow/0: not ended", "lite0/0: not ended"]


class PatientPool:
    """Keeps what is submitted; `wait` ends the oldest."""

    _processes = {}

    def __init__(self, failing=()):
        self.submitted, self.running, self.failing = [], {}, failing

    def submit(self, work, job, data, out):
        self.submitted.append(job)
        future = Future()
        self.running[future] = job
        return future

    def wait(self, running, seconds, when):
        done = next(iter(running))
        job = self.running[done]
        if job in self.failing:
            done.set_exception(OSError("no room"))
        else:
            done.set_result(None if job in sources.STARTS else ENDED)
        return SimpleNamespace(done=[done])

    def shutdown(self, **options):
        pass


def swept(monkeypatch, tmp_path, jobs, at_once, failing=()):
    """In which order a sweep begins its jobs."""
    pool = PatientPool(failing)
    monkeypatch.setattr(research, "ProcessPoolExecutor", lambda *arguments: pool)
    monkeypatch.setattr(research, "wait", pool.wait)
    research.sweep(jobs, tmp_path, tmp_path, at_once=at_once, seconds=300)
    return pool.submitted


def test_what_variants_begin_with_is_trained_first_and_once_and_others_do_not_wait_for_it(tmp_path, monkeypatch, noted, capsys):
    jobs = ["phantom-weights/0", "phantom-weights-bn-eval/1", "dense/0", "grey/0", "phantom-weights/1/2"]
    monkeypatch.setattr(research, "_note_fold", lambda *arguments: None)
    assert swept(monkeypatch, tmp_path, jobs, at_once=2) == ["phantom-weights-begin", "dense/0", "phantom-weights/0", "phantom-weights-bn-eval/1", "grey/0", "phantom-weights/1/2"]
    assert printed(capsys)[0] == "phantom-weights-begin: trained"


def test_nothing_is_begun_for_jobs_that_begin_with_nothing(tmp_path, monkeypatch, noted):
    assert swept(monkeypatch, tmp_path, ["dense/0", "phantoms-mixed/0"], at_once=1) == ["dense/0", "phantoms-mixed/0"]


def test_what_waits_for_a_start_that_failed_is_named_and_the_rest_ends(tmp_path, monkeypatch, noted, capsys):
    assert swept(monkeypatch, tmp_path, ["phantom-weights/0", "dense/0", "phantom-weights-more/0"], 1, {"phantom-weights-begin"}) == [
        "phantom-weights-begin", "phantom-weights-more-begin", "dense/0", "phantom-weights-more/0",
    ]
    assert noted == ["dense", "phantom-weights-more"]
    lines = printed(capsys)
    assert lines[0] == "phantom-weights-begin: OSError: no room" and lines[-1] == "phantom-weights/0: not ended"


def test_a_run_that_its_ledger_cannot_take_costs_no_other(tmp_path, monkeypatch, noted, capsys):
    def note(run, variant, results, likeliest):
        if variant == "grey":
            raise ValueError("of other pictures")
        noted.append(variant)

    monkeypatch.setattr(research, "note", note)
    swept(monkeypatch, tmp_path, ["grey/0", "wider/0", "narrow/0"], at_once=2)
    assert noted == ["wider", "narrow"] and printed(capsys)[0] == "grey/0: ValueError: of other pictures"


@pytest.mark.parametrize("asked", [["--at-once", "0"], ["--at-once", "-3"], ["--seconds", "nan"], ["--seconds", "0"]])
def test_nothing_at_once_and_no_time_are_no_sweep(tmp_path, monkeypatch, asked, capsys):
    monkeypatch.setattr(sys, "argv", ["research.py", "sweep", "dense/0", "--data", str(tmp_path), "--out", str(tmp_path), *asked])
    with pytest.raises(SystemExit) as left:
        research.main()
    assert left.value.code == 2 and "is not above 0" in capsys.readouterr().err


def test_in_one_process_pictures_are_compared_once_whatever_run_asks(monkeypatch):
    images = torch.randint(0, 255, (5, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mine, theirs, asked = Signatures.of(images[:3]), Signatures.of(images[1:], "bcde"), []
    match, expected = Signatures.match, {other: mine.match(other) for other in (None, theirs)}
    monkeypatch.setattr(Signatures, "match", lambda *arguments: asked.append(arguments[1:]) or match(*arguments))
    monkeypatch.setattr(research, "set_num_threads", lambda number: None)
    for name in ("load", "check"):
        monkeypatch.setattr(runs.Source, name, getattr(runs.Source, name))  # put back what `_worker` changes
    research._worker()
    for _ in range(3):
        assert mine.match() == expected[None] and mine.match(theirs) == expected[theirs] == [(1, 0, 150), (2, 1, 150)]
        assert Signatures.of(images[:3], "xyz").match(min_inliers=150) == []  # the same pixels by other names; another threshold is another question
    assert len(asked) == 3
    assert mine.match(theirs, 151) == [] and len(asked) == 4


def test_a_run_does_not_wait_for_another_that_begins_with_the_same(tmp_path):
    with runs.locked(tmp_path / "phantom-weights-begin"):
        recipe, source, split = sources.prepare("phantom-weights", runs.DENSE, tmp_path, tmp_path)
    assert (recipe.weights, source.folder, split) == (str(tmp_path / "phantom-weights-begin" / "best.pt"), str(tmp_path), None)
