"""What is drawn of whole runs and records: all that their files allow, nothing that mixes pictures, and one clear error for what is missing."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_14_figures import made_up_record, made_up_rows, made_up_test

from landmark_thesis import figures
from landmark_thesis.data import DataError, phantom_data
from landmark_thesis.evaluate import log_opening, mean_shape_errors, recorded_openings, ruler_interval
from landmark_thesis.figures import (
    _bars,
    _comparison_figures,
    _picture_means,
    _ruler,
    _sets,
    checked_run,
    draw_all,
    draw_measured,
    drawn_from,
    outdated_inputs,
)
from landmark_thesis.pixel_error import bootstrap_interval
from landmark_thesis.runs import Run, RunError


def test_draw_all_draws_what_the_files_allow_and_says_what_not(tmp_path):
    rows, remarks = made_up_rows(6), []
    record = made_up_record(tmp_path / "record", rows)
    written = draw_all(record.path, tmp_path / "out", say=remarks.append)
    names = {path.name for path in written}
    assert {"landmark_scheme.svg", "landmark_errors_test.svg", "landmark_map_test.svg", "prediction_examples_test.svg", "landmark_table_test.tex"} <= names
    assert len(written) == len(names) == 22 and all(path.stat().st_size > 100 for path in written)
    assert set(drawn_from(tmp_path / "out" / "landmark_bias_test.svg")) == {"record/errors.csv", "record/recipe.json", "record/split.json"}
    assert all(outdated_inputs(path, tmp_path) == [] and (drawn_from(path) or "scheme" in path.name) for path in written if path.suffix == ".svg")
    assert remarks == ["record: no history.csv, so no learning curves", "test: no comparison, for no other result is stored of these pictures (a results.json in the run folder adds the mean shape)"]


def test_a_missing_part_is_one_clear_error_and_nothing_is_written(tmp_path):
    record = made_up_record(tmp_path / "record", made_up_rows(4, "val"))
    with pytest.raises(DataError, match=r"errors.csv: no errors of part 'test' are stored; there are: val \(4\). landmark-thesis evaluate .* --split test"):
        draw_all(record, tmp_path / "out", part="test")
    with pytest.raises(RunError, match="no run folder"):
        draw_all(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folds_are_one_result_and_seeds_are_compared(tmp_path):
    folds = [made_up_record(tmp_path / f"fold{k}", made_up_rows(4, "oof", seed=k)) for k in (1, 2)]
    sets = _sets(folds, None, print)
    assert [(one.suffix, len(one.rows)) for one in sets] == [("oof", 8)]
    seeds = [made_up_record(tmp_path / str(k) / "same", made_up_rows(4, seed=k)) for k in (1, 2)]
    sets = _sets(seeds, "test", print)
    assert [one.suffix for one in sets] == ["test_same-1", "test_same-2"]
    figures = _comparison_figures(sets, {"lang": "en", "size": "page", "decimal_comma": False}, print)
    assert set(figures) == {"comparison_test", "recipe_curves_test"} and len(figures["comparison_test"].inputs) == 6
    assert [bar.get_width() for bar in figures["comparison_test"].figure.axes[0].patches] == [_picture_means(one.rows).mean() for one in sets]


def test_results_on_different_pictures_are_never_in_one_chart(tmp_path):
    runs = [made_up_record(tmp_path / f"run{n}", made_up_rows(n)) for n in (4, 5)]
    remarks = []
    assert _comparison_figures(_sets(runs, None, print), {"lang": "en", "size": "page", "decimal_comma": False}, remarks.append) == {}
    assert [remark.split(":")[0] for remark in remarks] == ["test_run4", "test_run5"]


def test_published_numbers_stand_only_beside_the_same_test_pictures(tmp_path):
    rows = [{**row, "image": f"COVID-{i}"} for i, row in enumerate(made_up_rows(4))]
    real = _sets([made_up_record(tmp_path / "real", rows)], None, print)
    assert [bar.kind for bar in _bars(real, "en")] == ["published", *["contaminated"] * 3, "ours"]
    drawn = _sets([made_up_record(tmp_path / "drawn", made_up_rows(4))], None, print)
    assert [bar.kind for bar in _bars(drawn, "en")] == ["ours"]


METRICS = {"mre_px": 6.5, "mre_px_ci95": [6.0, 7.1], "median_px": 5.5, "p95_px": 14.0, "sdr": dict.fromkeys(("3", "5", "10"), 0.5)}


def scored(record, ruler, **more):
    """The record with a results.json, whose mean shape scores `ruler`."""
    results = {"part": "test", "n_test": 4, "models": [{"run": "record"}], "test": METRICS, "baselines": {"mean_shape_px": ruler, "label_rounding_px": None, **more}}
    (record.path / "results.json").write_text(json.dumps(results))
    return record


def test_rulers_and_the_results_table_come_from_results_json(tmp_path):
    record = scored(made_up_record(tmp_path / "record", made_up_rows(4)), 16.7)
    ruler, told = _ruler(_sets([record], None, print), "en")
    assert [(bar.kind, bar.value, bar.interval) for bar in ruler] == [("baseline", 16.7, None)] and told == []
    assert [bar.kind for bar in _bars(_sets([record], None, print), "en", ruler)] == ["baseline", "ours"]
    names = {path.name for path in draw_all(record, tmp_path / "out", say=lambda text: None)}
    assert {"comparison_test.svg", "results_table.md", "results_table.csv", "results_table.tex"} <= names


def test_the_mean_shape_has_an_interval_wherever_one_is_stored(tmp_path):
    rows = [{**row, "image": f"COVID-{i}"} for i, row in enumerate(made_up_rows(4))]
    record = scored(made_up_record(tmp_path / "record", rows), 16.7, mean_shape_px_ci95=[15.0, 18.5])
    (ruler,), told = _ruler(_sets([record], None, print), "en")
    assert ruler.interval == (15.0, 18.5) and told == []  # its own
    scored(record, 16.7)
    shape = tmp_path / "shape" / "shape.json"
    shape.parent.mkdir()
    for px, interval in ((16.7, (14.0, 19.0)), (16.6, None)):  # the same error is that of the same pictures
        shape.write_text(json.dumps({"mean_shape_errors": {"test": {"n": 4, "mre_px": px, "mre_px_ci95": [14.0, 19.0]}}}))
        (ruler,), told = _ruler(_sets([record], None, print), "en")
        assert ruler.interval == interval and told == [shape] * bool(interval)
        draw_all(record, tmp_path / "out", say=lambda text: None)
        assert ("shape/shape.json" in drawn_from(tmp_path / "out" / "comparison_test.svg")) == bool(interval)
    assert ruler_interval({"part": "val", "baselines": {"mean_shape_px": None}}, [{"mean_shape_errors": {"val": {"mre_px": 1.0, "mre_px_ci95": [0.5, 2.0]}}}]) is None


@pytest.mark.parametrize("given", [False, True])
def test_where_none_is_stored_labels_at_hand_tell_the_interval_of_the_mean_shape(tmp_path, given):
    drawn = phantom_data(8, seed=3, start=20, size=32)
    names = [f"COVID-{i}" if given else name for i, name in enumerate(drawn.names)]
    record = made_up_record(tmp_path / "record", [{**row, "image": name} for row, name in zip(made_up_rows(8), names, strict=True)], source={"folder": None, "phantom_seed": 3})
    errors = mean_shape_errors(record.mean_shape, drawn.points.numpy().astype(float))
    data = replace(drawn, names=tuple(names), pixel_hash=dict(zip(names, drawn.pixel_hash.values(), strict=True))) if given else None
    for px, interval in ((errors.mean(), bootstrap_interval(errors)), (errors.mean() + 0.1, None)):  # another error is that of other labels
        (ruler,), _ = _ruler(_sets([scored(record, px)], None, print), "en", data)
        assert ruler.value == px and ruler.interval == (interval and pytest.approx(interval))
    if given:
        (ruler,), _ = _ruler(_sets([scored(record, errors.mean())], None, print), "en")
        assert ruler.interval is None
        unlabelled = replace(data, points=torch.full_like(data.points, np.nan))
        assert _ruler(_sets([record], None, print), "en", unlabelled)[0][0].interval is None


RECORDS = Path(__file__).resolve().parents[1] / "figures" / "records"


@pytest.mark.parametrize("record", sorted(path.parent for path in RECORDS.glob("*/recipe.json")), ids=lambda path: path.name)
def test_every_recorded_run_has_a_mean_shape_with_an_interval_about_it(record):
    (ruler,), _ = _ruler(_sets([Run(record)], None, print), "en")
    low, high = ruler.interval
    assert low < ruler.value < high and high - low < 5


def test_a_folder_is_a_run_by_its_recipe(tmp_path):
    record = made_up_record(tmp_path / "record", made_up_rows(4))
    assert checked_run(record) is record
    with pytest.raises(RunError, match="no run folder"):
        checked_run(Run(tmp_path))
    (record.path / "recipe.json").write_text((record.path / "recipe.json").read_text().replace('"phases": [', '"phases": [7, ', 1))
    with pytest.raises(DataError, match=r"recipe.json: cannot be read \(recipe.phases.0 is 7"):
        checked_run(Run(record.path))


def test_openings_of_the_same_test_part_add_up_and_others_do_not(tmp_path, monkeypatch):
    def opening(opened, fingerprint="f"):
        return {"test_fingerprint": fingerprint, "test_ledger": {"opened": opened, "planned": 1, "known_before": 5}}

    test = made_up_test() | {"test": METRICS, "test_fingerprint": "f"}
    beside = {"oof": opening(2), "folds": opening(0), "other": opening(7, "g"), "torn": opening(None), "plain": {"n": 3}}
    for name, content in {"test": test, **beside}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.json").write_text(json.dumps(content))
    own = test["test_ledger"]["opened"]
    assert own > 0 and recorded_openings({"test": test, **beside}, "f") == {"test": own, "oof": 2}
    drawn, draw = [], figures.claim_and_limit
    monkeypatch.setattr(figures, "claim_and_limit", lambda *given, **options: drawn.append(options["opened"]) or draw(*given, **options))
    (path,) = draw_measured(tmp_path / "test", tmp_path / "out")
    assert drawn == [own + 2] and set(drawn_from(path)) == {"test/test.json", "oof/oof.json"}
    log_opening([tmp_path / "folds"], {"fingerprint": "f", "part": "test"})  # a look that its result does not tell of
    draw_measured(tmp_path / "test", tmp_path / "again")
    assert drawn[1:] == [own + 3]


def test_a_damaged_results_json_is_named(tmp_path):
    record = made_up_record(tmp_path / "record", made_up_rows(4))
    (record.path / "results.json").write_text("{}")
    with pytest.raises(DataError, match="results.json: cannot be read"):
        draw_all(record, tmp_path / "out", say=lambda text: None)
