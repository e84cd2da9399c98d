"""The learning curve: its fit finds a law that is put in, and the record follows from its errors."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parents[1] / "figures"
sys.path.insert(0, str(HERE))
import curve  # noqa: E402


@pytest.mark.parametrize(("limit", "factor", "exponent"), [(5.0, 300.0, 1.0), (2.0, 40.0, 0.5), (0.5, 4000.0, 1.5)])
def test_the_fit_finds_the_law_that_was_put_in(limit, factor, exponent):
    sizes = np.array([100.0, 240, 478, 478, 716])
    found = curve.asymptote(sizes, limit + factor * sizes**-exponent)
    assert found == pytest.approx((limit, factor, exponent), rel=1e-3)


def test_resampling_pictures_gives_an_interval_about_the_limit_that_narrows_with_their_number():
    rng, sizes = np.random.default_rng(0), np.array([100.0, 240, 478, 716])
    law = (4 + 200 / sizes)[:, None]
    widths = []
    for n in (100, 1600):
        low, high = curve.resampled_limits(sizes, law + rng.normal(0, 2, n), draws=60)  # a picture is as hard for every size
        assert low - 0.2 < 4 < high + 0.2
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_the_record_follows_from_its_errors():
    path = HERE / "records" / "curve" / "curve.json"
    if not path.exists():
        pytest.skip("no record: python figures/curve.py")
    content = json.loads(path.read_text(encoding="utf-8"))
    with open(path.parent / "errors.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    errors = np.array([[float(value) for value in row[1:]] for row in rows[1:]]).T
    assert errors.shape == (len(content["results"]), content["n_val"])
    assert errors.mean(1) == pytest.approx([result["mre_px"] for result in content["results"]], abs=1e-3)
    found = curve.asymptote(np.array([result["n_train"] for result in content["results"]], float), errors.mean(1))
    assert found[0] == pytest.approx(content["limits"]["mre_px"]["limit"], abs=0.02)
