"""What figures say of themselves: curves that grey print tells apart, labels that claim nothing untrue, an axis that shows the last epochs, the table of headlines."""

import numpy as np
import pytest

from landmark_thesis.data import DataError
from landmark_thesis.evaluate import error_rows
from landmark_thesis.figures import (
    Difference,
    Headline,
    ablation_forest,
    error_distribution,
    headline_table,
    learning_curves,
    recipe_curves,
)
from landmark_thesis.phantom import sample_shapes
from landmark_thesis.runs import RECIPES


def made_up_rows(n):
    points = sample_shapes(n, seed=0).astype(np.float64)
    moved = points + np.random.default_rng(0).normal(0, 0.02, points.shape)
    return error_rows(moved, points, [f"p{i}" for i in range(n)], [("clear", "patchy", "diffuse")[i % 3] for i in range(n)], "test")


@pytest.mark.parametrize("draw", [lambda rows: error_distribution(rows), lambda rows: recipe_curves(dict.fromkeys("abcdef", rows))])
def test_no_two_curves_of_a_chart_are_told_apart_by_colour_alone(draw):
    axes = draw(made_up_rows(30)).axes[0]
    entries = [(str(line.get_linestyle()), str(line._unscaled_dash_pattern), line.get_marker().replace("None", "")) for line in axes.get_legend().legend_handles]
    assert len(entries) >= 4 and len(set(entries)) == len(entries)
    marked = [line.get_marker() for line in axes.lines if line.get_linestyle() == "None"]
    assert marked == [marker for _, _, marker in entries if marker]  # the black line has none


def test_the_headline_table_has_a_line_a_result_in_each_form():
    lines = [Headline("dense", "val", 144, 5.26, (4.8, 5.9), 3), ("thesis", "test", 96, 3.61, None, 4, "contaminated")]
    assert headline_table(lines).splitlines()[2:] == ["| dense | validation | 144 | 5.26 [4.80, 5.90] | 3 |  |", "| thesis | test | 96 | 3.61 | 4 | CONTAMINATED |"]
    assert headline_table(lines, "csv", lang="es", decimal_comma=True).splitlines()[1] == "dense;validación;144;5,26;4,80;5,90;3;"
    assert "3.61 & 4 & CONTAMINATED" in headline_table(lines, "latex")
    with pytest.raises(DataError, match="nothing to list"):
        headline_table([])


def test_the_label_names_no_dropout_that_a_model_lacks_and_the_axis_ends_where_the_last_epochs_differ():
    rows = [{"phase": "phase2", "epoch": k + 1.0, "train_error_px": value + 1, "val_error_px": value, "lr_head": 1e-3} for k, value in enumerate((40.0, 20, 6, 5, 5, 5))]
    figure = learning_curves(rows, recipe=RECIPES["dense"])
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert "training, under augmentation" in labels and not any("dropout" in label for label in labels)
    assert figure.axes[0].get_ylim() == (0, 18) and figure.axes[0].get_position().height > 0.35 and "triangles: values above the edge (4, up to 41)" in figure._supxlabel.get_text().replace("\n", " ")
    assert sorted(x for line in figure.axes[0].lines if line.get_marker() == "^" for x in line.get_xdata()) == [1, 1, 2, 2]
    flat = [row | {"train_error_px": 6.0, "val_error_px": 5.0} for row in rows]
    assert "triangles" not in learning_curves(flat)._supxlabel.get_text()  # nothing is cut where nothing towers


def test_a_change_far_out_is_told_as_a_number_and_leaves_the_others_their_room():
    near = [Difference(f"near-{k}", 0.01 * k, (0.01 * k - 0.1, 0.01 * k + 0.1), 1) for k in range(16)]
    far = [Difference("far", 1.24, (0.9, 1.6), 2), Difference("fair", -0.9, (-1.2, -0.8), 1), Difference("vague", 0.1, (-0.9, 1.1), 1)]
    (axes,) = [axes for axes in ablation_forest([*near, *far], 144, luck=0.1, decimal_comma=True).axes if axes.get_xlabel()]
    told = {text.get_text(): text for text in axes.texts}
    assert told.keys() == {"+1,24 [0,90; 1,60] \N{RIGHTWARDS ARROW}", "\N{LEFTWARDS ARROW} -0,90 [-1,20; -0,80]", "+0,10 [-0,90; 1,10] \N{RIGHTWARDS ARROW}"}
    assert [told[key].get_position()[1] for key in told] == [16, 17, 18]  # in their own rows, at the edges
    low, high = axes.get_xlim()
    assert [told[key].get_position()[0] for key in told] == [high, low, high] and 0.18 < high < 0.6 and -0.6 < low < -0.1
    assert all(low <= end <= high for one in near for end in one.interval)  # what is drawn is drawn whole
    assert len(axes.containers) == len(near)
    (alone,) = [axes for axes in ablation_forest(near, 144, luck=0.1).axes if axes.get_xlabel()]
    assert not alone.texts and alone.get_xlim() == pytest.approx((-0.112, 1.12 * 0.25))


def test_a_change_without_a_number_is_refused_and_one_that_changes_nothing_is_drawn():
    with pytest.raises(DataError, match="no number for odd"):
        ablation_forest([Difference("odd", float("nan"), (0.0, 0.1), 1)], 9)
    low, high = ablation_forest([Difference("none", 0.0, (0.0, 0.0), 1)], 9).axes[-1].get_xlim()
    assert low < 0 < high


def test_on_a_page_of_many_changes_their_names_stand_alone():
    changes = [Difference(f"change-{k}", 0.0, (-0.1, 0.1), 1) for k in range(21)]
    asked = {one.label: "what it is" for one in changes}
    shown = {n: [label.get_text() for label in ablation_forest(changes[:n], 144, asked=asked).axes[-1].get_yticklabels()] for n in (20, 21)}
    assert shown[20][0] == "change-0 (s = 1)\nwhat it is" and shown[21][0] == "change-0 (s = 1)"
