"""The record of both readings of the same weights follows from its errors; what wavers, and what is drawn from it, is what was recorded."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parents[1] / "figures"
sys.path.insert(0, str(HERE))
import reading  # noqa: E402

from landmark_thesis.landmarks import LANDMARK_NAMES  # noqa: E402
from landmark_thesis.pixel_error import compare_errors, seed_spread  # noqa: E402

records = pytest.mark.parametrize("record", [
    pytest.param(path, id=name, marks=pytest.mark.skipif(not (path / f"{name}.json").exists(), reason="no record: python figures/reading.py"))
    for name in ("reading", "phantom-weights") for path in [HERE / "records" / name]
])


def test_the_spread_of_each_landmark_is_the_root_of_the_mean_variance():
    forms = [np.diag(np.arange(1.0, 31.0)), np.diag(np.arange(1.0, 31.0)[::-1])]
    spread = reading.spread_of(forms)
    assert list(spread) == list(LANDMARK_NAMES)
    assert all(value == pytest.approx(np.sqrt(15.5)) for found in spread.values() for value in found.values())
    assert reading.spread_of(forms[:1])["L2"] == {"along": pytest.approx(np.sqrt(3)), "across": pytest.approx(2)}


@records
def test_the_record_follows_from_its_errors(record):
    content = json.loads((record / f"{record.name}.json").read_text(encoding="utf-8"))
    with open(record / "errors.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["image"] for row in rows}) == len(rows) == content["n"] == 144
    errors = {column: np.array([float(row[column]) for row in rows]) for column in rows[0] if column != "image"}
    for told in content["recipes"]:
        found = {way: np.stack([errors[f"{way} {run['run']}"] for run in told["runs"]]) for way in ("nearest", "likeliest")}
        for way, values in found.items():
            spread = seed_spread(values)
            assert told[way]["mean_px"] == pytest.approx(spread["mean_px"], abs=1e-3)
            assert told[way]["mean_px_ci95"] == pytest.approx(spread["mean_px_ci95"], abs=0.01)
            assert told["together"][way] == pytest.approx(errors[f"{way} {told['recipe']} together"].mean(), abs=1e-3)
        gain = compare_errors(found["nearest"].mean(0), found["likeliest"].mean(0))
        assert told["gain"]["difference_px"] == pytest.approx(gain["difference_px"], abs=1e-3)
        assert told["gain"]["difference_px_ci95"] == pytest.approx(gain["difference_px_ci95"], abs=0.005)
        assert np.mean([value**2 for spread in told["wavering"].values() for value in spread.values()]) == pytest.approx(1)


@records
def test_the_ends_of_the_axis_waver_along_it(record):
    for told in json.loads((record / f"{record.name}.json").read_text(encoding="utf-8"))["recipes"]:
        along = {name: spread["along"] for name, spread in told["wavering"].items()}
        assert max(along, key=along.get) in ("L2", "L14", "L15"), told["recipe"]
