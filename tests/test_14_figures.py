"""Tests of nbs/14_figures.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


from landmark_thesis import figures as chapter

# The notebook's cells see every name of its module; so do its tests.
globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})


# cell c6627ed6
import pytest

from landmark_thesis.evaluate import error_rows, write_errors
from landmark_thesis.landmarks import to_shape
from landmark_thesis.phantom import sample_shapes
from landmark_thesis.pixel_error import summarise


def made_up_predictions(points, categories, seed=0):
    """Predictions (N, 15, 2) with the four faults."""
    rng = np.random.default_rng(seed)
    harder = np.array([1.5 if name == sorted(set(categories))[-1] else 1.0 for name in categories])
    spread = rng.lognormal(0, 0.5, len(points)) * harder
    errors = spread[:, None] * rng.normal(size=(len(points), 14)) * np.r_[1.5, 4, 1.5, 8, [3] * 10] / 224
    pred = from_shape(to_shape(points) + errors)
    pred[:, 3, 0] += 4 / 224
    return pred


# cell ad20e99f
def test_every_word_has_both_languages_with_the_same_places_to_fill():
    import string

    for key, words in WORDS.items():
        assert len(words) == len(LANGUAGES) and all(word.strip() for word in words), key
        fields = [sorted(name for _, name, _, _ in string.Formatter().parse(word) if name) for word in words]
        assert fields[0] == fields[1], key


# cell 190028e3
def test_neighbours_differ_in_more_than_colour_and_the_heat_map_in_lightness():
    assert len({hatch for *_, hatch in _GROUPS}) == len(_GROUPS)
    assert len({str(dashes) for _, dashes, _ in _LINES}) == len({marker for *_, marker in _LINES}) == len(_LINES)
    red, green, blue = matplotlib.colormaps[_HEAT](np.linspace(0, 1, 64))[:, :3].T
    lightness = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    assert (np.diff(lightness) > 0).all()


# cell 4a4bb6e2
def made_up_rows(n=12, part="test", seed=0):
    """Rows as read from an errors.csv, of shapes without pictures."""
    points = sample_shapes(n, seed=seed).astype(np.float64)
    categories = [("clear", "patchy", "diffuse")[i % 3] for i in range(n)]
    names = [f"phantom-{i:06d}" for i in range(n)]
    return error_rows(made_up_predictions(points, categories, seed), points, names, categories, part)


def test_means_run_over_pictures_and_leave_missing_landmarks_out():
    rows = made_up_rows()
    rows[0]["L3_radial"] = float("nan")
    errors = np.array([[row[f"{name}_radial"] for name in LANDMARK_NAMES] for row in rows])
    assert np.array_equal(_picture_means(rows), np.nanmean(errors, axis=1))
    mean, low, high = _with_intervals(_values(rows))
    assert np.allclose(mean, np.nanmean(errors, axis=0), rtol=1e-12) and (low < mean).all() and (mean < high).all()
    assert (low[2], high[2]) == bootstrap_interval(errors[1:, 2])
    assert _mean_and_interval(np.array([3.0]))[0] == 3 and np.isnan(_mean_and_interval(np.array([3.0]))[1])


def test_rows_of_no_part_of_two_or_of_something_else_are_refused():
    for rows, words in (([], "no rows of errors"), (made_up_rows(3) + made_up_rows(3, "val"), r"several parts \(test, val\)")):
        with pytest.raises(DataError, match=words):
            _values(rows)
    with pytest.raises(DataError, match="no column 'L1_radial'"):
        _values([{"part": "test", "image": "a"}])


def test_an_unknown_language_or_size_names_what_there_is():
    with pytest.raises(ValueError, match="'fr': choose one of en, es"):
        landmark_scheme(lang="fr")
    with pytest.raises(ValueError, match="'poster': choose one of page, slides"):
        landmark_scheme(size="poster")


# cell a797a998
def test_the_scheme_names_all_points_where_they_are():
    points = from_shape(SHAPE_MEAN)
    places = {text.get_text(): text.get_position() for text in landmark_scheme().axes[0].texts}
    assert set(LANDMARK_NAMES) < set(places)
    for name, (x, y) in zip(LANDMARK_NAMES, points, strict=True):
        assert np.hypot(places[name][0] - x, places[name][1] - y) < 0.035, name
    assert places["L3"][0] < points[2, 0] < points[3, 0] < places["L4"][0]  # names stand outside the lungs


# cell 44337dc0
def test_the_modes_are_drawn_two_deviations_either_way():
    points = sample_shapes(80, seed=2).astype(np.float64)
    fit = procrustes(points)
    modes = shape_modes(fit)
    figure = canonical_shape(shape_statistics(points, "phantoms"))
    _, middle, first, *_ = figure.axes
    assert "n = 80 (sampled phantoms)" in figure._supxlabel.get_text().replace("\n", " ")
    assert np.allclose(np.array(middle.lines[0].get_data()).T, fit.mean) and len(middle.patches) == 15
    assert np.allclose(shape_statistics(points)["covariance"][4], np.cov(fit.aligned[:, 4].T))
    low = np.concatenate([line.get_xydata() for line in first.lines[:3]])
    order = [*LEFT_CONTOUR, *RIGHT_CONTOUR, AXIS[0], *CENTRAL, AXIS[1]]
    assert np.allclose(low, (fit.mean - 2 * modes.deviations[0] * modes.directions[0])[order])
    assert first.get_title() == f"mode 1: {100 * modes.shares[0]:.0f} %"


# cell 3df73055
def test_the_diagram_states_the_parameters_of_the_model_and_what_is_frozen():
    from landmark_thesis.runs import DENSE, THESIS

    words = [text.get_text() for text in model_diagram(THESIS).axes[0].texts]
    assert {"coordinate\nattention\n25 k", "pooling,\n3 layers\n682 k", "resnet18\n11.2 M"} <= set(words)
    flat = [" ".join(word.split()) for word in words]
    assert flat.count("frozen, in eval mode") == 1 and {"learns, rate 1e-3", "learns, rate 2e-5", "learns, rate 2e-4"} <= set(flat)
    assert model_diagram(THESIS)._supxlabel.get_text().startswith("recipe 'thesis': 11.88 million")
    assert sum("learns" in word for word in (text.get_text() for text in model_diagram(DENSE).axes[0].texts)) == 2  # it has no phase 1


# cell 17b3977d
def test_the_split_is_counted_by_class_with_what_was_left_out():
    parts = {"train": tuple(f"A-{i}" for i in range(6)) + ("B-1", "B-2"), "val": ("A-9",), "test": ("A-10", "B-3")}
    split = Split(parts, seed=42, dropped={"B-7": "left out of train"})
    axes = split_parts(split).axes[0]
    widths = [[bar.get_width() for bar in bars] for bars in axes.containers]
    assert widths == [[6, 1, 1, 0], [2, 0, 1, 1]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["training", "validation", "test", "left out"]
    note = " ".join(split_parts(split)._supxlabel.get_text().split())
    assert split.fingerprint in note and note.endswith("later part: B-7")
    with pytest.raises(DataError, match="no parts"):
        split_parts(Split({}))


# cell 55ba028b
def made_up_history():
    rates = [{"lr_head": 1e-3, "lr_backbone": float("nan")}] * 3 + [{"lr_head": 2e-4, "lr_backbone": 2e-5}] * 4
    phases = [("phase1", k + 1.0) for k in range(3)] + [("phase2", k + 1.0) for k in range(4)]
    errors = [30.0, 20, 15, 16, 12, 10, 11]
    return [{"phase": phase, "epoch": epoch, "train_error_px": error + 2, "val_error_px": error, **rate}
            for (phase, epoch), error, rate in zip(phases, errors, rates, strict=True)]


def test_curves_show_the_history_the_chosen_epoch_and_the_phase_change():
    history = made_up_history()
    from landmark_thesis.runs import RECIPES

    errors, rates = learning_curves(history, counts={"train": 45, "val": 9}, chosen=("phase2", 3), recipe=RECIPES["thesis"]).axes
    lines = {line.get_label(): line for line in errors.lines}
    assert list(lines["validation (n = 9)"].get_ydata()) == [30, 20, 15, 16, 12, 10, 11]
    assert list(lines["training, under dropout and augmentation (n = 45)"].get_ydata()) == [32, 22, 17, 18, 14, 12, 13]
    star = lines["kept: phase 2, epoch 3, 10.00 px@224"]
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([6], [10])
    assert [line.get_xdata()[0] for line in errors.lines if line.get_linestyle() == ":"] == [3.5]
    assert [text.get_text() for text in errors.texts] == ["phase 1", "phase 2"]
    drawn = {line.get_label(): list(line.get_ydata()) for line in rates.lines}
    assert drawn["head"] == [1e-3] * 3 + [2e-4] * 4 and drawn["backbone"][3:] == [2e-5] * 4


def test_curves_of_a_run_without_validation_or_epochs():
    history = [{key: value for key, value in row.items() if key != "val_error_px"} for row in made_up_history()]
    labels = [line.get_label() for line in learning_curves(history, chosen=("phase2", 4)).axes[0].lines]
    assert "kept: phase 2, epoch 4" in labels and not any("validation" in label for label in labels)
    with pytest.raises(DataError, match="holds no epochs"):
        learning_curves([])
    with pytest.raises(DataError, match="no epoch 9 of phase2"):
        learning_curves(made_up_history(), chosen=("phase2", 9))


# cell 864f61cd
def test_bars_are_the_means_of_errors_csv_and_whiskers_those_of_results_json(tmp_path):
    points = sample_shapes(20, seed=1).astype(np.float64)
    pred, names = made_up_predictions(points, ["a"] * 20), [f"p{i}" for i in range(20)]
    write_errors(error_rows(pred, points, names, ["a"] * 20, "val"), tmp_path / "errors.csv")
    rows = read_errors(tmp_path / "errors.csv", "val")
    axes = landmark_errors(rows).axes[0]
    bars = sorted((bar for group in axes.containers[:3] for bar in group), key=lambda bar: bar.get_x())
    heights = [bar.get_height() for bar in bars]
    assert heights == [np.mean([row[f"{name}_radial"] for row in rows]) for name in LANDMARK_NAMES]
    stated = summarise(pred, points, ["a"] * 20)
    whiskers = axes.containers[3].lines[2][0].get_segments()
    for name, whisker in zip(LANDMARK_NAMES, whiskers, strict=True):
        assert np.allclose(whisker[:, 1], stated["per_landmark_ci95"][name], atol=0.01)
    assert "n = 20 pictures, validation" in landmark_errors(rows)._supxlabel.get_text()


# cell 07bd3bd9
def test_discs_and_rings_have_the_size_of_the_errors():
    rows, shape = made_up_rows(), from_shape(SHAPE_MEAN)
    circles = landmark_map(rows, shape).axes[0].patches
    errors = _values(rows)
    assert np.allclose([circle.radius for circle in circles[::2]], errors.mean(0))
    assert np.allclose([circle.radius for circle in circles[1::2]], np.percentile(errors, 95, axis=0))
    assert np.allclose([circle.center for circle in circles[::2]], 224 * shape)


# cell a86c32d1
def test_the_histogram_counts_every_point_once():
    rows = made_up_rows()
    rows[0]["L1_radial"] = float("nan")
    axes = error_histogram(rows).axes[0]
    counts = [bar.get_height() for bar in axes.patches]
    assert sum(counts) == 12 * 15 - 1
    text = {text.get_text() for text in axes.get_legend().get_texts()}
    errors = _values(rows)
    assert f"median: {np.nanmedian(errors):.2f}" in text and f"maximum: {np.nanmax(errors):.2f}" in text


# cell 1837dfa9
def test_the_curves_pass_through_the_detection_rates():
    rows = made_up_rows()
    axes = error_distribution(rows).axes[0]
    errors = _values(rows)
    entries = [text.get_text() for text in axes.get_legend().get_texts()]
    rates = [100 * np.mean(errors <= radius) for radius in (3, 5, 10)]
    assert entries[0] == "all (n = 12): " + " / ".join(f"{rate:.0f}" for rate in rates)
    assert [entry.split(" ")[0] for entry in entries[1:]] == ["clear", "diffuse", "patchy"]
    steps = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    for line, members in zip(steps, [rows, *([r for r in rows if r["category"] == c] for c in ("clear", "diffuse", "patchy"))], strict=True):
        x, y = line.get_data()
        assert np.isclose(y[np.searchsorted(x, 5, side="right") - 1], 100 * np.mean(_values(members) <= 5))


# cell 9e19b0e3
def test_boxes_are_quartiles_and_curves_state_the_share_within_5_px():
    rows = made_up_rows(40)
    radial = _values(rows)
    axes = landmark_distribution(rows).axes[0]
    medians = [line.get_ydata()[0] for line in axes.lines if len(line.get_ydata()) == 2 and line.get_ydata()[0] == line.get_ydata()[1]]
    assert set(np.median(radial, axis=0)) <= set(medians)
    panels = landmark_curves(rows).axes
    assert len(panels) == 15
    texts = [panel.get_title() for panel in panels]
    assert [text.split(":")[0] for text in texts] == "L12 L3 L5 L7 L14 L1 L9 L10 L11 L2 L13 L4 L6 L8 L15".split()
    share = (radial[:, 1] <= 5).mean()
    low, high = binomtest(int(40 * share), 40).proportion_ci()
    assert texts[9] == f"L2: {100 * share:.0f}\n[{100 * low:.0f}, {100 * high:.0f}]"


# cell a8c24313
def test_every_picture_is_a_dot_beside_its_class_mean():
    rows = made_up_rows()
    axes = class_errors(rows).axes[0]
    dots = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 4]
    for name, drawn in zip(("clear", "diffuse", "patchy"), dots, strict=True):
        assert np.array_equal(drawn, _picture_means([row for row in rows if row["category"] == name]))
    means = [container.lines[0].get_ydata()[0] for container in axes.containers]
    assert np.allclose(means, [values.mean() for values in dots])


# cell d6a87cb2
def test_the_heat_map_holds_the_mean_of_each_class_and_landmark():
    rows = made_up_rows()
    figure = class_landmark_map(rows)
    shown = np.asarray(figure.axes[0].images[0].get_array())
    wanted = [[np.mean([r[f"{k}_radial"] for r in rows if r["category"] == c]) for k in LANDMARK_NAMES] for c in ("clear", "diffuse", "patchy")]
    assert shown.shape == (3, 15) and np.allclose(shown, wanted)
    assert [text.get_text() for text in figure.axes[0].texts][0] == f"{wanted[0][0]:.1f}"


# cell ed099250
def test_bars_are_mean_sizes_and_diamonds_signed_means():
    rows = made_up_rows()
    axes = axis_errors(rows).axes[0]
    along, across = ([bar.get_height() for bar in axes.containers[i]] for i in (0, 2))
    assert np.allclose(along, np.abs(_values(rows, "along")).mean(0)) and np.allclose(across, np.abs(_values(rows, "across")).mean(0))
    diamonds = [line.get_ydata() for line in axes.lines if line.get_marker() == "D"]
    assert np.allclose(diamonds, [_values(rows, what).mean(0) for what in ("along", "across")])


# cell 096ddfba
def test_arrows_are_the_bias_and_ellipses_hold_95_percent():
    rng = np.random.default_rng(0)
    errors = rng.multivariate_normal([0, 0], [[4, 3], [3, 9]], 4000)
    ellipse = _ellipse(np.zeros(2), np.cov(errors.T))
    inside = (ellipse.get_patch_transform().inverted().transform(errors) ** 2).sum(1) <= 1
    assert abs(inside.mean() - 0.95) < 0.01
    assert _hotelling(errors[:50] + [5, 0]) < 1e-6 and np.isclose(_hotelling(errors - errors.mean(0)), 1)
    assert _hotelling(errors[:3]) == 1  # too few to say
    figure = landmark_bias(made_up_rows(60), from_shape(SHAPE_MEAN))
    filled = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrow) and patch.get_facecolor()[:3] != (1, 1, 1)]
    assert len(filled) == 1  # L4 alone


# cell 58b994fe
def test_agreement_is_that_of_the_stored_measurements():
    rows = made_up_rows(30)
    told = agreement(rows)["axis_px"]
    axes = agreement_plots(rows).axes[0]
    points = axes.lines[0].get_xydata()
    assert np.allclose(points[:, 1], [row["axis_px_pred"] - row["axis_px_true"] for row in rows])
    assert [line.get_ydata()[0] for line in axes.lines[1:4]] == [told["bias"], told["low"], told["high"]]
    assert f"bias {told['bias']:.1f} [" in axes.get_title()
    assert len(agreement_plots(rows[:2]).axes[0].lines) == 2  # two pictures have no limits: points and the zero line


def test_fifths_hold_every_picture_once_and_rho_is_spearmans():
    rows = made_up_rows(30)
    axes = anatomy_errors(rows).axes[1]
    squares = [container.lines[0].get_xydata()[0] for container in axes.containers]
    assert len(squares) == 5 and np.isclose(np.mean([y for _, y in squares]), _picture_means(rows).mean())
    rho = spearmanr([row["axis_px_true"] for row in rows], _picture_means(rows)).statistic
    assert axes.get_title().startswith(f"rho {rho:.2f}\n[")
    assert anatomy_errors(rows[:4]).axes[1].get_title() == "rho -"


def test_exposure_has_a_panel_where_every_picture_notes_it():
    rows = made_up_rows(30)
    errors = _picture_means(rows)
    noted = [row | {"grey_mean": 100 - 2 * error} for row, error in zip(rows, errors, strict=True)]
    assert [len(anatomy_errors(some).axes) for some in (rows, noted, [*noted[:-1], rows[-1]])] == [4, 5, 4]
    assert anatomy_errors(noted).axes[4].get_title().startswith("rho -1.00\n[")


def test_exposure_of_the_files_is_set_against_the_errors_of_the_same_pictures():
    rows = made_up_rows(30)
    exposure = {row["image"]: {"grey_mean": 100 - 2 * error, "grey_sd": 7.0} for row, error in zip(rows, _picture_means(rows), strict=True)}
    _, first, second = exposure_errors(rows[::-1], exposure).axes
    assert first.get_title().startswith("rho -1.00\n[") and second.get_title() == "rho -"
    with pytest.raises(DataError, match="1 of 30 pictures .* figures/exposure.py"):
        exposure_errors(rows, dict(list(exposure.items())[1:]))


def made_up_exposure(rows):
    return {row["image"]: {"grey_mean": 90.0 + 7 * k, "grey_sd": 40.0 + (k * 5) % 11} for k, row in enumerate(rows)}


# cell 311aebc2
def test_coverage_is_drawn_as_stored():
    from landmark_thesis.pixel_error import conformal_summary

    told = conformal_summary(np.abs(np.random.default_rng(0).normal(size=(60, 15))), np.arange(60) % 3, n_resamples=200)
    top, bottom = conformal_coverage(told).axes
    heights = {round(bar.get_x() + 0.4): bar.get_height() for bar in top.patches}
    assert [heights[k] for k in range(15)] == list(told["radius_px"].values())
    assert np.allclose(bottom.containers[0].lines[0].get_ydata(), [100 * value for value in told["per_landmark"].values()])
    few = conformal_summary(np.abs(np.random.default_rng(0).normal(size=(8, 15))), np.arange(8) % 2, n_resamples=200)
    few["per_landmark"]["L3"] = few["per_landmark_ci95"]["L3"] = few["whole_picture"] = None  # as of a landmark that has no label
    top, bottom = conformal_coverage(few).axes
    assert set(few["radius_px"].values()) == {None} and np.isnan([bar.get_height() for bar in top.patches]).all()
    assert np.flatnonzero(np.isnan(bottom.containers[0].lines[0].get_ydata())).tolist() == [2] and "inside: - %" in top.figure._supxlabel.get_text().replace("\n", " ")
    with pytest.raises(DataError, match="not the conformal part"):
        conformal_coverage({"level": 0.9})


# cell 868560c4
def test_a_result_takes_its_number_interval_and_kind_from_the_file():
    rows = made_up_rows()
    ours = result_of_errors(rows, "ours")
    assert ours.value == _picture_means(rows).mean() and ours.interval == bootstrap_interval(_picture_means(rows))
    stored = {"part": "test", "models": [{"run": "a"}, {"run": "b"}], "test": {"mre_px": 6.5, "mre_px_ci95": [6.0, 7.1]}, "contaminated": False, "unverified": []}
    assert result_of_scores(stored) == ("a + b", 6.5, (6.0, 7.1), "ours")
    assert result_of_scores({**stored, "selected_on_part": True}).kind == "selected"
    assert result_of_scores({**stored, "selected_on_part": True, "contaminated": True}, "x") == ("x", 6.5, (6.0, 7.1), "contaminated")
    assert result_of_scores({**stored, "unverified": ["a"]}).kind == "unverified"
    with pytest.raises(DataError, match="not the content of a results.json"):
        result_of_scores({"part": "test"})


def test_only_one_published_number_is_clean():
    kinds = [result.kind for result in published_results("es")]
    assert kinds.count("published") == 1 and kinds.count("contaminated") == 3
    assert all(result.interval is None for result in published_results())


# cell a3d17580
def test_bars_stand_from_zero_in_the_given_order_and_the_spoilt_are_hatched_and_named():
    results = [("a", 7.0, (6.0, 8.5), "ours"), ("b", 3.6, None, "contaminated")]
    figure = comparison(results, floor=1.34)
    axes = figure.axes[0]
    bars = axes.patches
    assert [(bar.get_x(), bar.get_width()) for bar in bars] == [(0, 7.0), (0, 3.6)] and axes.yaxis_inverted()
    assert bars[0].get_hatch() in (None, "") and bars[1].get_hatch() == "xx"
    assert [text.get_text() for text in axes.texts] == ["7.00 [6.00, 8.50]", "3.60 CONTAMINATED"]
    assert "no whiskers: no interval is stored" in figure._supxlabel.get_text().replace("\n", " ")
    with pytest.raises(DataError, match="nothing to compare"):
        comparison([])
    with pytest.raises(ValueError, match="unknown kind good: choose one of ours, baseline"):
        comparison([("a", 1.0, None, "good")])


# cell 721180b5
def made_up_test():
    seeds = {"n_seeds": 3, "mean_px": 4.95, "mean_px_ci95": [4.4, 5.7]}
    return {"part": "test", "n": 96, "contaminated": False, "runs": [{"recipe": "dense"}], "seeds": seeds, "baselines": {"mean_shape_px": 16.7, "label_rounding_px": 1.34},
            "test_ledger": {"opened": 1, "known_before": 5}}


def test_the_claim_stands_beside_ours_and_what_labels_differ_by():
    figure = claim_and_limit(made_up_test(), made_up_limits())
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [16.7, 6.75, 4.04, 3.71, 3.61, 4.95, 6.4, 7.2]
    assert [bar.get_hatch() for bar in axes.patches].count("xx") == 3 and "opened 1 times by recorded runs and 5 times before" in figure._supxlabel.get_text().replace("\n", " ")
    told = claim_and_limit(made_up_test(), opened=2, ruler_interval=(14.0, 19.0))
    assert "opened 2 times by recorded runs" in told._supxlabel.get_text().replace("\n", " ") and told.axes[0].texts[0].get_text() == "16.70 [14.00, 19.00]"
    spoilt = claim_and_limit(made_up_test() | {"contaminated": True}).axes[0].patches
    assert [bar.get_hatch() for bar in spoilt] == [".", "", "xx", "xx", "xx", "xx"]
    with pytest.raises(DataError, match="figures/final.py"):
        claim_and_limit({"seeds": {}})


# cell b2d78438
def made_up_outside():
    def one(model, value):
        return {"model": model, "border_px": value, "border_px_ci95": [0.9 * value, 1.1 * value]}

    return {"dataset": "JSRT", "n": 246, "mm_per_px": 1.6, "contaminated": False, "results": [one("mean shape", 9.3), one("dense-0", 1.5)]}


def test_distances_to_the_border_are_drawn_as_measured():
    figure = outside_border(made_up_outside(), lang="es", decimal_comma=True)
    assert [bar.get_width() for bar in figure.axes[0].patches] == [9.3, 1.5] and "son aquí 1,6 mm" in figure._supxlabel.get_text().replace("\n", " ")
    with pytest.raises(DataError, match="figures/outside.py"):
        outside_border({"results": []})


# cell be4cac30
def test_curves_of_recipes_are_of_the_same_pictures_and_the_spoilt_carry_a_star():
    first, second = made_up_rows(12), made_up_rows(12, seed=1)
    first = [{**row, "image": other["image"]} for row, other in zip(first, second, strict=True)]
    figure = recipe_curves({"a": first, "b": second}, stamps=[None, "selected"])
    labels = [line.get_label() for line in figure.axes[0].lines if ":" in line.get_label()]
    assert [label.split(":")[0] for label in labels] == ["a", "b *"] and "* SELECTED" in figure._supxlabel.get_text()
    assert labels[0].endswith(" / ".join(f"{100 * (_values(first) <= radius).mean():.0f}" for radius in (3, 5, 10)))
    with pytest.raises(DataError, match="2 sets of pictures"):
        recipe_curves({"a": first, "b": second[:5]})


# cell aab61be3
def made_up_ledger(n=60, seed=0):
    """Columns as of figures/research/errors.csv: three seeds of the reference, a better and a worse variant, one that does nothing."""
    rng = np.random.default_rng(seed)
    hard = rng.lognormal(1.5, 0.5, n)
    worth = {"dense/0": 0, "dense/1": 0.03, "dense/2": -0.03, "larger/0": -0.6, "larger/1": -0.5, "half/0": 0.7, "other/0": 0.02}
    noise = {name: hard + value + rng.normal(0, 0.5, n) for name, value in worth.items()}
    return [{"image": f"p{i}", **{name: f"{values[i]:.3f}" for name, values in noise.items()}} for i in range(n)]


def test_differences_are_paired_over_shared_seeds_and_sorted():
    table = made_up_ledger()
    found = paired_differences(table)
    assert [(one.label, one.seeds) for one in found] == [("larger", 2), ("other", 1), ("half", 1)]
    column = {name: np.array([float(row[name]) for row in table]) for name in table[0] if name != "image"}
    assert np.isclose(found[0].value, (column["larger/0"] + column["larger/1"] - column["dense/0"] - column["dense/1"]).mean() / 2)
    assert found[2].interval == bootstrap_interval(column["half/0"] - column["dense/0"])
    means = [column[f"dense/{seed}"].mean() for seed in range(3)]
    assert np.isclose(seed_luck(table), 4.302653 * np.sqrt(2) * np.std(means, ddof=1), rtol=1e-6)
    assert seed_luck([{"image": "a", "dense/0": "1"}]) is None
    with pytest.raises(DataError, match="no runs of 'thesis'"):
        paired_differences(table, "thesis")
    with pytest.raises(DataError, match="share no seed"):
        paired_differences([{"image": "a", "dense/0": "1", "x/1": "2"}, {"image": "b", "dense/0": "1", "x/1": "2"}])


def test_the_forest_fills_what_leaves_zero_out():
    axes = ablation_forest(paired_differences(made_up_ledger()), 60, luck=0.2).axes[1]
    marks = [container.lines[0] for container in axes.containers]
    assert [mark.get_marker() for mark in marks] == ["o", "D", "s"] and marks[1].get_color() == "white"
    with pytest.raises(DataError, match="no differences"):
        ablation_forest([], 60)


# cell 9f8cddeb
def made_up_limits():
    return {"n": 957, "cells": 64, "rounding_px": 1.34, "scheme_px": 0.92, "scheme_px_ci95": [0.9, 0.94],
            "twice": [{"pair": ["COVID-192", "COVID-334"], "mre_px": 6.4}, {"pair": ["COVID-57", "COVID-1054"], "mre_px": 7.2}]}


def test_limits_are_circles_and_bars_of_the_same_size():
    grid, bars = error_limits(made_up_limits(), [Result("ours", 5.26, (4.8, 5.9))]).axes
    assert [circle.radius for circle in grid.patches] == [1.34, 0.92, 6.4, 7.2, 5.26] == [bar.get_width() for bar in bars.patches]
    lines = sorted({line.get_xdata()[0] for line in grid.lines if line.get_xdata()[0] == line.get_xdata()[1]})
    assert np.allclose(np.diff(lines), 3.5)
    with pytest.raises(DataError, match="no 'twice'"):
        error_limits({key: value for key, value in made_up_limits().items() if key != "twice"})


# cell e916c3f1
def made_up_arms():
    def results(values):
        return [Result("", value, (value - 0.5, value + 0.6)) for value in values]

    return {"leaky": results([5.1, 4.2, 3.8, 3.6]), "clean": results([6.9, 6.8, 6.7, 6.7])}


def test_both_arms_are_drawn_as_they_are():
    axes = leakage_gap(made_up_arms(), 96).axes[0]
    drawn = {container.get_label(): container.lines[0].get_ydata().tolist() for container in axes.containers}
    assert drawn == {"one split for all": [6.9, 6.8, 6.7, 6.7], "one split for each member: CONTAMINATED": [5.1, 4.2, 3.8, 3.6]}
    with pytest.raises(DataError, match="no results for clean"):
        leakage_gap({"leaky": made_up_arms()["leaky"]}, 96)


# cell 2bebefd7
def test_ensembles_are_drawn_with_and_without_the_mirror():
    arms = {"plain": [Result("", 6.0, (5.5, 6.6)), Result("", 5.8, (5.3, 6.4))], "mirrored": [Result("", 5.7, (5.2, 6.3))]}
    axes = ensemble_gain(arms, 40).axes[0]
    assert [list(container.lines[0].get_ydata()) for container in axes.containers] == [[6.0, 5.8], [5.7]]
    with pytest.raises(DataError, match="no results for plain"):
        ensemble_gain({"mirrored": arms["mirrored"]}, 40)


# cell 05f63dcd
def made_up_drift(n=200):
    row = np.arange(n)
    true = {"L1": np.zeros(n), "L2": 8 * np.sin(row / 30)}
    noise = np.random.default_rng(0).normal(0, 3, (2, n))
    points = {"row": row.tolist(), **{f"{name}_along": (true[name] + noise[k]).tolist() for k, name in enumerate(true)}}
    ends = (("", 0), ("_low", -1), ("_high", 1))
    return {"points": points, "curve": {"row": row.tolist(), **{f"{name}_along{end}": (true[name] + by).tolist() for name in true for end, by in ends}}, "p_value": 0.0005}


def test_the_drift_is_drawn_as_measured():
    drift = made_up_drift()
    axes = annotator_drift(drift).axes[0]
    drawn = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in axes.lines}
    assert drawn["L2, running mean"] == drift["curve"]["L2_along"] and drawn["L2, one picture"] == drift["points"]["L2_along"]
    with pytest.raises(DataError, match="no 'curve'"):
        annotator_drift({"points": drift["points"]})


# cell 965beaad
def made_up_crowd():
    pictures = {"tenth": [1.0, 7.0, 3.5], "ninetieth": [3.0, 9.5, 4.0], "together": [2.0, 8.0, 3.8], "hindsight": [0.5, 6.0, 3.0]}
    return {"pictures": pictures, "together": {"mre_px": 4.6}, "hindsight": {"mre_px": 19 / 6}, "runs": [{}, {}], "n_variants": 2, "n": 3}


def test_pictures_stand_in_the_order_of_their_error_and_the_means_are_named():
    band, together, nearest = (axes := many_models(made_up_crowd(), lang="es", decimal_comma=True).axes[0]).collections[0], *axes.lines
    assert together.get_ydata().tolist() == [2, 3.8, 8] and nearest.get_ydata().tolist() == [0.5, 3, 6]
    assert band.get_paths()[0].get_extents().get_points().tolist() == [[1, 1], [3, 9.5]]
    assert [line.get_label() for line in axes.lines] == ["respuesta media de todos: 4,60", "el más cercano a la etiqueta: 3,17"]
    with pytest.raises(DataError, match="no 'pictures'"):
        many_models({"n": 3})


# cell a1fd6cd7
def made_up_curve():
    laws = {"mre_px": (5.0, 300.0, 1.0), "along_px": (4.0, 200.0, 1.0), "across_lateral_px": (2.0, 40.0, 0.9)}
    results = [{"n_train": n} | {kind: limit + factor * n**-exponent for kind, (limit, factor, exponent) in laws.items()} for n in (100, 240, 477, 478, 716)]
    limits = {kind: {"limit": limit, "limit_ci95": [limit - 0.4, limit + 0.5], "factor": factor, "exponent": exponent} for kind, (limit, factor, exponent) in laws.items()}
    return {"results": results, "limits": limits, "n_val": 144}


def test_the_fitted_law_runs_through_the_errors_and_names_its_limit():
    axes = learning_curve(made_up_curve()).axes[0]
    law, errors = axes.lines[:2]
    assert np.allclose(np.interp(np.log(errors.get_xdata()), np.log(law.get_xdata()), law.get_ydata()), errors.get_ydata(), rtol=0.01)
    assert law.get_label() == "radial, to 5.00, at most 5.50"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["100", "240", "477", "716"]  # 477 stands for 478, too
    with pytest.raises(DataError, match="no 'limits'"):
        learning_curve({"results": made_up_curve()["results"]})


# cell 734da305
def test_examples_are_chosen_by_rank_and_drawn_where_the_rows_say():
    rows = made_up_rows(5)
    order = [row["image"] for row in sorted(rows, key=lambda row: _picture_means([row])[0])]
    assert [row["image"] for row in example_rows(rows).values()] == [order[0], order[2], order[4]]
    pictures = phantom_data(5, size=32)
    figure = prediction_examples(rows, pictures)
    labels, crosses = (next(line for line in figure.axes[2].lines if line.get_marker() == marker).get_xydata() for marker in "ox")
    worst = example_rows(rows)["worst"]
    assert np.allclose(labels, pictures.subset([worst["image"]]).points[0])
    assert np.allclose(np.hypot(*(224 * (crosses - labels)).T), [worst[f"{name}_radial"] for name in LANDMARK_NAMES], atol=1e-3)
    with pytest.raises(DataError, match="not in this data set: phantom-"):
        prediction_examples(rows, phantom_data(2, start=20, size=32))


# cell d442a4ec
def test_cells_cannot_break_a_table():
    assert write_table(["a", "b"], [["x|y", "1"]]) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n"
    assert list(csv.reader(io.StringIO(write_table(["a", "b"], [['x;"', "1,5"]], "csv", delimiter=";")), delimiter=";")) == [["a", "b"], ['x;"', "1,5"]]
    latex = write_table(["run_1", "50 %"], [["[1, 2]", "a&b"]], "latex")
    assert r"run\_1 & 50 \% \\" in latex and r"{[1, 2]} & a\&b \\" in latex
    assert "%\n\\begin{tabular}{lr}\n\\toprule\n" in latex and latex.endswith("\\bottomrule\n\\end{tabular}}%\n")
    assert r"\begin{tabular}[t]{@{}l@{}}right lung border\\(image\_right)\end{tabular} & 1 \\" in write_table(["a", "b"], [["right lung border (image_right)", "1"]], "latex")
    with pytest.raises(ValueError, match="'html': choose one of markdown, csv, latex"):
        write_table(["a"], [], "html")


# cell 45bd8f74
def test_the_table_states_the_stored_errors():
    rows = made_up_rows()
    table = list(csv.DictReader(io.StringIO(landmark_table(rows, "csv"))))
    errors = _values(rows)
    assert [line["landmark"] for line in table] == [*LANDMARK_NAMES, "all points"]
    assert [line["mean radial error (px@224)"] for line in table[:15]] == [f"{value:.2f}" for value in errors.mean(0)]
    assert table[1]["along"] == f"{np.abs(_values(rows, 'along'))[:, 1].mean():.2f}" and table[15]["n"] == "12"
    low, high = bootstrap_interval(errors[:, 0])
    assert (table[0]["95 % low"], table[0]["95 % high"]) == (f"{low:.2f}", f"{high:.2f}")
    spanish = landmark_table(rows, "csv", stamp="contaminated", lang="es", decimal_comma=True).splitlines()
    assert len(spanish) == 17 and all(line.endswith(";CONTAMINADO") for line in spanish[1:]) and "." not in spanish[1]


# cell 5a0e2943
def test_classes_and_changes_have_tables():
    rows = made_up_rows(12)
    lines = class_table(rows, "csv", stamp="selected").splitlines()
    assert [line.split(",")[0] for line in lines] == ["class", "clear", "diffuse", "patchy", "all"] and all("SELECTED" in line for line in lines[1:])
    assert lines[-1].split(",")[2:4] == ["12", f"{_picture_means(rows).mean():.2f}"]
    change = Difference("half", -0.123, (-0.2, -0.046), 3)
    assert ablation_table([change]).splitlines()[2] == "| half | 3 | -0.12 [-0.20, -0.05] |"
    assert "half & 3 & $-$0,12 [$-$0,20; $-$0,05]" in ablation_table([change], "latex", lang="es", decimal_comma=True)


# cell 941914f8
def test_a_results_table_says_what_spoils_a_line():
    metrics = {"mre_px": 6.5, "mre_px_ci95": [6.0, 7.1], "median_px": 5.5, "p95_px": 14.0, "sdr": {"3": 0.2, "5": 0.456, "8": 0.7, "10": 0.8, "15": 0.95}}
    clean = {"part": "test", "n_test": 96, "models": [{"run": "a"}], "test": metrics, "contaminated": False, "unverified": [], "selected_on_part": False}
    lines = results_table([clean, {**clean, "contaminated": True}], labels=["a", "b"]).splitlines()
    assert lines[2] == "| a | test | 96 | 6.50 [6.00, 7.10] | 5.50 | 14.00 | 20 | 46 | 80 |  |"
    assert lines[3] == "| b | test | 96 | 6.50 [6.00, 7.10] | 5.50 | 14.00 | 20 | 46 | 80 | CONTAMINATED |"
    assert "6,50 [6,00; 7,10]" in results_table([clean], lang="es", decimal_comma=True)


# cell d4971e1d
def test_a_figure_knows_its_inputs_and_notices_when_they_move_on(tmp_path):
    record = tmp_path / "año 1"
    write_errors(made_up_rows(6), record / "errors.csv")
    figure = landmark_errors(read_errors(record / "errors.csv"))
    for path in save_figure(figure, tmp_path / "a", FORMATS, dpi=50, inputs=[record / "errors.csv"]):
        digest = hashlib.sha256((record / "errors.csv").read_bytes()).hexdigest()[:16]
        assert drawn_from(path) == {"año 1/errors.csv": digest} and outdated_inputs(path, tmp_path) == []
    write_errors(made_up_rows(6, seed=1), record / "errors.csv")
    assert outdated_inputs(path, tmp_path) == ["año 1/errors.csv"] == outdated_inputs(path, tmp_path / "elsewhere")
    (unsigned,) = save_figure(figure, tmp_path / "b")
    assert drawn_from(unsigned) == {} and b"<dc:description>" not in unsigned.read_bytes()


def test_short_coordinates_move_nothing_by_more_than_a_hundredth():
    assert _shorter(b'<path d="M 1.23456 -7.899999 L 3 4.5 " transform="scale(0.015625)"/>') == b'<path d="M 1.23 -7.90 L 3 4.5 " transform="scale(0.015625)"/>'


# cell 38ad27ee
def test_the_same_errors_give_the_same_bytes(tmp_path):
    rows = made_up_rows(6)
    written = [save_figure(landmark_errors(rows), tmp_path / name, FORMATS) for name in "ab"]
    assert [path.name for path in written[0]] == ["a.svg", "a.pdf", "a.png"]
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes(), first.suffix
    figure = landmark_errors(rows)
    again = [save_figure(figure, tmp_path / "c")[0].read_bytes() for _ in range(2)]
    assert again[0] == again[1] == written[0][0].read_bytes()
    with pytest.raises(ValueError, match="give a list of svg, pdf, png"):
        save_figure(figure, tmp_path / "d", ("jpg",))
    with pytest.raises(ValueError, match="give a list"):
        save_figure(figure, tmp_path / "d", "svg")


# cell 8e7dd922
def made_up_record(folder, rows, train=("other-1",), val=(), select="best", **more):
    """A record: a run folder without weights, with an errors.csv, as `train` and `evaluate` leave it."""
    from landmark_thesis.data import Split
    from landmark_thesis.runs import SMOKE

    phases = tuple(replace(phase, select=select) for phase in SMOKE.phases)
    settings = {"recipe": replace(SMOKE, phases=phases).to_dict(), "seed": 0, "split_seed": 42, "source": {"folder": None},
                "mean_shape": from_shape(SHAPE_MEAN).tolist(), **more}
    write_whole(folder / "recipe.json", json.dumps(settings).encode())
    parts = {"train": tuple(train), "val": tuple(val), "test": tuple(row["image"] for row in rows if row["image"] not in {*train, *val})}
    Split(parts).save(folder / "split.json")
    write_errors(rows, folder / "errors.csv")
    return Run(folder)


def test_the_stamp_follows_from_the_split(tmp_path):
    rows = made_up_rows(4)
    names = [row["image"] for row in rows]
    assert stored_stamp(made_up_record(tmp_path / "clean", rows), rows) is None
    assert stored_stamp(made_up_record(tmp_path / "trained", rows, train=names[:1]), rows) == "contaminated"
    assert stored_stamp(made_up_record(tmp_path / "selected", rows, val=names), rows) == "selected"
    assert stored_stamp(made_up_record(tmp_path / "last", rows, val=names, select="last"), rows) is None
    (tmp_path / "clean" / "split.json").unlink()
    assert stored_stamp(Run(tmp_path / "clean"), rows) == "unverified"


# cell 29dfcf70
def test_what_a_record_holds_is_of_its_kind_and_what_it_lacks_is_told_with_its_file(tmp_path):
    import copy

    path = tmp_path / "{0}.json"  # a name that is no format

    def read(**content):
        path.write_text(json.dumps(content))
        return read_record(path, "mend it")

    stored = read(part="test", n_test=2, test={"mre_px": 1.5, "per_landmark": {"L1": None, "L2": 2}}, runs=[{"run": "a", "seed": 2**40}], seeds={"mean_px": 1}, mine={"a": [1, {}]})
    assert stored == json.loads(path.read_text()) == copy.copy(stored) and stored.get("val") is None and "val" not in stored
    for ask, name in ((lambda: stored["val"], "val"), (lambda: stored["test"]["p95_px"], "test.p95_px"), (lambda: stored["runs"][0]["arm"], "runs.0.arm"), (lambda: copy.copy(stored)["mine"]["a"][1]["b"], "mine.a.1.b")):
        with pytest.raises(DataError) as told:
            ask()
        assert str(told.value) == f"{path}: cannot be read ({name} is missing); mend it"
    for wrong, fault in (
        ({"n": -1}, "n is -1, not a whole number, 0 or more"), ({"n": True}, "n is true, not"), ({"tta": None}, "tta is null, not true or false"), ({"folds": 1e300}, "folds is 1e+300, not"),
        ({"test": {"per_landmark": {"L1": None}}}, "test.per_landmark is values by name (1), not numbers by landmark"), ({"test": {"mre_px_ci95": [2, 1]}}, "test.mre_px_ci95 is a list (2), not two numbers, the lower first"), ({"ensembles": []}, "ensembles is a list (0), not a list with entries"),
        ({"ensembles": [{"arm": "a"}, {"arm": []}]}, "ensembles.1.arm is a list (0), not a text"), ({"limits": {"mre_px": 4}}, "limits.mre_px is 4, not values by name"),
        ({"points": {"a": [1], "b": []}}, "points is values by name (2), not columns of one length"), ({"part": "x", "x": {"mre_px": "small"}}, 'x.mre_px is "small", not a number from 0'),
        ({"part": "unit", "unit": "px"}, 'unit is "px", not values by name'), ({"runs": {}, "seeds": {"mean_px": 1}}, "runs is values by name (0), not a list with entries"), ({"per": 1, "mean": [[0, 0]] * 14}, "mean is a list (14), not a number for x and y of each of 15 points"),
    ):
        with pytest.raises(DataError) as told:
            read(**wrong)
        assert str(told.value).startswith(f"{path}: cannot be read ({fault}") and str(told.value).endswith("; mend it")


# cell bfe97087
def test_a_measurement_is_drawn_by_its_form_whatever_its_name(tmp_path):
    ensembles = [{"arm": arm, "members": 1, "mre_px": value, "mre_px_ci95": [value - 1, value + 1]} for arm, value in (("leaky", 4.0), ("clean", 6.0))]
    gap = {"n": 96, "ensembles": ensembles, "clean_minus_leaky": [{"difference_px": 2.0, "difference_px_ci95": [1.5, 2.5]}]}
    forms = {"leakage_gap": gap, "learning_curve": made_up_curve(), "many_models": made_up_crowd(), "conformal_coverage": {"oof": {"conformal": made_up_conformal()}}, "error_limits": made_up_limits(),
             "claim_and_limit": made_up_test() | {"test": {}}, "outside_border": made_up_outside(), "annotator_drift": made_up_drift(), "": {"n": 3}}
    assert all(forms_of(content) == [kind] * bool(kind) for kind, content in forms.items())
    for number, (kind, content) in enumerate(forms.items()):
        write_whole(tmp_path / f"new{number}" / f"new{number}.json", json.dumps(content).encode())
        written = draw_measured(tmp_path / f"new{number}", tmp_path / "out")
        assert [path.stem for path in written] == [kind] * bool(kind)
        assert all(drawn_from(path).keys() == {f"new{number}/new{number}.json"} for path in written)
    assert "worth 2.00 [1.50, 2.50] with 1 models" in _draw_leakage(gap, tmp_path, {}).figure._supxlabel.get_text().replace("\n", " ")
    (tmp_path / "new0" / "new0.json").write_text("{")
    with pytest.raises(DataError, match="new0.json: cannot be read"):
        draw_measured(tmp_path / "new0", tmp_path / "out")
    assert draw_measured(tmp_path, tmp_path / "out") == []


# cell 604b96ba
def made_up_conformal():
    share = dict.fromkeys(LANDMARK_NAMES, 0.91)
    return {"level": 0.9, "n": 60, "whole_picture": 0.4, "radius_px": dict.fromkeys(LANDMARK_NAMES, 9.0), "per_landmark": share,
            "per_landmark_ci95": dict.fromkeys(LANDMARK_NAMES, [0.82, 0.95])}


def drawn_texts(figure):
    """Every text that is seen, with its box in pixels of the finished drawing."""
    figure.draw_without_rendering()
    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)]
    labels = {label for axis in axes for label in axis.get_ticklabels(which="both")}
    seen = {label for axis in axes if axis.axes.axison for label in _ticks_inside(axis)}
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [(text, text.get_window_extent()) for text in texts if text not in labels or text in seen]


def _ticks_inside(axis):
    low, high = sorted(axis.get_view_interval())
    return [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high and tick.label1.get_visible()]


def check_figure(figure, style, stamp, english):
    texts = drawn_texts(figure)
    box = figure.bbox
    told = " ".join(text.get_text() for text, _ in texts)
    assert UNIT in told or figure.get_suptitle() in _WITHOUT_UNIT, "no unit"
    assert "n = " in told or figure.get_suptitle() in _WITHOUT_PICTURES, "no number of pictures"
    assert not english or not re.search(r"\d\.\d", told), f"decimal point: {told}"
    for text, place in texts:
        words = text.get_text()
        assert text.get_fontsize() >= style.font_pt, words
        assert place.x0 >= box.x0 - 1 and place.x1 <= box.x1 + 1 and place.y0 >= box.y0 - 1 and place.y1 <= box.y1 + 1, f"cut off: {words}"
        assert not english & set(words.lower().replace("(", " ").replace(":", " ").replace(",", " ").split()), words
    flat = [(text, place.padded(-2)) for text, place in texts if text.get_rotation() in (0, 90) and text.get_alpha() is None]
    for k, (text, place) in enumerate(flat):
        for other, elsewhere in flat[k + 1 :]:
            assert not place.overlaps(elsewhere), f"'{text.get_text()}' lies on '{other.get_text()}'"
    assert sum(text.get_text() == stamp for text, _ in texts) == (stamp is not None)
    for panel in figure.axes:
        check_boxes(panel, texts)
        legend = panel.get_legend()
        assert legend is None or not any(legend.get_window_extent().padded(-1).overlaps(place) for text, place in texts if text in {panel.title, *panel.texts}), "a legend on words"


def check_boxes(panel, texts):
    """What is written in the middle of a box ends before its edge."""
    boxes = [patch.get_window_extent() for patch in panel.patches if isinstance(patch, Rectangle)] if not panel.axison else []
    for text, place in texts:
        for one in boxes if text in panel.texts else ():
            if one.contains((place.x0 + place.x1) / 2, (place.y0 + place.y1) / 2):
                assert one.x0 < place.x0 and place.x1 < one.x1 and one.y0 < place.y0 and place.y1 < one.y1, f"wider than its box: {text.get_text()}"


_WITHOUT_UNIT = {word for key in ("scheme", "canonical_shape", "model_diagram", "split_parts") for word in WORDS[key]}
_WITHOUT_PICTURES = {word for key in ("scheme", "model_diagram") for word in WORDS[key]}


def english_words():
    """Words that occur in the English column of the table and nowhere in the Spanish one."""
    columns = [{word.strip("(),.;:'").lower() for entry in WORDS.values() for word in entry[k].split()} for k in range(2)]
    return {word for word in columns[0] - columns[1] if word.isalpha() and len(word) > 1}


def test_an_unknown_stamp_is_refused():
    with pytest.raises(ValueError, match="stamp 'dubious': choose one of contaminated, unverified, selected"):
        landmark_errors(made_up_rows(3), stamp="dubious")
