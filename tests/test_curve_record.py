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

from landmark_thesis.defense import _limits  # noqa: E402


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


def recorded_errors() -> tuple[dict, np.ndarray, np.ndarray]:
    """The record's content, the size of each run, and the errors (runs, pictures)."""
    path = HERE / "records" / "curve" / "curve.json"
    if not path.exists():
        pytest.skip("no record: python figures/curve.py")
    content = json.loads(path.read_text(encoding="utf-8"))
    with open(path.parent / "errors.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return content, np.array([result["n_train"] for result in content["results"]], float), np.array([[float(value) for value in row[1:]] for row in rows[1:]]).T


def test_the_search_that_wrote_the_record_and_the_grid_that_judges_it_find_the_same_limits():
    """Two ways to one number on purpose (defense._limits says why): where one of them is changed, or goes wrong, they part."""
    rng = np.random.default_rng(2)
    sizes = np.array([100.0, 240, 477, 478, 716])
    laws = [limit + above * (sizes / 100) ** -exponent + rng.normal(0, 0.05, 5) for limit, above, exponent in rng.uniform((0, 0.5, 0.3), (6, 3, 1.8), (30, 3))]
    assert _limits(sizes, np.array(laws).T) == pytest.approx([curve.asymptote(sizes, law)[0] for law in laws], abs=0.03)  # as far as a judge lets them part
    falling_fast = 300.0 * sizes**-0.5 - 3  # a limit below 0 is none
    assert curve.asymptote(sizes, falling_fast)[0] == pytest.approx(_limits(sizes, falling_fast[:, None])[0], abs=0.02) == pytest.approx(0, abs=0.02)


def test_both_ways_give_the_recorded_limit_and_its_interval():
    content, sizes, errors = recorded_errors()
    told = content["limits"]["mre_px"]
    assert curve.asymptote(sizes, errors.mean(1))[0] == pytest.approx(told["limit"], abs=1e-3)
    assert _limits(sizes, errors.mean(1)[:, None])[0] == pytest.approx(told["limit"], abs=0.01)
    picks = np.random.default_rng(0).integers(errors.shape[1], size=(1000, errors.shape[1]))
    by_grid = _limits(sizes, np.stack([errors[:, pick].mean(1) for pick in picks], axis=1))
    assert np.quantile(by_grid, (0.025, 0.975)) == pytest.approx(told["limit_ci95"], abs=0.01)
    few = np.quantile(by_grid[:100], (0.025, 0.975))  # the same draws, as the search takes them
    assert curve.resampled_limits(sizes, errors, draws=100) == pytest.approx(few, abs=0.02)


def test_the_record_follows_from_its_errors():
    content, sizes, errors = recorded_errors()
    assert errors.shape == (len(content["results"]), content["n_val"])
    assert errors.mean(1) == pytest.approx([result["mre_px"] for result in content["results"]], abs=1e-3)
