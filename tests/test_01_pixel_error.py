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
    assert np.isclose(contour_error(slid, straight, 224, continued=True), 0)  # on the border, which goes on
    assert np.isclose(contour_error(wider, straight, 224, continued=True), 4)
    assert (contour_error(pred, target, 224, continued=True) <= contour_error(pred, target, 224) + 1e-9).all()
    assert np.allclose(contour_error(torch.tensor(pred), torch.tensor(target), 224, continued=True), contour_error(pred, target, 224, continued=True))
    assert np.allclose(contour_error(torch.tensor(pred), torch.tensor(target), 224), contour_error(pred, target, 224))


# cell 380b26fa
def test_intervals_agree_with_scipy():
    values = np.random.default_rng(3).lognormal(1.8, 0.5, 144)
    for statistic in (np.mean, np.median, lambda x, axis: np.percentile(x, 95, axis=axis)):
        ours = bootstrap_interval(values, statistic, n_resamples=2000, seed=5)
        theirs = stats.bootstrap((values,), statistic, method="BCa", n_resamples=2000, rng=np.random.default_rng(5))
        assert np.allclose(ours, theirs.confidence_interval, rtol=1e-12)  # the same draws, digit for digit
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


# cell 1200a41d
def test_whole_patients_are_drawn():
    chance = np.random.default_rng(4)
    values, one_each = chance.lognormal(1.8, 0.5, 60), [f"p{k:02d}" for k in range(60)]
    assert np.allclose(patient_interval(values, one_each, 2000, 5), bootstrap_interval(values, np.mean, 2000, 5), rtol=1e-12)
    assert patient_interval(values, [""] * 60) == patient_interval(values, one_each)  # nobody knows: each of its own
    owner, own = np.repeat(np.arange(20), 3), chance.normal(6, 2, 20)
    alike = own[owner] + chance.normal(0, 0.3, 60)
    (low, high), (naive_low, naive_high) = patient_interval(alike, owner.astype(str)), bootstrap_interval(alike)
    assert 1.4 < (high - low) / (naive_high - naive_low) < 2  # three alike are worth one: root of three
    uneven = patient_interval([1.0, 1.0, 1.0, 9.0], ["a", "a", "a", "b"], 4000)
    assert uneven == (1, 9)  # a mean over pictures: a patient with three counts three times


def test_patients_that_cannot_be_drawn_are_refused():
    for values, names in (([1.0, 2.0], ["a", "a"]), ([1.0, 2.0], ["a"]), ([1.0, np.nan], ["a", "b"])):
        try:
            patient_interval(values, names)
        except ValueError as problem:
            assert "two or more patients" in str(problem)
        else:
            raise AssertionError("should fail")


# cell 5de6e17d
def test_summary_holds_the_names_of_results_json():
    target, pred = toy_chests(30)
    summary = summarise(pred, target, ["Normal", "COVID"] * 15, n_resamples=200)
    scalars = (
        "mre_px mre_px_12 median_px p95_px along_px across_px across_lateral_px along_signed_px across_signed_px "
        "contour_px nme_axis nme_diagonal auc_ced_15px failure_rate_10px mre_px_299"
    )
    for name in scalars.split():
        low, high = summary[name + "_ci95"]
        assert type(summary[name]) is float and low <= summary[name] <= high, name
    assert list(summary["sdr"]) == list(summary["sdr_ci95"]) == ["3", "5", "8", "10", "15"]
    for name in ("per_landmark", "per_landmark_dx_px", "per_landmark_dy_px"):
        assert list(summary[name]) == list(summary[name + "_ci95"]) == [f"L{k}" for k in range(1, 16)]
    assert list(summary["per_category"]) == list(summary["per_category_landmark"]) == ["COVID", "Normal"]
    assert list(summary["per_category_landmark_ci95"]["COVID"]) == [f"L{k}" for k in range(1, 16)]
    assert summary["mre_mm"] is None and "max_px_ci95" not in summary
    import json

    assert json.loads(json.dumps(summary, allow_nan=False)) == summary  # plain numbers


def test_summary_values_are_the_plain_ones():
    target, pred = toy_chests(30)
    errors, names = radial_errors(pred, target, 224), np.array(["a", "b", "b"] * 10)
    summary = summarise(pred, target, names, n_resamples=200, mm_per_px=1.5)
    signed, moved = along_across(pred, target, 224), displacements(pred, target, 224).mean(0)
    parts = np.abs(signed).mean((0, 1))
    expected = {
        "along_signed_px": signed[..., 0].mean(), "across_signed_px": signed[..., 1].mean(),
        "across_lateral_px": np.abs(signed[:, LATERAL, 1]).mean(),
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
    assert np.allclose([list(summary[f"per_landmark_{d}_px"].values()) for d in ("dx", "dy")], moved.T)
    assert np.allclose(list(summary["per_category"].values()), [errors[names == c].mean() for c in "ab"])
    assert np.allclose([list(summary["per_category_landmark"][c].values()) for c in "ab"], [errors[names == c].mean(0) for c in "ab"])
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


# cell aa64554a
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
    rare = summarise(pred, target, ["a"] * 15 + ["b"] * 4 + ["c"], n_resamples=200)
    assert rare["per_landmark"]["L15"] is None and rare["per_landmark_ci95"]["L15"] is None
    assert np.isclose(rare["per_category"]["c"], errors[19, :14].mean())
    assert rare["per_category_ci95"]["b"] is None and len(rare["per_category_ci95"]["a"]) == 2  # four pictures are too few
    assert rare["per_category_landmark_ci95"]["c"]["L1"] is None and rare["per_category_landmark"]["c"]["L15"] is None


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


# cell c13d4faa
def stored_rows(pred, target, digits=4):
    """Rows as an errors.csv holds them (chapter 12 writes the real ones)."""
    axial, moved = along_across(pred, target, 224), displacements(pred, target, 224)
    radial = radial_errors(pred, target, 224)[..., None]
    table = np.concatenate([radial, moved, axial], -1).round(digits).tolist()
    columns = [f"L{k}_{what}" for k in range(1, 16) for what in ("radial", "dx", "dy", "along", "across")]
    rows = [{"part": "val", "category": "ab"[i % 2], **dict(zip(columns, sum(points, []), strict=True))} for i, points in enumerate(table)]
    whole = {"contour_px": contour_error(pred, target, 224)}
    for word, points in (("true", target), ("pred", pred)):
        whole |= {f"axis_px_{word}": axis_length(points, 224), f"tilt_deg_{word}": axis_tilt(points)}
        whole |= {f"width{k + 1}_px_{word}": lung_widths(points, 224)[:, k] for k in range(5)}
    return [row | {name: round(float(values[i]), digits) for name, values in whole.items()} for i, row in enumerate(rows)]


def numbers(summary):
    """All numbers of a summary, None as NaN, in one list."""
    if isinstance(summary, dict):
        return sum((numbers(value) for value in summary.values()), [])
    return [np.nan if summary is None else summary] if not isinstance(summary, list) else summary


def test_stored_errors_give_the_same_summary():
    target, pred = toy_chests(24)
    target[3, 1], target[5, 12] = np.nan, np.nan  # without an axis; without a contour
    expected = summarise(pred, target, ["a", "b"] * 12, n_resamples=300, mm_per_px=1.2)
    exact = summarise_errors(stored_rows(pred, target, 15), n_resamples=300, mm_per_px=1.2)
    assert list(exact) == list(expected) and np.allclose(numbers(exact), numbers(expected), rtol=1e-9, equal_nan=True)
    rounded = summarise_errors(stored_rows(pred, target), n_resamples=300, mm_per_px=1.2)
    assert np.allclose(numbers(rounded), numbers(expected), atol=1.5e-4, equal_nan=True)
    row = stored_rows(pred, target)[0]
    for rows, word in (([row], "two or more"), ([row, row | {"part": "test"}], "one part"), ([{"part": "val", "L1_radial": 1.0}] * 2, "no column")):
        try:
            summarise_errors(rows)
        except ValueError as problem:
            assert word in str(problem)
        else:
            raise AssertionError(f"should fail and say {word!r}")


# cell edc770db
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


def test_errors_compare_as_their_predictions_do():
    target, pred = toy_chests(30)
    target[:4, 2] = np.nan
    other = target + 1.1 * (pred - target) + 0.004
    points = [radial_errors(p, target, 224) for p in (pred, other)]
    expected = compare(pred, other, target, n_resamples=300)
    assert compare_errors(*points, n_resamples=300) == expected
    pictures = [np.nanmean(errors, 1) for errors in points]
    assert np.isclose(compare_errors(*pictures, n_resamples=300)["difference_px"], expected["difference_px"])
    for bad in (points[1][:29], np.nan_to_num(points[1]), points[1][None]):
        try:
            compare_errors(points[0], bad)
        except ValueError as problem:
            assert "same pictures" in str(problem)
        else:
            raise AssertionError("should fail")


def test_holm():
    assert np.allclose(holm([0.01, 0.02, 0.03, 0.9]), [0.04, 0.06, 0.06, 0.9])
    assert holm([0.7]) == [0.7] and holm([]) == [] and max(holm([0.5, 0.9])) <= 1
    p = np.random.default_rng(0).uniform(0, 0.2, 6)
    adjusted = np.array(holm(p))
    assert (adjusted >= p).all() and (np.argsort(adjusted, kind="stable") == np.argsort(p)).all()


def test_compare_all_adjusts_over_its_rows():
    target, pred = toy_chests(30)
    models = {"plain": pred, "worse": target + 1.2 * (pred - target), "same": pred}
    rows = compare_all(models, "plain", target, n_resamples=200)
    assert [(row["name"], row["against"]) for row in rows] == [("worse", "plain"), ("same", "plain")]
    assert rows[0] == {"name": "worse", "against": "plain", **compare(models["worse"], pred, target, n_resamples=200),
                       "wilcoxon_p_holm": 2 * rows[0]["wilcoxon_p"]}
    assert rows[1]["wilcoxon_p_holm"] == 1
    assert rows == compare_all({name: radial_errors(p, target, 224) for name, p in models.items()}, "plain", n_resamples=200)
    try:
        compare_all(models, "best", target)
    except ValueError as problem:
        assert "plain, worse, same" in str(problem)
    else:
        raise AssertionError("should fail")


# cell 4c0e807c
def toy_seeds(seeds, pictures, sd=(0.2, 2.0, 0.8), seed=0):
    """Errors (S, N) with known spreads over seeds, over pictures, and of the rest."""
    rng = np.random.default_rng(seed)
    return 6 + sum(s * rng.normal(size=form) for s, form in zip(sd, ((seeds, 1), (1, pictures), (seeds, pictures)), strict=True))


# cell 4aea61ee
def test_seed_spread_by_the_book():
    errors = np.array([[1.0, 4, 4], [3, 6, 12]])  # means 3 and 7; 2, 5, 8; 5
    found = seed_spread(errors, n_resamples=200)
    assert found["mean_px"] == 5 and np.isclose(found["seed_sd_px"], 8**0.5)
    assert np.isclose(found["variance_rest"], 6)  # rests 1, 1, -2 and -1, -1, 2; two degrees
    assert np.isclose(found["variance_seed"], 8 - 6 / 3) and np.isclose(found["variance_picture"], 9 - 6 / 2)
    assert np.isclose(found["se_px"] ** 2, 6 / 2 + 6 / 3 + 6 / 6)
    assert np.allclose(found["seed_sd_px_ci95"], np.sqrt(8 / np.array([5.023886, 0.000982069])), rtol=1e-5)  # chi-square tables, 1 degree
    assert found["mean_px_ci95"] == list(bootstrap_interval(errors.mean(0), n_resamples=200))
    assert (found["n_seeds"], found["n_pictures"]) == (2, 3)
    assert seed_spread([[1, 2], [1, 2]], n_resamples=50)["variance_seed"] == 0
    try:
        seed_spread(errors[:1])
    except ValueError as problem:
        assert "two or more seeds" in str(problem)
    else:
        raise AssertionError("should fail")


# cell 75465a4a
def test_conformal_radii_are_the_right_rank():
    errors = np.random.default_rng(0).permuted(np.arange(1.0, 100)[:, None] * [1, 2], axis=0)  # 99 errors: 1 to 99, and twice that
    assert conformal_radii(errors, 0.9).tolist() == [90, 180]  # rank 90 of 99
    assert conformal_radii(errors[:0:-1][:29], 0.9)[0] == np.sort(errors[:0:-1][:29, 0])[26]  # 30 * 0.9 is 27, not 28
    errors[0, 1] = np.nan
    assert conformal_radii(errors, 0.9)[1] == np.sort(errors[1:, 1])[89]  # rank ceil(89.1) of 98
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert np.isinf(conformal_radii(errors[:8], 0.9)).all() and np.isfinite(conformal_radii(errors[1:10], 0.9)).all()
    assert len(said) == 1 and "needs 9 or more labelled pictures; infinite for L1, L2" in str(said[0].message)
    for bad in ((errors[0], 0.9), (errors, 1.0)):
        try:
            conformal_radii(*bad)
        except ValueError as problem:
            assert "between 0 and 1" in str(problem)
        else:
            raise AssertionError("should fail")


def test_coverage_keeps_its_promise_exactly():
    n, m, draws, rng = 59, 40, 3000, np.random.default_rng(0)
    errors = rng.lognormal(1, 1, (n + m, draws))  # each column an experiment of its own: 59 to calibrate, 40 to check
    inside = (errors[n:] <= conformal_radii(errors[:n], 0.9)).sum(0)
    law = stats.betabinom(m, 54, 6)  # rank 54 of 59: the exact law of what is covered
    seen = np.bincount(inside, minlength=m + 1)
    bins = [slice(0, 33), *(slice(k, k + 1) for k in range(33, 40)), slice(40, 41)]
    expected = draws * law.pmf(np.arange(m + 1))
    assert stats.chisquare([seen[b].sum() for b in bins], [expected[b].sum() for b in bins]).pvalue > 1e-3
    assert abs(inside.mean() / m - 54 / 60) < 4 * law.std() / m / draws**0.5


def test_coverage_counts():
    errors = np.array([[1.0, 5.0], [3.0, np.nan], [2.0, 1.0], [np.nan, np.nan]])
    found = coverage(errors, np.array([2.0, 4.0]), n_resamples=50)
    assert np.isclose(found["coverage"], (0.5 + 0 + 1) / 3) and np.isclose(found["whole_picture"], 1 / 3) and found["n"] == 3
    assert np.isclose(found["per_landmark"]["L1"], 2 / 3) and found["per_landmark"]["L2"] == 0.5
    low, high = found["per_landmark_ci95"]["L1"]  # exact: P(2 or more of 3 | low) = P(2 or fewer of 3 | high) = 2.5 %
    assert np.isclose(stats.binom.sf(1, 3, low), 0.025) and np.isclose(stats.binom.cdf(2, 3, high), 0.025)
    own = coverage(errors, np.array([[2.0, 4.0], [3.0, 4.0], [2.0, 4.0], [0, 0]]), n_resamples=50)  # a set of radii for each picture
    assert own["per_landmark"]["L1"] == 1


def test_each_fold_is_covered_by_the_radii_of_the_others():
    errors = np.r_[np.arange(1.0, 20), np.arange(101.0, 120)][:, None]  # a fold of small errors, a fold of large ones
    found = conformal_summary(errors, ["a"] * 19 + ["b"] * 19, n_resamples=50)
    assert found["radius_px"] == {"L1": 117} and found["level"] == 0.9  # rank 36 (35.1, up) of 38
    assert found["coverage"] == found["per_landmark"]["L1"] == 0.5  # all small ones lie below the large radius, and none the other way
    try:
        conformal_summary(errors, ["a"] * 38)
    except ValueError as problem:
        assert "two or more" in str(problem)
    else:
        raise AssertionError("should fail")


# cell 3f91444f
def test_bland_altman_on_its_first_example():
    # peak expiratory flow, l/min, of 17 people by two meters (Bland & Altman, Lancet 1986)
    wright = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
    mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
    found = bland_altman(wright, mini)
    assert round(found["bias"], 1) == -2.1 and round(found["sd"], 1) == 38.8 and found["n"] == 17  # as published
    assert np.allclose(found["bias_ci95"], [-22.0, 17.8], atol=0.1)
    assert np.isclose(found["low"], -2.117647 - 1.959964 * 38.76513, atol=1e-3) and np.isclose(found["low"] + found["high"], 2 * found["bias"])
    error = 38.76513 * np.sqrt(1 / 17 + 1.959964**2 / 32)
    assert np.allclose(found["high_ci95"], found["high"] + 2.119905 * error * np.array([-1, 1]), atol=1e-3)
    fit = np.polyfit(np.add(wright, mini) / 2, np.subtract(wright, mini), 1)
    assert np.isclose(found["slope"], fit[0])


def test_agreement_of_stored_rows():
    target, pred = toy_chests(12)
    target[0, 1] = np.nan
    found = agreement(stored_rows(pred, target))
    assert list(found) == ["axis_px", "tilt_deg", "width1_px", "width2_px", "width3_px", "width4_px", "width5_px"]
    assert found["axis_px"]["n"] == 11 and found["width5_px"]["n"] == 12
    expected = bland_altman(lung_widths(pred, 224)[:, 4], lung_widths(target, 224)[:, 4])
    assert np.allclose(numbers(found["width5_px"]), numbers(expected), atol=2e-4)
    assert agreement(stored_rows(pred, target)[:3])["axis_px"] is None
    try:
        agreement([{"axis_px_true": 1.0}])
    except ValueError as problem:
        assert "errors.csv" in str(problem)
    else:
        raise AssertionError("should fail")


def test_bland_altman_finds_shrinking_and_refuses_too_few():
    true = np.linspace(100, 200, 11)
    assert np.isclose(bland_altman(0.9 * true, true)["slope"], -0.1 / 0.95)
    assert bland_altman([1, 2, np.nan, 4], [2, 1, 3, 3])["n"] == 3
    assert bland_altman([1, 2, 3], [3, 2, 1])["slope"] is None  # all means are 2
    try:
        bland_altman([1, 2, np.nan], [1, 2, 3])
    except ValueError as problem:
        assert "three or more" in str(problem)
    else:
        raise AssertionError("should fail")


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
