"""Tests of nbs/01_pixel_error.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


from landmark_thesis import pixel_error as chapter

# The notebook's cells see every name of its module; so do its tests.
globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})


# cell 890114bd
from landmark_thesis.landmarks import LATERAL, from_shape, pixels_to_fractions, to_shape


def toy_chests(n, seed=0, difficulty=0.35):
    """Labels and predictions (n, 15, 2) with errors of a plausible pattern; some pictures are harder than others."""
    rng = np.random.default_rng(seed)
    mean = np.r_[112, 36, 112, 184, -65, 65, -74, 74, -80, 80, -35, 35, -84, 84] / 224
    shapes = mean + rng.normal(0, 1, (n, 14)) * np.r_[8, 12, 8, 18, [6] * 10] / 224
    errors = rng.normal(0, 1, (n, 14)) * np.r_[2, 5, 2, 8, [3] * 10] / 224
    hard = rng.lognormal(0, difficulty, (n, 1))
    return from_shape(shapes), from_shape(shapes + hard * errors)


# cell cdfea652
def test_displacements_and_radial_errors():
    target = np.array([[[0.25, 0.5], [0.5, 0.5]]])
    pred = target + np.array([[[3, 4], [-6, 8]]]) / 224
    assert np.allclose(displacements(pred, target, 224), [[[3, 4], [-6, 8]]])
    assert np.allclose(radial_errors(pred, target, 224), [[5, 10]])
    assert np.allclose(radial_errors(pred, target, 448), [[10, 20]])  # grows with the unit
    assert np.allclose(displacements(pred, target, (224, 448)), [[[6, 4], [-12, 8]]])  # (height, width)
    assert (radial_errors(target, target, 224) == 0).all()
    assert np.allclose(radial_errors(pred.reshape(1, 4), target, 224), [[5, 10]])  # flat as networks answer


def test_errors_of_tensors(device):
    target, pred = toy_chests(6)
    flat = torch.tensor(pred, dtype=torch.float32, device=device).reshape(6, 30)
    found = radial_errors(flat, torch.tensor(target, dtype=torch.float32, device=device), 224)
    assert found.shape == (6, 15) and found.device.type == device.type
    assert np.allclose(found.cpu(), radial_errors(pred, target, 224), atol=1e-4)
    assert radial_errors(flat.bfloat16(), flat.bfloat16(), 224).dtype == torch.float32


def test_points_that_do_not_match_are_refused():
    target, pred = toy_chests(2)
    for bad in (pred[:, :14], pred[0], np.zeros((2, 29))):
        try:
            radial_errors(bad, target, 224)
        except ValueError as problem:
            assert "different points" in str(problem) or "needed" in str(problem)
        else:
            raise AssertionError("should fail")


# cell 6d66f453
def test_mean_radial_error_counts_labelled_points_then_pictures(device):
    target = np.full((3, 4, 2), 0.5)
    pred = target + np.array([3, 4]) / 224 * np.array([1, 2, 3, 4])[:, None]  # 5, 10, 15, 20 px in each picture
    assert np.isclose(mean_radial_error(pred, target, 224), 12.5)
    target[0, 2:] = np.nan  # picture 0 has two labels (mean 7.5), picture 1 none, picture 2 all
    target[1] = np.nan
    assert np.isclose(mean_radial_error(pred, target, 224), (7.5 + 12.5) / 2)
    tensors = [torch.tensor(p, device=device) for p in (pred, target)]
    assert mean_radial_error(*tensors, 224).shape == () and np.isclose(mean_radial_error(*tensors, 224).item(), 10)
    pred[2, 0] = np.nan  # a prediction that failed is not a missing label
    assert np.isnan(mean_radial_error(pred, target, 224))
    assert np.isnan(mean_radial_error(pred[:1], target[1:2], 224))  # nothing labelled


# cell 3dc5866f
def test_rates_and_areas():
    errors = np.array([[0.0, 3.0], [6.0, np.nan], [9.0, 30.0]])
    assert detection_rate(errors, 6) == 3 / 5  # "within" includes the border; NaN does not count
    values, shares = cumulative_errors(errors)
    assert values.tolist() == [0, 3, 6, 9, 30] and np.allclose(shares, [0.2, 0.4, 0.6, 0.8, 1])
    assert np.isclose(auc_ced(errors, 15), (1 + 12 / 15 + 9 / 15 + 6 / 15 + 0) / 5)
    grid = np.linspace(0, 15, 150_001)
    curve = np.searchsorted(values, grid, side="right") / len(values)
    assert abs(np.trapezoid(curve, grid) / 15 - auc_ced(errors, 15)) < 1e-4
    try:
        detection_rate(np.array([np.nan]), 5)
    except ValueError as problem:
        assert "no finite error" in str(problem)
    else:
        raise AssertionError("should fail")


# cell 9d9423d6
def test_lengths_tilts_widths():
    shape = np.r_[0.5, 0.2, 0.5, 0.7, np.array([-3, 4] * 5) / 100]
    points = from_shape(np.stack([shape, shape + np.r_[0, 0, 0.5, 0, np.zeros(10)]]))  # upright, and L2 moved right
    assert np.allclose(axis_length(points, 200), [100, 100 * np.sqrt(2)])
    assert np.allclose(axis_tilt(points), [0, 45])
    assert np.allclose(lung_widths(points, 200), 14)
    assert np.allclose(axis_tilt(torch.tensor(points)), [0, 45])
    assert lung_widths(points[0], 200).shape == (5,)


# cell a1ead66a
def test_along_and_across():
    target, pred = toy_chests(20)
    parts = along_across(pred, target, 224)
    assert np.allclose((parts**2).sum(-1), radial_errors(pred, target, 224) ** 2)
    upright = from_shape(np.r_[0.5, 0.2, 0.5, 0.8, np.zeros(10)])
    assert np.allclose(along_across(upright + np.array([2, 5]) / 224, upright, 224), [5, 2])
    turned = np.array([[0, -1], [1, 0]])  # by 90 degrees: the frame turns too
    assert np.allclose(along_across(pred @ turned.T, target @ turned.T, 224), parts)
    pair = np.array([[0.2, 0.2], [0.8, 0.2], [0.5, 0.5]])  # any K: name its axis
    assert np.allclose(along_across(pair + [[0.01, 0.02]], pair, 100, axis=(0, 1)), [1, -2])
    assert np.allclose(along_across(torch.tensor(pred), torch.tensor(target), 224), parts)


def test_contour_error():
    target, pred = toy_chests(20)
    assert (contour_error(target, target, 224) == 0).all()
    assert np.allclose(contour_error(pred, target, 224), contour_error(target, pred, 224))  # both ways
    assert (contour_error(pred, target, 224) <= radial_errors(pred, target, 224)[:, LATERAL].mean(1) + 1e-9).all()
    straight = from_shape(np.r_[0.5, 0.2, 0.5, 0.8, [-0.3, 0.3] * 5])  # borders parallel to the axis
    wider = from_shape(np.r_[0.5, 0.2, 0.5, 0.8, [-0.3 - 4 / 224, 0.3 + 4 / 224] * 5])
    assert np.isclose(contour_error(wider, straight, 224), 4)
    slid = straight + np.array([0, 7]) / 224  # all ten slide 7 px: only the end that sticks out counts
    assert np.isclose(contour_error(slid, straight, 224), 4 * 7 / 20)
    assert np.allclose(contour_error(torch.tensor(pred), torch.tensor(target), 224), contour_error(pred, target, 224))


# cell 380b26fa
def test_intervals_agree_with_scipy():
    values = np.random.default_rng(3).lognormal(1.8, 0.5, 144)
    for statistic in (np.mean, np.median):
        ours = bootstrap_interval(values, statistic, n_resamples=10_000)
        theirs = stats.bootstrap((values,), statistic, method="BCa", n_resamples=10_000, rng=np.random.default_rng(9))
        assert np.allclose(ours, theirs.confidence_interval, rtol=0.01)
    assert bootstrap_interval(values) == bootstrap_interval(values)  # the seed is fixed
    assert bootstrap_interval(np.full(9, 5.0)) == (5, 5)
    narrow, wide = bootstrap_interval(values, level=0.5), bootstrap_interval(values)
    assert wide[0] < narrow[0] < values.mean() < narrow[1] < wide[1]


def test_intervals_refuse_what_they_cannot_serve():
    for bad in ([1.0], [1.0, np.nan, 2.0], np.ones((3, 2))):
        try:
            bootstrap_interval(bad)
        except ValueError as problem:
            assert "one per picture" in str(problem)
        else:
            raise AssertionError("should fail")


# cell 2ca9d196
def test_summary_holds_the_names_of_results_json():
    target, pred = toy_chests(30)
    summary = summarise(pred, target, ["Normal", "COVID"] * 15, n_resamples=200)
    scalars = "mre_px mre_px_12 median_px p95_px along_px across_px contour_px nme_axis nme_diagonal auc_ced_15px failure_rate_10px mre_px_299"
    for name in scalars.split():
        low, high = summary[name + "_ci95"]
        assert type(summary[name]) is float and low <= summary[name] <= high, name
    assert list(summary["sdr"]) == list(summary["sdr_ci95"]) == ["3", "5", "8", "10", "15"]
    assert list(summary["per_landmark"]) == [f"L{k}" for k in range(1, 16)]
    assert list(summary["per_category"]) == ["COVID", "Normal"]
    assert summary["mre_mm"] is None and "max_px_ci95" not in summary
    import json

    assert json.loads(json.dumps(summary, allow_nan=False)) == summary  # plain numbers


def test_summary_values_are_the_plain_ones():
    target, pred = toy_chests(30)
    errors, names = radial_errors(pred, target, 224), np.array(["a", "b", "b"] * 10)
    summary = summarise(pred, target, names, n_resamples=200, mm_per_px=1.5)
    parts = np.abs(along_across(pred, target, 224)).mean((0, 1))
    expected = {
        "mre_px": errors.mean(), "mre_px_12": np.delete(errors, CENTRAL, 1).mean(), "mre_mm": 1.5 * errors.mean(),
        "median_px": np.median(errors), "p95_px": np.percentile(errors, 95), "max_px": errors.max(),
        "along_px": parts[0], "across_px": parts[1], "contour_px": contour_error(pred, target, 224).mean(),
        "nme_axis": (errors.mean(1) / axis_length(target, 224)).mean(), "nme_diagonal": errors.mean() / (224 * 2**0.5),
        "auc_ced_15px": auc_ced(errors), "failure_rate_10px": (errors.mean(1) > 10).mean(), "mre_px_299": errors.mean() * 299 / 224,
    }
    for name, value in expected.items():
        assert np.isclose(summary[name], value, rtol=1e-12), name
    assert np.allclose(list(summary["sdr"].values()), [detection_rate(errors, r) for r in (3, 5, 8, 10, 15)])
    assert np.allclose(list(summary["per_landmark"].values()), errors.mean(0))
    assert np.allclose(list(summary["per_category"].values()), [errors[names == c].mean() for c in "ab"])
    low, high = bootstrap_interval(errors.mean(1), n_resamples=200)
    assert np.allclose(summary["mre_px_ci95"], [low, high])  # the same resamples
    assert summarise(torch.tensor(pred).reshape(30, 30), torch.tensor(target), names, n_resamples=200, mm_per_px=1.5) == summary


def test_pooled_quantiles_are_those_of_the_resampled_points():
    rng = np.random.default_rng(4)
    errors, owner = rng.exponential(5, 61), rng.integers(8, size=61)  # pictures with unequal numbers of points
    counts = _counts(_resamples(8, 40, 0))
    assert (counts.sum(1) == 8).all()
    for level in (0, 0.05, 0.5, 0.95, 1):
        found = _pooled_quantile(counts, errors, owner, level)
        assert np.allclose(found, [np.quantile(np.repeat(errors, row[owner]), level) for row in counts], rtol=1e-12)
    narrow = _ranked(counts, np.sort(errors), owner[np.argsort(errors)], 0.5, slice(30, 31))
    assert np.isnan(narrow).any()  # a rank outside the window is reported, and looked for again by the caller


# cell f38c7670
def test_summary_with_missing_labels_and_other_schemes():
    target, pred = toy_chests(20)
    target[:5, 3] = np.nan
    target[7] = np.nan
    errors = radial_errors(pred, target, 224)
    summary = summarise(pred, target, ["a"] * 20, n_resamples=200)
    assert np.isclose(summary["mre_px"], np.nanmean(np.delete(errors, 7, 0), 1).mean())
    assert np.isclose(summary["median_px"], np.nanmedian(errors))
    assert np.isclose(summary["per_landmark"]["L4"], np.nanmean(errors[:, 3]))
    few = summarise(pred[:, :4], target[:, :4], ["a"] * 20, n_resamples=200)  # four points: no axis, no outline
    assert np.isclose(few["median_px"], np.nanmedian(errors[:, :4])) and "contour_px" not in few
    target[:, 14] = np.nan
    assert summarise(pred, target, ["a"] * 20, n_resamples=200)["per_landmark"]["L15"] is None


def test_summary_refuses_failed_predictions():
    target, pred = toy_chests(4)
    failed = pred.copy()
    failed[2, 5, 0] = np.nan
    names = ["a"] * 4
    for arguments, word in (
        ((failed, target, names), "picture number 2"), ((pred, target, names[:3]), "one category each"),
        ((pred[:, :9], target, names), "both must be"), ((pred, target * np.nan, names), "no landmark"),
    ):
        try:
            summarise(*arguments, n_resamples=10)
        except ValueError as problem:
            assert word in str(problem)
        else:
            raise AssertionError(f"should fail and say {word!r}")


# cell f068f625
def test_compare():
    target, pred = toy_chests(40)
    worse = target + 1.5 * (pred - target)
    result = compare(worse, pred, target, n_resamples=500)
    errors = radial_errors(pred, target, 224).mean(1)
    assert list(result) == ["difference_px", "difference_px_ci95", "wilcoxon_p", "effect_size"]
    assert np.isclose(result["difference_px"], 0.5 * errors.mean()) and result["effect_size"] == 1
    assert np.isclose(result["wilcoxon_p"], stats.wilcoxon(0.5 * errors).pvalue, rtol=1e-6)
    back = compare(pred, worse, target, n_resamples=500)
    assert np.isclose(back["difference_px"], -result["difference_px"]) and back["effect_size"] == -1
    same = compare(pred, pred, target, n_resamples=500)
    assert same == {"difference_px": 0, "difference_px_ci95": [0, 0], "wilcoxon_p": 1, "effect_size": 0}


def test_holm():
    assert np.allclose(holm([0.01, 0.02, 0.03, 0.9]), [0.04, 0.06, 0.06, 0.9])
    assert holm([0.7]) == [0.7] and holm([]) == [] and max(holm([0.5, 0.9])) <= 1
    p = np.random.default_rng(0).uniform(0, 0.2, 6)
    adjusted = np.array(holm(p))
    assert (adjusted >= p).all() and (np.argsort(adjusted, kind="stable") == np.argsort(p)).all()


# cell d1744f8a
def onto_axis(shape, target):
    """`shape` (15, 2) moved, turned and scaled so that its axis falls on each target's axis (N, 15, 2)."""
    shape, target = (p[..., 0] + 1j * p[..., 1] for p in (shape, target))  # complex numbers turn and scale by multiplication
    start, end = (target[:, [k]] for k in AXIS)
    placed = start + (end - start) * (shape - shape[AXIS[0]]) / (shape[AXIS[1]] - shape[AXIS[0]])
    return np.stack([placed.real, placed.imag], -1)


def test_rivals_on_the_thesis_split(real_data):
    import csv

    from sklearn.model_selection import train_test_split

    (table,) = real_data.rglob("coordenadas_maestro.csv")
    rows = list(csv.reader(table.open()))
    points = pixels_to_fractions(np.array([row[1:31] for row in rows], dtype=float).reshape(-1, 15, 2), 299)
    categories = np.array([row[31].split("-")[0] for row in rows])
    train, rest = train_test_split(np.arange(957), test_size=0.25, random_state=42, stratify=categories)
    _, test = train_test_split(rest, test_size=0.4, random_state=42, stratify=categories[rest])
    mean_shape = points[train].mean(0)
    everywhere = np.broadcast_to(mean_shape, points[test].shape)
    assert (len(train), len(test)) == (717, 96)
    assert abs(mean_radial_error(everywhere, points[test], 224) - 16.74) < 0.005
    placed = onto_axis(mean_shape, points[test])
    assert abs(mean_radial_error(placed, points[test], 224) - 6.22) < 0.005
    assert abs(mean_radial_error(placed[:, 2:], points[test][:, 2:], 224) - 7.18) < 0.005  # the 13 that were not given
    distances = np.broadcast_to(to_shape(points[train])[:, 4:].mean(0), (96, 10))
    unscaled = from_shape(np.concatenate([points[test][:, AXIS].reshape(96, 4), distances], 1))
    assert abs(mean_radial_error(unscaled, points[test], 224) - 5.30) < 0.005  # a longer chest is not a wider one
