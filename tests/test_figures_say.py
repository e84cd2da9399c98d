"""What figures say of themselves: curves that grey print tells apart, labels that claim nothing untrue, an axis that shows the last epochs, the table of headlines."""

import numpy as np
import pytest

from landmark_thesis.data import DataError
from landmark_thesis.evaluate import error_rows
from landmark_thesis.figures import Headline, error_distribution, headline_table, learning_curves, recipe_curves
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
