"""The ledgers of the search: each row follows from the errors beside it, and nobody looked at another part than validation."""

import csv
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from landmark_thesis import cli, runs
from landmark_thesis.pixel_error import bootstrap_interval
from landmark_thesis.runs import Run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "figures"))
import research
import sources

ROOT = Path(__file__).resolve().parents[1]
LEDGERS = {"processor": research.RESEARCH, "half": research.SHORT, "card": research.RESEARCH / "cuda"}

RESAMPLED = 0.03  # px: a run resamples its pictures in its own order, and its intervals keep two decimals


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def stated(interval):
    return tuple(map(float, interval.split(" to ")))


def column(table, name):
    return np.array([float(row[name]) for row in table])


@pytest.mark.parametrize("place", LEDGERS.values(), ids=LEDGERS)
def test_each_row_follows_from_its_column_of_errors_on_the_validation_part(place):
    runs, errors = rows_of(place / "runs.csv"), rows_of(place / "errors.csv")
    validation = set(Run(ROOT / "figures" / "records" / "dense").part("val"))
    assert {row["image"] for row in errors} == validation and len(errors) == 144
    assert {row["run"] for row in runs} == errors[0].keys() - {"image"}
    assert [row["run"] for row in runs] == sorted(row["run"] for row in runs)
    for row in runs:
        assert float(row["mre_px"]) == pytest.approx(column(errors, row["run"]).mean(), abs=1e-3), row["run"]
        assert row["n"] == "144" and row["device"].startswith("cuda" if place.name == "cuda" else "cpu")
        assert stated(row["mre_px_ci95"]) == pytest.approx(bootstrap_interval(column(errors, row["run"])), abs=RESAMPLED), row["run"]


@pytest.mark.parametrize("place", LEDGERS.values(), ids=LEDGERS)
def test_all_were_trained_on_the_same_pictures_but_those_that_say_so(place):
    own = [row for row in rows_of(place / "runs.csv") if row["split"] != "d0c23795be920b05"]
    assert {row["run"].split("/")[0] for row in own} <= {"phantoms-mixed"}


@pytest.mark.parametrize("place", LEDGERS.values(), ids=LEDGERS)
def test_the_likeliest_shape_stands_beside_it_where_it_was_read(place):
    if not (place / "likeliest.csv").exists():
        pytest.skip("no run of this ledger was read both ways")
    runs, errors = {row["run"]: row for row in rows_of(place / "runs.csv")}, rows_of(place / "likeliest.csv")
    read = errors[0].keys() - {"image"}
    assert read == {name for name, row in runs.items() if row.get("likeliest_px")}
    for name in read:
        assert float(runs[name]["likeliest_px"]) == pytest.approx(column(errors, name).mean(), abs=1e-3), name
        assert stated(runs[name]["likeliest_px_ci95"]) == pytest.approx(bootstrap_interval(column(errors, name)), abs=RESAMPLED), name


@pytest.mark.parametrize("variant", research.VARIANTS)
def test_no_variant_is_a_mere_plan(variant):
    assert research.ledgers_of(variant), f"no run: python figures/research.py run {variant} --data DIR --out DIR, or take it out of VARIANTS"


@pytest.mark.parametrize("place", LEDGERS.values(), ids=LEDGERS)
def test_no_row_is_of_a_variant_that_nobody_can_make_again(place):
    assert {row["run"].split("/")[0] for row in rows_of(place / "runs.csv")} <= research.VARIANTS.keys()


def test_a_variant_is_found_in_each_ledger_that_has_it(tmp_path, monkeypatch):
    for name, place in (("RESEARCH", tmp_path), ("SHORT", tmp_path / "short")):
        monkeypatch.setattr(research, name, place)
    for place, rows in ((tmp_path, ["a/0", "b-1/0"]), (tmp_path / "short", ["a/3"]), (tmp_path / "cuda", ["b/0"])):
        research.write_rows(place / "runs.csv", [{"run": run} for run in rows])
    assert [research.ledgers_of(name) for name in ("a", "b-1", "b", "c")] == [["whole schedule", "half"], ["whole schedule"], ["card"], []]


def test_a_run_on_a_card_goes_to_the_ledger_of_cards():
    assert research.place_of("cuda (NVIDIA H200)") == LEDGERS["card"] and research.place_of("cpu (x86_64)") == LEDGERS["processor"]


@pytest.mark.parametrize(("job", "good"), [("dense/0", True), ("dense/10/5", True), ("dense", False), ("dense/0/6", False), ("dense/x", False), ("/0", False)])
def test_a_job_names_a_variant_a_seed_and_perhaps_one_of_five_folds(job, good):
    assert bool(research.JOB.fullmatch(job)) is good


def test_a_column_joins_the_others_by_picture_and_order_never_matters(tmp_path):
    research._column(tmp_path / "errors.csv", "b/0", {"y": 2.0, "x": 1.0})
    research._column(tmp_path / "errors.csv", "a/0", {"x": 3.0, "y": 4.0})
    research._column(tmp_path / "errors.csv", "b/0", {"x": 5.0, "y": 6.0})  # noted again: replaced
    assert (tmp_path / "errors.csv").read_text() == "image,a/0,b/0\nx,3.000,5.000\ny,4.000,6.000\n"


def test_a_ledger_takes_no_run_of_other_pictures(tmp_path):
    research._column(tmp_path / "errors.csv", "a/0", {"x": 1.0, "y": 2.0})
    research._refuse_others(tmp_path / "errors.csv", {"y": 0.0, "x": 0.0})
    research._refuse_others(tmp_path / "likeliest.csv", {"z": 0.0})  # none yet
    for others in ({"x": 1.0}, {"x": 1.0, "y": 2.0, "z": 3.0}):
        with pytest.raises(ValueError, match=f"of 2 pictures, and this run was scored on {len(others)} others"):
            research._refuse_others(tmp_path / "errors.csv", others)


def _column_alone(place, key):
    with research._alone_at(place):
        research._column(place / "errors.csv", key, {"x": 1.0})


def test_two_that_note_at_once_lose_nothing(tmp_path):
    with ThreadPoolExecutor(4) as pool:  # each opens the lock's file itself, as a process does
        list(pool.map(_column_alone, [tmp_path] * 40, [f"a/{k}" for k in range(40)]))
    (row,) = rows_of(tmp_path / "errors.csv")
    assert len(row) == 41


def test_half_a_schedule_on_a_card_is_found_and_counted_only_where_it_is_drawn(tmp_path, monkeypatch):
    import make

    monkeypatch.setattr(research, "RESEARCH", tmp_path / "research")
    monkeypatch.setattr(research, "SHORT", tmp_path / "research" / "short")
    monkeypatch.setattr(make, "HERE", tmp_path)
    for place, run in (("research/cuda/short", "grey/0"), ("research/short", "wider/0"), ("research", "wider/0"), ("research/cuda", "wider/1")):
        research.write_rows(tmp_path / place / "runs.csv", [{"run": run}])
    assert research.ledgers_of("grey") == ["card, half"]
    assert make.variants() == {"wider": 2}


def test_a_fold_that_is_not_noted_yet_says_nothing_of_more_phantoms(monkeypatch):
    import make

    whole, read = make.more_phantoms(), make._by_image
    assert whole["members"] == 3 and whole["folds"] < 5
    def without_one(path):
        table = read(path)
        if path.parent.name == "cuda" and path.name == "folds.csv":
            next(iter(table.values()))["phantom-weights-more/0/likeliest"] = ""
        return table

    monkeypatch.setattr(make, "_by_image", without_one)
    assert make.more_phantoms() is None


@pytest.mark.parametrize("script", ["folds", "reading", "views", "ensemble", "causes"])
def test_whatever_reads_runs_knows_the_heads_of_the_search(script):
    asked = f"import sys; sys.path.insert(0, {str(ROOT / 'figures')!r}); import {script}; from landmark_thesis import runs; print(sorted(runs.LOSSES))"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, env=dict(os.environ)).stdout
    assert all(f"'{name}'" in told for name in ("axis", "simcc", "correlated", "shape"))


def test_make_knows_which_variants_read_the_likeliest_shape():
    import make

    assert make.READ_AS_LIKELIEST == {name for name, (recipe, _) in research.VARIANTS.items() if recipe.likeliest}


@pytest.mark.parametrize("readme", ["README.md", "README.es.md"])
def test_the_start_that_the_readmes_train_is_the_one_that_the_search_began_with(readme):
    (line,) = [line for line in (ROOT / readme).read_text(encoding="utf-8").splitlines() if line.startswith("landmark-thesis train-landmarks --data phantom --phantoms")]
    asked = cli.parser().parse_args(shlex.split(line, comments=True)[1:])
    name = sources.START_OF["phantom-weights"]
    start = sources.STARTS[name]
    assert (asked.phantoms, asked.seed) == (start.phantoms, sources.START_SEED)
    begun = runs.changed(runs.RECIPES[asked.recipe], phase2_epochs=asked.phase2_epochs)
    assert replace(begun, name="", deviations=()) == replace(start.recipe(name), name="", deviations=())
