"""What the scripts of figures/ share: which folders are the runs of a name, one kind of pictures for them all, one device, tables."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from landmark_thesis.runs import DENSE, Run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "figures"))
import causes
import curve
import drift
import experiments
import final
import folds
import leakage


@pytest.fixture
def searched(tmp_path):
    """A folder as the search leaves it: beside four seeds of `dense` what is of half the schedule, of a fold, of another variant."""
    for name in ("dense-0", "dense-2", "dense-10", "dense-1", "dense-0-short", "dense-0-fold1", "dense-wide-0", "dense-"):
        shutil.copytree(experiments.RECORDS / "dense", tmp_path / name)
    return tmp_path


def names(runs):
    return [run.name for run in runs]


def unfinish(path):
    told = json.loads((path / "environment.json").read_text(encoding="utf-8"))
    del told["seconds"]
    (path / "environment.json").write_text(json.dumps(told), encoding="utf-8")


def test_the_runs_of_a_name_differ_in_their_seed_alone_and_stand_by_number(searched):
    assert names(experiments.runs_of("dense", searched)) == ["dense-0", "dense-1", "dense-2", "dense-10"]
    assert names(experiments.runs_of("dense-wide", searched)) == ["dense-wide-0"] and experiments.runs_of("none", searched) == []


def test_one_that_was_not_trained_to_the_end_ends_the_script_and_another_kind_does_not(searched):
    unfinish(searched / "dense-0-short")
    assert len(experiments.runs_of("dense", searched)) == 4
    unfinish(searched / "dense-2")
    with pytest.raises(SystemExit, match="dense-2: not trained to the end yet"):
        experiments.runs_of("dense", searched)


def test_the_learning_curve_takes_whole_runs_alone(searched, tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(curve, "judge", lambda data, runs, record: taken.extend(names(runs)))
    monkeypatch.setattr(sys, "argv", ["curve.py", "judge", "DATA", str(tmp_path / "small"), "--full", str(searched)])
    curve.main()
    assert taken == ["dense-0", "dense-1", "dense-2", "dense-10"]


def test_the_drift_is_judged_by_whole_runs_alone(searched, tmp_path):
    for name in ("retrained-0", "retrained-0-old"):
        shutil.copytree(searched / "dense-0", tmp_path / "drift" / name)
    assert names(drift.judged(tmp_path / "drift", searched)) == ["dense-0", "dense-1", "dense-2", "dense-10", "retrained-0"]
    assert names(drift.judged(tmp_path / "drift", None)) == ["retrained-0"]


@pytest.fixture
def another_size(searched):
    """Runs of which the last sees its pictures at 320."""
    content = json.loads((searched / "dense-1" / "recipe.json").read_text(encoding="utf-8"))
    content["recipe"]["preprocessing"]["size"] = 320
    (searched / "dense-1" / "recipe.json").write_text(json.dumps(content), encoding="utf-8")
    return [Run(searched / name) for name in ("dense-0", "dense-2", "dense-1")]


def test_runs_that_see_their_pictures_alike_share_that_preprocessing(another_size):
    assert experiments.shared_preprocessing(another_size[:2]) == DENSE.preprocessing
    assert experiments.shared_preprocessing(another_size[2:]) == replace(DENSE.preprocessing, size=320)


@pytest.mark.parametrize("judge", [experiments.validation_part, lambda folder, runs: causes.judge(folder, folder, runs)], ids=["validation", "causes"])
def test_a_run_that_sees_its_pictures_otherwise_is_named_before_any_is_read(another_size, judge, tmp_path):
    with pytest.raises(SystemExit, match=r"dense-1: prepares its pictures otherwise than .*dense-0; judge each kind by itself$"):
        judge(tmp_path / "nothing", another_size)


@pytest.mark.parametrize(
    ("script", "judge"),
    [(final, lambda: final.judge([])), (folds, lambda: folds.judge([], "dev", "a command")), (leakage, lambda: leakage.official([], None))],
    ids=["final", "folds", "leakage"],
)
def test_the_front_door_scores_where_the_script_itself_answers_whatever_card_there_is(script, judge, monkeypatch):
    asked = []

    def front_door(runs, *, device="auto", **others):
        asked.append(device)
        raise InterruptedError

    monkeypatch.setattr(script, "evaluate_runs", front_door)
    monkeypatch.setattr(final, "test_part", lambda runs: None)
    with pytest.raises(InterruptedError):
        judge()
    assert asked == ["cpu"] and experiments.made_with()["device"].startswith("cpu")


def test_a_table_has_the_columns_of_all_its_rows(tmp_path):
    experiments.write_rows(tmp_path / "new" / "rows.csv", [{"image": "x", "a": 1}, {"image": "y, z", "b": "0.50"}])
    assert (tmp_path / "new" / "rows.csv").read_bytes() == b'image,a,b\nx,1,\n"y, z",,0.50\n'


def test_a_record_is_its_content_and_a_row_for_each_picture(tmp_path):
    columns = {"part": ["val", "test"], "fold": [1, 2], "dense-0": np.array([1.23456, 2])}
    experiments.write_record(tmp_path / "tried", {"n": 2}, ["x", "y"], columns)
    assert (tmp_path / "tried" / "tried.json").read_text(encoding="utf-8") == '{\n "n": 2\n}\n'
    assert (tmp_path / "tried" / "errors.csv").read_bytes() == b"image,part,fold,dense-0\nx,val,1,1.235\ny,test,2,2.000\n"
