"""The recorded drift of the labels: its numbers follow from its stored errors, and the curve from pictures of the training part alone."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from landmark_thesis.defense import _chance
from landmark_thesis.pixel_error import bootstrap_interval

RECORD = Path(__file__).resolve().parent.parent / "figures" / "records" / "drift"
sys.path.insert(0, str(RECORD.parent.parent))
import drift  # noqa: E402

DRIFT = json.loads((RECORD / "drift.json").read_text(encoding="utf-8"))


def stored() -> dict[str, np.ndarray]:
    with open(RECORD / "errors.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name not in ("image", "row")}


@pytest.mark.parametrize("result", DRIFT["results"], ids=lambda result: f"{result['run']}-{result['told_the_row']}")
def test_the_recorded_errors_follow_from_the_stored_ones(result):
    errors = stored()[result["run"] + ("+row" if result["told_the_row"] else "")]
    assert len(errors) == DRIFT["n_val"]
    assert errors.mean() == pytest.approx(result["mre_px"], abs=1e-3)
    assert bootstrap_interval(errors) == pytest.approx(result["mre_px_ci95"], abs=2e-3)


def test_the_curve_comes_from_other_pictures_than_it_is_judged_on():
    with open(RECORD / "errors.csv", encoding="utf-8", newline="") as file:
        judged = {int(row["row"]) for row in csv.DictReader(file)}
    assert len(DRIFT["points"]["row"]) == DRIFT["n_curve"] == 716 and len(judged) == DRIFT["n_val"] == 144
    assert not judged & set(DRIFT["points"]["row"])


def test_the_drift_is_no_chance_and_explains_part_of_the_error():
    low, high = (np.array(DRIFT["curve"][f"L2_along_{end}"]) for end in ("low", "high"))
    assert DRIFT["p_value"] < 0.001 and (low > 3).any() and (high < -2).any()  # no flat line lies in the band
    alone, told = ({result["run"]: result["mre_px"] for result in DRIFT["results"] if result["told_the_row"] is word} for word in (False, True))
    assert alone.keys() == told.keys() and all(told[run] < alone[run] - 0.3 for run in alone)


def test_what_the_class_alone_explains_is_no_drift_within_it():
    rng, rows = np.random.default_rng(1), np.arange(200.0)
    classes = np.repeat([0, 1], 100)  # one class after the other
    by_class, by_row = 6.0 * classes, 6 * np.sin(rows / 16)

    def p_values(signal):
        errors = np.zeros((200, 15, 2))
        errors[:, 1, 0] = signal + rng.normal(0, 4, 200)
        return [drift.permutation_test(rows, errors, groups, draws=99) for groups in (None, classes)]

    (anywhere, within), moving = p_values(by_class), p_values(by_row)
    assert anywhere == 0.01 and within > 0.05
    assert moving == [0.01, 0.01]


@pytest.mark.parametrize("height", [0.0, 0.7, 1.4])
def test_shuffling_rows_and_moving_values_over_a_fixed_order_give_the_same_p_to_the_digit(height):
    """Two ways to one number on purpose (defense._chance says why): where one of them is changed, or goes wrong, they part."""
    rng, n = np.random.default_rng(3), 120
    rows = 2.0 * rng.permutation(n) + 1  # in no order, with gaps
    classes, errors = (rows // 60).astype(int), np.zeros((n, 15, 2))
    errors[:, 1, 0] = height * np.sin(rows / 16) + rng.normal(0, 4, n)
    found = [drift.permutation_test(rows, errors, groups, draws=199) for groups in (None, classes)]
    assert found == [_chance(rows, errors[:, 1, 0], drift.BANDWIDTH, drift.SHRINK, groups, draws=199) for groups in (np.zeros(n), classes)]
    assert any(0.02 < p < 0.98 for p in found)  # neither all nor none: the two could differ


def test_the_recorded_p_is_what_the_other_way_finds():
    points = {name: np.array(values) for name, values in DRIFT["points"].items()}
    for name, groups in (("p_value", np.zeros(DRIFT["n_curve"])), ("p_value_within_class", points["class"])):
        assert _chance(points["row"].astype(float), points["L2_along"], DRIFT["bandwidth_rows"], DRIFT["shrink"], groups) == DRIFT[name]
