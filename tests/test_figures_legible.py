"""What must hold for every figure: nothing too small, cut off or overlapping, no English in Spanish, and the stamp across (chapter 14's `check_figure`)."""

import pytest
from matplotlib.figure import Figure
from test_14_figures import (
    check_figure,
    english_words,
    made_up_arms,
    made_up_conformal,
    made_up_crowd,
    made_up_curve,
    made_up_drift,
    made_up_exposure,
    made_up_history,
    made_up_ledger,
    made_up_limits,
    made_up_outside,
    made_up_rows,
    made_up_test,
)

from landmark_thesis import figures
from landmark_thesis.data import Split, phantom_data
from landmark_thesis.figures import (
    _LINES,
    _OF_ERRORS,
    _ON_SHAPE,
    LANGUAGES,
    STYLES,
    WORDS,
    Result,
    _varied,
    ablation_forest,
    anatomy_errors,
    annotator_drift,
    canonical_shape,
    claim_and_limit,
    class_errors,
    class_landmark_map,
    class_table,
    comparison,
    conformal_coverage,
    ensemble_gain,
    error_distribution,
    error_limits,
    exposure_errors,
    landmark_bias,
    landmark_curves,
    landmark_map,
    landmark_scheme,
    landmark_table,
    leakage_gap,
    learning_curve,
    learning_curves,
    many_models,
    model_diagram,
    outside_border,
    paired_differences,
    prediction_examples,
    published_results,
    recipe_curves,
    split_parts,
)
from landmark_thesis.landmarks import LANDMARK_NAMES, from_shape
from landmark_thesis.phantom import SHAPE_MEAN, sample_shapes
from landmark_thesis.runs import RECIPES


def every_figure(rows, history, pictures, **options):
    """Each kind of figure once; those of errors stamped."""
    stamped = {**options, "stamp": "selected"}
    results = [
        Result("a", 16.0, None, "baseline"),
        *published_results(options["lang"]),
        Result("b", 6.5, (6.0, 7.3)),
        Result("c", 6.4, (6.0, 7.1), "selected"),
    ]
    yield landmark_scheme(**options)
    yield landmark_scheme(pictures.points[0].numpy(), pictures.images[0].numpy(), **options)
    yield learning_curves(history, counts={"train": 717, "val": 144}, chosen=("phase2", 3), **stamped)
    for draw in _OF_ERRORS:
        yield draw(rows, **stamped)
    yield landmark_curves(
        [row | {f"{name}_radial": 0.01 * row[f"{name}_radial"] for name in LANDMARK_NAMES} for row in rows], **stamped
    )  # 100 % everywhere
    yield landmark_map(rows, from_shape(SHAPE_MEAN), **stamped)
    yield comparison(results, floor=1.34, note="n = 96", **stamped)
    yield prediction_examples(rows, pictures, **stamped)
    yield landmark_bias(rows, from_shape(SHAPE_MEAN), **stamped)
    yield conformal_coverage(made_up_conformal(), **stamped)
    change = {"difference_px": 0.04, "difference_px_ci95": [0.01, 0.07]}
    yield ensemble_gain(
        {"plain": made_up_arms()["clean"], "mirrored": made_up_arms()["leaky"]}, 96, gains=[change, change], **stamped
    )
    yield ablation_forest(paired_differences(made_up_ledger()), 60, luck=0.2, **stamped)
    yield leakage_gap(made_up_arms(), 96, paired=change, **options)
    yield annotator_drift(made_up_drift(), **options)
    yield exposure_errors(rows, made_up_exposure(rows), **stamped)
    yield learning_curve(made_up_curve(), **options)
    yield many_models(made_up_crowd(), **options)
    yield canonical_shape(sample_shapes(20, seed=0), **options)
    yield from (model_diagram(RECIPES[name], **options) for name in ("thesis", "dense"))
    yield split_parts(
        Split({"train": ("A-1", "A-2", "Viral Pneumonia-3"), "val": ("A-4",), "test": ("A-5",)}, dropped={"A-6": ""}),
        **options,
    )
    yield recipe_curves({"a": rows, "b": rows}, stamps=[None, "selected"], **options)
    yield error_limits(made_up_limits(), [Result("dense", 5.26, (4.81, 5.85))], **options)
    yield claim_and_limit(made_up_test(), made_up_limits(), **options)
    yield outside_border(made_up_outside(), **options)


def _unstamped(lang):
    """Titles of the figures that show no errors of one part."""
    return {WORDS[title][LANGUAGES.index(lang)] for title in _NO_STAMP}


_NO_STAMP = (
    "scheme",
    "leakage_gap",
    "annotator_drift",
    "learning_curve",
    "many_models",
    "canonical_shape",
    "model_diagram",
    "split_parts",
    "recipe_curves",
    "error_limits",
    "claim_and_limit",
    "outside_border",
)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("lang", "size"),
    [
        ("en", "page"),
        ("es", "slides"),
        pytest.param("en", "slides", marks=SLOW),
        pytest.param("es", "page", marks=SLOW),
    ],
)
def test_every_figure_is_legible_whole_and_in_its_language(lang, size):
    english = english_words() if lang == "es" else set()
    assert lang == "en" or {"picture", "pictures", "learning", "label", "worst"} <= english
    pictures = phantom_data(9, size=64)
    classes = dict(
        zip(("clear", "patchy", "diffuse"), ("COVID", "Normal", "Viral Pneumonia"), strict=True)
    )  # the longest names, and a panel for the exposure
    rows = [
        row | {"category": classes[row["category"]], "grey_mean": 90.0 + 3 * k} for k, row in enumerate(made_up_rows(9))
    ]
    drawn = []
    for figure in every_figure(rows, made_up_history(), pictures, lang=lang, size=size, decimal_comma=lang == "es"):
        drawn.append(figure.get_suptitle())
        stamped = figure.get_suptitle() not in _unstamped(lang)
        check_figure(figure, STYLES[size], WORDS["selected"][LANGUAGES.index(lang)] if stamped else None, english)
    public = {
        name
        for name in figures.__all__
        if getattr(getattr(figures, name), "__annotations__", {}).get("return") is Figure
    }
    kinds = {"scheme" if name == "landmark_scheme" else name for name in public}
    assert len(kinds) > 25
    assert all(WORDS[kind][LANGUAGES.index(lang)] in drawn for kind in kinds), "a kind of figure that nobody looks at"


_SEVEN = ("COVID", "Normal", "Viral Pneumonia", "clear", "patchy", "diffuse", "sarcoidosis with fibrosis")


def _of_seven_classes(count=35):
    return [row | {"category": _SEVEN[k % 7]} for k, row in enumerate(made_up_rows(count))]


def _shown(figure, size):
    """Drawn with constrained layout, whole, and legible."""
    check_figure(figure, STYLES[size], None, set())


@pytest.mark.parametrize("size", list(STYLES))
@pytest.mark.filterwarnings("error")
def test_seven_classes_have_room(size):
    rows = _of_seven_classes()
    for draw in (anatomy_errors, class_landmark_map, error_distribution):
        _shown(draw(rows, size=size), size)
    names = [text.get_window_extent() for text in class_errors(rows, size=size).axes[0].get_xticklabels()]
    assert not any(left.overlaps(right) for left, right in zip(names, names[1:], strict=False))
    key, *panels = anatomy_errors(rows, size=size).axes
    assert len(key.get_legend().get_texts()) == 7 and all(panel.get_window_extent().width > 0.2 * panel.figure.bbox.width for panel in panels)
    _shown(split_parts(Split({"train": tuple(f"{name}-{k}" for k, name in enumerate(_SEVEN)), "val": ("COVID-8",)}), size=size), size)


@pytest.mark.parametrize("count", [8, 13])
@pytest.mark.parametrize("size", list(STYLES))
@pytest.mark.filterwarnings("error")
def test_many_long_names_stand_beside_their_bars(count, size):
    labels = [f"recipe number {k} trained with a very long description that ends in {k}" for k in range(count)]
    figure = comparison([Result(label, 5.0 + k, (4.5 + k, 5.5 + k)) for k, label in enumerate(labels)], floor=1.34, note="n = 9", size=size)
    _shown(figure, size)
    names = figure.axes[0].get_yticklabels()
    assert len({name.get_text() for name in names}) == count
    places = [name.get_window_extent() for name in names]
    assert not any(upper.overlaps(lower) for upper, lower in zip(places, places[1:], strict=False))


@pytest.mark.parametrize("size", list(STYLES))
def test_no_two_of_many_recipes_or_classes_are_drawn_alike(size):
    rows = made_up_rows(9)
    figure = recipe_curves({f"recipe {k}": rows for k in range(12)}, size=size)
    _shown(figure, size)
    entries = figure.axes[0].get_legend().get_lines()
    looks = {(line.get_color(), str(line._unscaled_dash_pattern), line.get_marker()) for line in entries}
    assert len(entries) == len(looks) == 12 and len({one[1:] for one in looks}) == 8 + 1  # and in grey as many as there are dashes
    varied = list(zip(range(64), _varied(_LINES), strict=False))
    assert len({(colour, marker) for _, (colour, _, marker) in varied}) == 64  # of dots, too


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("case", ["L1", "L2", "L5", "L5 but once", "a class", "a class without L5"])
def test_what_has_no_label_is_left_empty_and_said(case, lang):
    names = LANDMARK_NAMES if case == "a class" else [case.split()[-1] if case.startswith("a class") else case[:2]]
    measures = ("axis_px", "tilt_deg", "width3_px")
    rows = []
    for k, row in enumerate(made_up_rows(12)):
        row = row | {"category": "COVID" if k < 9 else "Normal"}
        if (not case.startswith("a class") or k >= 9) and not (case.endswith("once") and k == 3):
            lost = [column for column in row if column.split("_")[0] in names]
            lost += [column for column in row if {"L1", "L2"} & set(names) and (column.endswith(("_along", "_across")) or column.startswith(measures) and column.endswith("true"))]
            row |= dict.fromkeys(lost, float("nan"))
        rows.append(row)
    said = WORDS["no_label"][LANGUAGES.index(lang)]
    drawn = {draw.__name__: draw(rows, lang=lang) for draw in _OF_ERRORS}
    drawn |= {draw.__name__: draw(rows, from_shape(SHAPE_MEAN), lang=lang) for draw in _ON_SHAPE}
    for figure in drawn.values():
        check_figure(figure, STYLES["page"], None, set())
    if case in ("L1", "L2", "L5"):
        assert f"{case}:\n{said}" in [panel.get_title() for panel in drawn["landmark_curves"].axes]
    if case == "a class":
        assert f"Normal (n = 3): {said}" in [text.get_text() for text in drawn["error_distribution"].axes[0].get_legend().get_texts()]
        assert "Normal\n(n = 0)" in [text.get_text() for text in drawn["class_errors"].axes[0].get_xticklabels()]
    for form in ("markdown", "csv", "latex"):
        landmark_table(rows, form, lang=lang)
        assert "nan" not in class_table(rows, form, lang=lang) + landmark_table(rows, form, lang=lang)


def test_dollars_in_a_name_are_no_mathematics():
    figure = error_distribution([row | {"category": "a$x$b"} for row in made_up_rows(4)])
    text = figure.axes[0].get_legend().get_texts()[1]
    assert text.get_text().startswith("a$x$b (n = 4)") and not text.get_parse_math()
