"""What must hold for every figure: nothing too small, cut off or overlapping, no English in Spanish, and the stamp across (chapter 14's `check_figure`)."""

import pytest
from matplotlib.figure import Figure
from test_14_figures import (
    check_figure,
    english_words,
    made_up_arms,
    made_up_conformal,
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
    _OF_ERRORS,
    LANGUAGES,
    STYLES,
    WORDS,
    Result,
    ablation_forest,
    annotator_drift,
    canonical_shape,
    claim_and_limit,
    comparison,
    conformal_coverage,
    ensemble_gain,
    error_limits,
    exposure_errors,
    landmark_bias,
    landmark_curves,
    landmark_map,
    landmark_scheme,
    leakage_gap,
    learning_curve,
    learning_curves,
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
