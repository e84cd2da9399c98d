"""What is drawn of whole runs and records: all that their files allow, nothing that mixes pictures, and one clear error for what is missing."""

import json

import pytest
from test_14_figures import made_up_record, made_up_rows

from landmark_thesis.data import DataError
from landmark_thesis.figures import (
    _bars,
    _comparison_figures,
    _picture_means,
    _sets,
    draw_all,
    drawn_from,
    outdated_inputs,
)
from landmark_thesis.runs import RunError


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


def test_rulers_and_the_results_table_come_from_results_json(tmp_path):
    record = made_up_record(tmp_path / "record", made_up_rows(4))
    metrics = {"mre_px": 6.5, "mre_px_ci95": [6.0, 7.1], "median_px": 5.5, "p95_px": 14.0, "sdr": dict.fromkeys(("3", "5", "10"), 0.5)}
    results = {"part": "test", "n_test": 4, "models": [{"run": "record"}], "test": metrics, "baselines": {"mean_shape_px": 16.7, "label_rounding_px": None}}
    (record.path / "results.json").write_text(json.dumps(results))
    assert [(bar.kind, bar.value) for bar in _bars(_sets([record], None, print), "en")][0] == ("baseline", 16.7)
    names = {path.name for path in draw_all(record, tmp_path / "out", say=lambda text: None)}
    assert {"comparison_test.svg", "results_table.md", "results_table.csv", "results_table.tex"} <= names


def test_a_damaged_results_json_is_named(tmp_path):
    record = made_up_record(tmp_path / "record", made_up_rows(4))
    (record.path / "results.json").write_text("{}")
    with pytest.raises(DataError, match="results.json: cannot be read"):
        draw_all(record, tmp_path / "out", say=lambda text: None)
