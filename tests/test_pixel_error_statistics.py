"""Statistics against independent computations: scipy on the same draws, exact laws, long simulations, the recorded results."""

import json
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from landmark_thesis import pixel_error
from landmark_thesis.evaluate import error_rows, read_errors, write_errors
from landmark_thesis.landmarks import LATERAL, from_shape
from landmark_thesis.pixel_error import (
    agreement,
    along_across,
    auc_ced,
    axis_length,
    bland_altman,
    bootstrap_interval,
    compare_errors,
    conformal_radii,
    contour_error,
    coverage,
    detection_rate,
    displacements,
    lung_widths,
    radial_errors,
    seed_spread,
    summarise,
    summarise_errors,
)

RECORDS = Path(__file__).resolve().parent.parent / "figures" / "records"


def chests(number, seed=0):
    rng = np.random.default_rng(seed)
    mean = np.r_[112, 36, 112, 184, -65, 65, -74, 74, -80, 80, -35, 35, -84, 84] / 224
    shapes = mean + rng.normal(0, 6 / 224, (number, 14))
    return from_shape(shapes), from_shape(
        shapes + rng.lognormal(0, 0.4, (number, 1)) * rng.normal(0, 4 / 224, (number, 14))
    )


def flat(summary, path=""):
    """name/of/each/number -> the number, or the two of an interval; None as NaN."""
    if not isinstance(summary, dict):
        return {path: np.array([np.nan] if summary is None else summary, dtype=float)}
    return {key: value for name, below in summary.items() for key, value in flat(below, f"{path}/{name}").items()}


TARGET, PRED = chests(40)
CATEGORIES = np.array(["COVID", "Normal"] * 20)
RADIAL, MOVED, AXIAL = (
    radial_errors(PRED, TARGET, 224),
    displacements(PRED, TARGET, 224),
    along_across(PRED, TARGET, 224),
)
METRICS = {  # each metric of a summary, written down again for the pictures numbered i
    "/mre_px": lambda i: RADIAL[i].mean(),
    "/mre_px_12": lambda i: RADIAL[i][:, [0, 1, *LATERAL]].mean(),
    "/mre_px_299": lambda i: RADIAL[i].mean() * 299 / 224,
    "/median_px": lambda i: np.median(RADIAL[i]),
    "/p95_px": lambda i: np.percentile(RADIAL[i], 95),
    "/along_px": lambda i: np.abs(AXIAL[i, :, 0]).mean(),
    "/across_px": lambda i: np.abs(AXIAL[i, :, 1]).mean(),
    "/across_lateral_px": lambda i: np.abs(AXIAL[i][:, LATERAL, 1]).mean(),
    "/along_signed_px": lambda i: AXIAL[i, :, 0].mean(),
    "/across_signed_px": lambda i: AXIAL[i, :, 1].mean(),
    "/contour_px": lambda i: contour_error(PRED[i], TARGET[i], 224).mean(),
    "/nme_axis": lambda i: (RADIAL[i].mean(1) / axis_length(TARGET[i], 224)).mean(),
    "/nme_diagonal": lambda i: RADIAL[i].mean() / np.hypot(224, 224),
    "/failure_rate_10px": lambda i: (RADIAL[i].mean(1) > 10).mean(),
    "/auc_ced_15px": lambda i: auc_ced(RADIAL[i]),
    "/sdr/5": lambda i: detection_rate(RADIAL[i], 5),
    "/per_landmark/L14": lambda i: RADIAL[i, 13].mean(),
    "/per_landmark_dx_px/L2": lambda i: MOVED[i, 1, 0].mean(),
    "/per_landmark_dy_px/L2": lambda i: MOVED[i, 1, 1].mean(),
    "/per_category/COVID": lambda i: RADIAL[i][CATEGORIES[i] == "COVID"].mean(),
    "/per_category_landmark/Normal/L3": lambda i: RADIAL[i][CATEGORIES[i] == "Normal", 2].mean(),
}


@pytest.mark.parametrize("name", METRICS)
def test_every_interval_of_a_summary_is_scipys(name, summary):
    theirs = stats.bootstrap(
        (np.arange(40),), METRICS[name], method="BCa", n_resamples=400, vectorized=False, rng=np.random.default_rng(0)
    )
    group, *rest = name[1:].split("/")
    ours = summary["/".join(["", group + "_ci95", *rest])]
    assert summary[name] == pytest.approx(METRICS[name](np.arange(40)), rel=1e-10)
    assert ours == pytest.approx(tuple(theirs.confidence_interval), rel=1e-9, abs=1e-12)


@pytest.fixture(scope="module")
def summary():
    return flat(summarise(PRED, TARGET, CATEGORIES, n_resamples=400))


def test_every_name_of_a_summary_is_among_those_checked(summary):
    groups = {name.split("/")[1] for name in METRICS}
    assert {name.split("/")[1].removesuffix("_ci95") for name in summary} == groups | {"max_px", "mre_mm"}


@pytest.mark.parametrize("number", [144, 957])
def test_ten_thousand_resamples_take_less_than_two_seconds(number):
    target, pred = chests(number)
    taken = []
    for _ in range(2):  # of a busy machine, the better of two; processor time, which other work does not stretch
        start = time.process_time()
        summarise(pred, target, ["a", "b", "c"] * (number // 3))
        taken.append(time.process_time() - start)
    assert min(taken) < 2


def test_intervals_cover_the_mean_of_skewed_errors_as_often_as_they_say():
    rng = np.random.default_rng(0)
    truth = np.exp(1.8 + 0.5**2 / 2)
    inside = 0
    for draw in range(400):
        low, high = bootstrap_interval(rng.lognormal(1.8, 0.5, 96), n_resamples=600, seed=draw)
        inside += low <= truth <= high
    assert 0.91 < inside / 400 < 0.98  # BCa at n = 96 covers about 94 %


def test_stored_errors_rebuild_the_summary(tmp_path):
    target, pred = chests(30, seed=1)
    target[2, 0], target[4, 12] = np.nan, np.nan  # no axis; no contour
    names, categories = [f"picture-{k}" for k in range(30)], ["a", "b", "b"] * 10
    write_errors(error_rows(pred, target, names, categories, "val"), tmp_path / "errors.csv")
    rows = read_errors(tmp_path / "errors.csv", "val")
    expected, rebuilt = (
        flat(x)
        for x in (
            summarise(pred, target, categories, n_resamples=500, mm_per_px=1.6),
            summarise_errors(rows, n_resamples=500, mm_per_px=1.6),
        )
    )
    assert list(rebuilt) == list(expected)
    for name, value in expected.items():
        assert rebuilt[name] == pytest.approx(value, abs=2e-4, nan_ok=True), name
    json.dumps(summarise_errors(rows, n_resamples=50), allow_nan=False)
    widths = lung_widths(pred, 224)[:, 2] - lung_widths(target, 224)[:, 2]
    assert agreement(rows)["width3_px"]["bias"] == pytest.approx(widths.mean(), abs=1e-4)


@pytest.mark.parametrize(
    "record", sorted(path.parent for path in RECORDS.glob("*/results.json")), ids=lambda path: path.name
)
def test_recorded_results_follow_from_recorded_errors(record):
    results = json.loads((record / "results.json").read_text(encoding="utf-8"))
    part = results["part"]
    published = flat(results[part])
    rebuilt = flat(summarise_errors(read_errors(record / "errors.csv", part)))
    shared = [name for name in published if name in rebuilt and not name.startswith("/mre_mm")]
    assert len(shared) > 60
    for name in shared:
        assert rebuilt[name] == pytest.approx(published[name], abs=2e-3), name


def test_errors_of_two_records_compare_as_scipy_does():
    rng = np.random.default_rng(0)
    a = rng.lognormal(1.6, 0.5, 60)
    b = a * rng.normal(1.05, 0.1, 60)
    found = compare_errors(a, b, n_resamples=500)
    theirs = stats.bootstrap((a - b,), np.mean, method="BCa", n_resamples=500, rng=np.random.default_rng(0))
    assert found["difference_px_ci95"] == pytest.approx(tuple(theirs.confidence_interval), rel=1e-10)
    better, worse = ((a - b)[:, None] + (a - b) > 0).sum(), ((a - b)[:, None] + (a - b) < 0).sum()
    signs = np.sign(a - b)
    walsh = (better - worse + signs.sum()) / (
        better + worse + np.abs(signs).sum()
    )  # Wilcoxon's W counts Walsh averages
    assert found["effect_size"] == pytest.approx(walsh)
    assert found["wilcoxon_p"] == pytest.approx(stats.wilcoxon(a, b).pvalue)


def test_spread_over_seeds_finds_the_components_it_was_given():
    rng, found = np.random.default_rng(0), []
    for _ in range(400):
        errors = 6 + 0.7 * rng.normal(size=(6, 1)) + 2 * rng.normal(size=(1, 40)) + 0.8 * rng.normal(size=(6, 40))
        found.append(seed_spread(errors, n_resamples=2))
    for name, truth in (("variance_seed", 0.49), ("variance_picture", 4.0), ("variance_rest", 0.64)):
        values = np.array([result[name] for result in found])
        assert abs(values.mean() - truth) < 4 * values.std() / 20, name
    sd = np.sqrt(0.49 + 0.64 / 40)
    inside = sum(low <= sd <= high for low, high in (result["seed_sd_px_ci95"] for result in found))
    assert stats.binomtest(inside, 400, 0.95).pvalue > 1e-3
    spread = np.std([result["mean_px"] for result in found])
    assert spread == pytest.approx(np.sqrt(np.mean([result["se_px"] ** 2 for result in found])), rel=0.12)


def test_conformal_coverage_lies_within_its_exact_law():
    rng = np.random.default_rng(0)
    for calibration, level in ((99, 0.9), (143, 0.9), (60, 0.95)):
        rank = int(np.ceil((calibration + 1) * level))
        errors = rng.lognormal(1, 1, (calibration + 50, 2000))  # each column an experiment of its own
        radii = conformal_radii(errors[:calibration], level)
        inside = (errors[calibration:] <= radii).sum(0)
        law = stats.betabinom(50, rank, calibration + 1 - rank)
        assert abs(inside.mean() - law.mean()) < 4 * law.std() / 2000**0.5
        low, high = law.ppf([0.005, 0.995])
        assert stats.binomtest(int(((inside < low) | (inside > high)).sum()), 2000, 0.01, "greater").pvalue > 1e-3
        assert level <= law.mean() / 50 < level + 1 / (calibration + 1)


def test_coverage_over_all_points_allows_for_the_points_of_a_picture_going_together():
    rng = np.random.default_rng(0)
    together = rng.uniform(size=(200, 1)) + np.zeros((1, 15))  # a picture's points are all inside or all outside
    found = coverage(together, np.full(15, 0.9), n_resamples=1000)
    low, high = found["coverage_ci95"]
    pictures, points = (
        np.ptp(stats.binomtest(round(found["coverage"] * n), n).proportion_ci(0.95, "exact")) for n in (200, 3000)
    )
    assert high - low == pytest.approx(pictures, rel=0.15) and high - low > 3 * points
    assert found["whole_picture"] == pytest.approx(found["coverage"])


def test_limits_of_agreement_cover_as_stated():
    rng = np.random.default_rng(0)
    results = [bland_altman(row + rng.normal(-2, 6, 60), row) for row in rng.normal(150, 25, (500, 60))]
    for name, truth in (("bias", -2), ("low", -2 - 1.959964 * 6), ("high", -2 + 1.959964 * 6)):
        inside = sum(low <= truth <= high for low, high in (result[f"{name}_ci95"] for result in results))
        assert stats.binomtest(inside, 500, 0.95).pvalue > 1e-3, name
    slope = (6**2 / 2) / (25**2 + 6**2 / 4)  # the mean holds half the difference, so that pure noise has a slope
    inside = sum(low <= slope <= high for low, high in (result["slope_ci95"] for result in results))
    assert stats.binomtest(inside, 500, 0.95).pvalue > 1e-3


@pytest.mark.parametrize("number, block", [(2, 2**21), (40, 100), (40, 1)])
def test_an_interval_is_the_same_however_the_work_is_cut(monkeypatch, number, block):
    values = np.random.default_rng(number).gamma(2.0, 3.0, number)
    monkeypatch.setattr(pixel_error, "_BLOCK", block)
    for statistic in (np.mean, np.median):
        drawn = values[np.random.default_rng(5).integers(number, size=(300, number))]
        left = np.array([np.delete(values, k) for k in range(number)])
        low, high = pixel_error._bca(statistic(drawn, axis=-1)[:, None], statistic(values[None], axis=-1), statistic(left, axis=-1)[:, None], 0.95)
        assert bootstrap_interval(values, statistic, n_resamples=300, seed=5) == (low[0], high[0])


def test_an_interval_takes_bounded_memory():
    values = np.random.default_rng(0).gamma(2.0, 3.0, 2500)
    tracemalloc.start()
    try:
        bootstrap_interval(values, n_resamples=2500)
        assert tracemalloc.get_traced_memory()[1] < 80e6  # all at once it took more than 100 MB, and four times that for twice the pictures
    finally:
        tracemalloc.stop()
