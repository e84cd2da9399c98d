"""The recorded contour errors: they follow from the stored columns, and those with ends are the ones that the runs themselves recorded."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from landmark_thesis.data import load_data
from landmark_thesis.evaluate import read_errors
from landmark_thesis.pixel_error import bootstrap_interval
from landmark_thesis.runs import DENSE, Run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "figures"))
import contour

STORED = json.loads((contour.RECORD / "contour.json").read_text(encoding="utf-8"))
with open(contour.RECORD / "errors.csv", encoding="utf-8", newline="") as file:
    TABLE = list(csv.DictReader(file))


@pytest.mark.parametrize("one", STORED["contours"], ids=lambda one: one["run"])
def test_the_means_follow_from_the_stored_columns(one):
    rows = read_errors(contour.RECORDS / one["run"] / "errors.csv", "val")
    assert [row["image"] for row in TABLE] == [row["image"] for row in rows] and len(rows) == STORED["n"]
    for way in contour.WAYS:
        column = np.array([float(row[f"{one['run']} {way}"]) for row in TABLE])
        assert one[f"{way}_px"] == pytest.approx(column.mean(), abs=1e-3)
        assert one[f"{way}_px_ci95"] == pytest.approx(bootstrap_interval(column), abs=5e-3)
    ends = [float(row[f"{one['run']} ends"]) for row in TABLE]
    assert ends == pytest.approx([row["contour_px"] for row in rows], abs=2e-3)
    assert all(float(row[f"{one['run']} continued"]) <= end for row, end in zip(TABLE, ends, strict=True))


def test_the_labels_moved_by_the_recorded_errors_give_the_record_again(real_data):
    data = load_data(real_data, DENSE.preprocessing)
    for way, errors in contour.contours(Run(contour.RECORDS / "dense"), data).items():
        assert errors == pytest.approx([float(row[f"dense {way}"]) for row in TABLE], abs=1e-3)
