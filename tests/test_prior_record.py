"""The recorded prior of shape: its numbers follow from the stored columns, and it is the Gaussian that it says."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from landmark_thesis.evaluate import read_errors
from landmark_thesis.landmarks import LANDMARK_NAMES, from_shape
from landmark_thesis.pixel_error import compare_errors

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "figures"))
import prior

STORED = json.loads((prior.RECORD / "prior.json").read_text(encoding="utf-8"))
with open(prior.RECORD / "errors.csv", encoding="utf-8", newline="") as file:
    TABLE = list(csv.DictReader(file))


def column(variance):
    return np.array([float(row[f"variance {variance:g}"]) for row in TABLE])


def test_the_numbers_follow_from_the_stored_columns_and_without_a_prior_they_are_those_of_the_run():
    assert [one["variance"] for one in STORED["priors"]] == list(prior.VARIANCES)
    for one in STORED["priors"]:
        assert one["mre_px"] == pytest.approx(column(one["variance"]).mean(), abs=1e-3)
        assert one["gain"]["difference_px"] == pytest.approx(compare_errors(column(0), column(one["variance"]))["difference_px"], abs=1e-3)
    rows = read_errors(prior.RECORDS / "dense" / "errors.csv", "val")
    assert [row["image"] for row in TABLE] == [row["image"] for row in rows] and len(rows) == STORED["n"]
    assert column(0) == pytest.approx([np.mean([row[f"{name}_radial"] for name in LANDMARK_NAMES]) for row in rows], abs=2e-3)


def shapes(count, rng):
    mean = np.r_[0.5, 0.2, 0.5, 0.8, [-0.3, 0.3] * 5]
    return from_shape(mean + 0.03 * rng.standard_normal((count, 14))) * 224


def test_it_gains_where_answers_are_shapes_plus_errors_and_draws_to_the_mean_with_their_variance():
    rng = np.random.default_rng(0)
    labels, target = shapes(400, rng), shapes(400, rng)
    answers, form = target + 6 * rng.standard_normal(target.shape), np.eye(30)
    error = {s: np.linalg.norm(prior.drawn_to_the_mean(answers, labels, form, s) - target, axis=-1).mean() for s in (0.0, 4.0, 36.0, 1e7)}
    assert error[36.0] < error[4.0] < error[0.0]
    mean_shape = np.linalg.norm(labels.mean(0) - target, axis=-1).mean()
    assert error[1e7] == pytest.approx(mean_shape, rel=0.02) and error[36.0] < mean_shape


def test_a_form_along_and_across_an_upright_axis_stands_in_y_and_x():
    form = np.zeros((30, 30))
    form[0, 0], form[1, 1], form[0, 3] = 5.0, 2.0, 7.0  # L1 along, L1 across, L1 along with L2 across
    moved = prior.upright(form)
    assert (moved[0, 0], moved[1, 1], moved[1, 2]) == (2.0, 5.0, 7.0)
