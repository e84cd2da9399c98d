"""Many runs at once: what ends is noted, what a killed process took with it is named, and nothing is trained twice side by side."""

import os
import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from landmark_thesis import runs

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


@pytest.mark.parametrize(
    ("jobs", "trained"),
    [(["dense/0", "phantom-weights/0", "phantom-weights-bn-eval/1"], ["phantom-weights-begin"]), (["dense/0", "phantoms-mixed/0"], [])],
)
def test_what_variants_begin_with_is_trained_once_and_before_any_of_them(tmp_path, monkeypatch, jobs, trained):
    done = []
    monkeypatch.setattr(sources, "train", lambda recipe, source, place, **settings: done.append(place.name))
    monkeypatch.setattr(research, "ProcessPoolExecutor", lambda *arguments: done.append("pool") or BreakingPool())
    research.sweep(jobs, tmp_path, tmp_path, at_once=2, seconds=0)
    assert done == [*trained, "pool"]


def test_a_run_does_not_wait_for_another_that_begins_with_the_same(tmp_path):
    with runs.locked(tmp_path / "phantom-weights-begin"):
        recipe, source, split = sources.prepare("phantom-weights", runs.DENSE, tmp_path, tmp_path)
    assert (recipe.weights, source.folder, split) == (str(tmp_path / "phantom-weights-begin" / "best.pt"), str(tmp_path), None)
