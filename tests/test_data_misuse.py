"""Data sets that look fine and are not: `check-data` and the training say the same, in one line, before any time is spent."""

import csv

import cv2
import pytest

from landmark_thesis import runs
from landmark_thesis.cli import main
from landmark_thesis.data import DataError, check_data, phantom_data
from landmark_thesis.landmarks import CENTRAL, LEFT_CONTOUR, RIGHT_CONTOUR

SIDE = 64
POINTS = phantom_data(60, seed=5, size=SIDE)
COLUMNS = [f"{axis}{k}" for k in range(1, 16) for axis in "xy"]


def folder_of(place, names, order=range(15), **columns):
    """A data folder of phantoms under these names; `columns` are further ones of the table, `order` says which point stands where."""
    place.mkdir()
    with open(place / "labels.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", *COLUMNS, *columns])
        for k, name in enumerate(names):
            cv2.imwrite(str(place / f"{name}.png"), POINTS.images[k].numpy())
            numbers = (POINTS.points[k][list(order)] * SIDE - 0.5).flatten().tolist()
            table.writerow([name, *(f"{number:.3f}" for number in numbers), *(column[k] for column in columns.values())])
    return place


def checked(folder, capsys) -> tuple[int, list[str]]:
    """Exit code of check-data, and the lines it says."""
    code = main(["check-data", str(folder), "--label-size", "0"])
    return code, capsys.readouterr().out.splitlines()


def refused(folder, capsys, *more) -> str:
    """What a training says that must not begin: one line, and nothing is left."""
    out = folder.parent / "run"
    words = ["train-landmarks", "--recipe", "smoke", "--image-size", "32", "--data", str(folder), "--label-size", "0", "--out", str(out), *more]
    assert main(words) == 2 and not out.exists()
    (line,) = capsys.readouterr().err.splitlines()
    return line


ORDERS = {"contours": [0, 1, *LEFT_CONTOUR, *RIGHT_CONTOUR, *CENTRAL], "axis last": [*range(2, 15), 0, 1], "axis first": [0, 1, *CENTRAL, *LEFT_CONTOUR, *RIGHT_CONTOUR]}


@pytest.mark.parametrize("order", ORDERS)
def test_points_in_another_order_are_one_error_that_names_the_right_one(order, tmp_path, capsys):
    folder = folder_of(tmp_path / "data", [f"a-{k}" for k in range(30)], ORDERS[order])
    code, lines = checked(folder, capsys)
    wrong = [line for line in lines if line.startswith(("error", "note")) and "outside the picture" not in line]
    assert code == 2 and lines[-1].startswith("not ready") and len(wrong) == 1
    for said in (wrong[0], refused(folder, capsys)):
        assert "of 30 pictures are not in the order of the scheme" in said and "L12, L3, L5, L7, L14 are the contour on the picture's left" in said


def test_a_few_odd_shapes_stay_notes(tmp_path, capsys):
    folder = folder_of(tmp_path / "data", [f"a-{k}" for k in range(30)])
    with open(folder / "labels.csv", newline="") as file:
        rows = list(csv.reader(file))
    for row in rows[1:5]:
        row[5:7], row[7:9] = row[7:9], row[5:7]  # L3 for L4
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    code, lines = checked(folder, capsys)
    assert code == 0 and sum("the contours cross at L3/L4" in line for line in lines) == 4 and lines[-1] == "ready for training"


CLASSES = {
    "names": ([f"pat{k // 2:03d}-{k % 2}" for k in range(60)], {}, ["60 pictures cannot be split by class: 30 classes", "before the last hyphen", "a column `category`"]),
    "one alone": ([f"p{k}" for k in range(60)], {"category": ["B", *["A"] * 59]}, ["60 pictures cannot be split by class: 2 classes", "B 1", "a column `category`"]),
    "eight": ([f"p{k}" for k in range(8)], {}, ["the part 'val' of the split has 1 of 8 pictures", "two or more"]),
}


@pytest.mark.parametrize("case", CLASSES)
def test_what_cannot_be_split_is_told_before_a_training_by_both(case, tmp_path, capsys):
    names, columns, words = CLASSES[case]
    folder = folder_of(tmp_path / "data", names, **columns)
    code, lines = checked(folder, capsys)
    (error,) = (line for line in lines if line.startswith("error: "))
    assert code == 2 and lines[-1].startswith("not ready")
    for said in (error, refused(folder, capsys)):
        assert all(word in said for word in words), said
    assert ("hyphen" in error) == (case == "names")
    report = check_data(folder, label_size=0)
    assert report.ok and not report.ready  # enough to predict and to score


def test_a_column_of_categories_mends_names_that_are_no_classes(tmp_path, capsys):
    folder = folder_of(tmp_path / "data", CLASSES["names"][0], category=["a"] * 60)
    assert checked(folder, capsys)[0] == 0
    with pytest.raises(DataError, match="the part 'oof' of the split has 1 of"):  # folds too small to be scored
        runs.train(runs.RECIPES["smoke"], runs.Source(str(folder), 0), tmp_path / "run", fold=(50, 50), fold_of="dev", quiet=True)
