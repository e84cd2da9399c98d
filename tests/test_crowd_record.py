"""What all models of the search are worth together: exact where it can be told by hand, and the record follows from its errors and from the ledger."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from landmark_thesis.pixel_error import compare_errors
from landmark_thesis.runs import Run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "figures"))
import crowd
import experiments
import research
from experiments import RECORDS, mean_error


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def record():
    content = json.loads((crowd.RECORD / "crowd.json").read_text(encoding="utf-8"))
    table = {row["image"]: row for row in rows_of(crowd.RECORD / "errors.csv")}
    return content, {name: np.array([float(row[name]) for row in table.values()]) for name in next(iter(table.values())) if name != "image"}, list(table)


def test_errors_that_point_apart_cancel_and_those_that_all_share_stay():
    from landmark_thesis.phantom import sample_shapes

    target = sample_shapes(4).astype(float)
    apart = np.zeros((2, *target.shape))
    apart[:, ..., 0] = np.array([3.0, -3.0])[:, None, None] / 224
    columns, common = crowd.together(target + apart, target)
    assert columns["mean of the runs"] == pytest.approx([3] * 4, abs=1e-3) and columns["together"] == pytest.approx([0] * 4, abs=1e-3)
    assert columns["hindsight"] == pytest.approx([3] * 4, abs=1e-3) and common == pytest.approx(0, abs=1e-12)
    columns, common = crowd.together(target + np.abs(apart), target)
    assert columns["together"] == pytest.approx([3] * 4, abs=1e-3) and common == pytest.approx(1)  # a shift of the whole shape is a shape


def test_hindsight_takes_for_each_picture_the_run_that_comes_nearest():
    from landmark_thesis.phantom import sample_shapes

    target, moved = sample_shapes(2).astype(float), np.zeros((2, 2, 15, 2))
    moved[..., 1] = np.array([[1.0, 8.0], [6.0, 2.0]])[..., None] / 224  # run by picture
    assert crowd.together(target + moved, target)[0]["hindsight"] == pytest.approx([1, 2], abs=1e-3)


def test_the_record_follows_from_its_errors(record):
    content, columns, names = record
    assert content["n"] == len(names) == 144 and content["part"] == "val" and content["split_fingerprint"] == "d0c23795be920b05"
    for key, name in (("mean_of_the_runs", "mean of the runs"), ("together", "together"), ("hindsight", "hindsight")):
        for measure, value in mean_error(columns[name]).items():
            assert content[key][measure] == pytest.approx(value), (key, measure)
    for measure, value in compare_errors(columns["mean of the runs"], columns["together"]).items():
        assert content["gain_of_all"][measure] == pytest.approx(value), measure
    assert (columns["hindsight"] <= columns["tenth"]).all() and (columns["tenth"] <= columns["ninetieth"]).all() and 0 < content["common"] < 1
    assert {name: pytest.approx(values) for name, values in content["pictures"].items()} == {name: columns[name] for name in ("tenth", "ninetieth", "together", "hindsight")}


def test_its_runs_are_those_of_the_ledger_and_so_are_their_errors(record):
    content, columns, names = record
    ledger = {row["image"]: row for row in rows_of(research.RESEARCH / "cuda" / "errors.csv")}
    keys = ["/".join((run["variant"], run["run"].rpartition("-")[2])) for run in content["runs"]]
    errors = np.array([[float(ledger[name][key]) for name in names] for key in keys])
    assert set(keys) <= set(ledger[names[0]]) - {"image"} and content["n_variants"] == len({run["variant"] for run in content["runs"]})
    assert [run["mre_px"] for run in content["runs"]] == pytest.approx(errors.mean(1), abs=1e-3)
    assert columns["hindsight"] == pytest.approx(errors.min(0), abs=0.0015) and columns["mean of the runs"] == pytest.approx(errors.mean(0), abs=0.0015)
    for name, share in (("tenth", 0.1), ("ninetieth", 0.9)):
        assert columns[name] == pytest.approx(np.quantile(errors, share, axis=0), abs=0.002)
    assert content["best"] == min(({key: run[key] for key in ("run", "mre_px")} for run in content["runs"]), key=lambda run: run["mre_px"])
    assert content["of_few"] == {"runs": 20, "hindsight_px": pytest.approx(crowd.hindsight_of(20, errors), abs=0.002)} and content["trained_on"] == "cuda (NVIDIA H200)"
    claims = (RECORDS.parent / "claims.toml").read_text(encoding="utf-8")
    assert f"the {len(keys)} whole runs" in claims and f"entre las {len(keys)} enteras" in claims
    commands = {f"python figures/research.py run {key.replace('/', ' --seeds ')} --data DIR --out DIR" for key in keys}
    assert set(content["trained_by"]) == commands


def test_hindsight_grows_as_fewer_runs_are_left_to_choose_from():
    errors = np.random.default_rng(1).uniform(1, 9, (12, 50))
    told = [crowd.hindsight_of(number, errors) for number in (1, 3, 12)]
    assert told[0] > told[1] > told[2] == pytest.approx(errors.min(0).mean()) and told[0] == pytest.approx(errors.mean(), abs=0.1)


def run_folder(place, seen=False, trained_on="cpu (x86_64)", scored_on="cpu"):
    place.mkdir()
    for name in ("recipe.json", "environment.json", "results.json"):
        content = json.loads((RECORDS / "dense" / name).read_text(encoding="utf-8"))
        content |= {"environment.json": {"device": trained_on}, "results.json": {"contaminated": seen, "device": scored_on}}.get(name, {})
        (place / name).write_text(json.dumps(content), encoding="utf-8")


def test_a_run_that_had_seen_what_it_was_scored_on_and_a_folder_without_runs_end_the_script(tmp_path):
    with pytest.raises(SystemExit, match="holds 0 runs"):
        crowd.runs_below(tmp_path)
    run_folder(tmp_path / "dense-0", seen=True)
    with pytest.raises(SystemExit, match="had seen"):
        experiments.aligned_answers([Run(tmp_path / "dense-0")], None)


def test_runs_of_one_device_are_those_that_it_trained_wherever_they_were_scored(tmp_path):
    run_folder(tmp_path / "dense-0", trained_on="cuda (NVIDIA H200)", scored_on="cuda")
    run_folder(tmp_path / "dense-1", trained_on="cuda (NVIDIA H200)", scored_on="cuda:0")
    assert [run.name for run in crowd.runs_below(tmp_path)] == ["dense-0", "dense-1"]
    run_folder(tmp_path / "dense-2", scored_on="cuda")
    with pytest.raises(SystemExit, match=r"several devices \(cpu \(x86_64\), cuda \(NVIDIA H200\)\)"):
        crowd.runs_below(tmp_path)
