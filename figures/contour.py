"""The contour error with outlines that end, and with outlines that go on straight beyond their ends: what of it is the border, what its end.

    python figures/contour.py DIR     from the errors that the records hold, and the labels in DIR (figures/records/contour); no weights are needed

An outline that ends costs as much along the axis as across it, at its ends. Which of both somebody means who quotes 1.6 px decides.
"""

import sys
from pathlib import Path

import numpy as np
from experiments import RECORDS, made_with, recorded_answers, write_record

from landmark_thesis.data import LandmarkData, load_data
from landmark_thesis.evaluate import read_errors
from landmark_thesis.pixel_error import bootstrap_interval, contour_error
from landmark_thesis.runs import Run

RECORD = RECORDS / "contour"
WAYS = {"ends": False, "continued": True}


def judged() -> list[Run]:
    """The runs whose validation errors are recorded picture by picture, with the direction of each."""
    return [Run(path.parent) for path in sorted(RECORDS.glob("*/errors.csv")) if (path.parent / "recipe.json").exists() and read_errors(path, "val")]


def contours(run: Run, data: LandmarkData) -> dict[str, np.ndarray]:
    """Contour error of each validation picture (px@224), both ways."""
    _, target, answers = recorded_answers(run, data)
    return {way: contour_error(answers, target, 224, continued=continued) for way, continued in WAYS.items()}


def main(folder: str) -> None:
    runs, columns, found = [run for run in judged() if run.source.folder is not None], {}, []
    data = load_data(folder, runs[0].recipe.preprocessing)
    names = [row["image"] for row in read_errors(runs[0].path / "errors.csv", "val")]
    for run in runs:
        assert [row["image"] for row in read_errors(run.path / "errors.csv", "val")] == names
        both = contours(run, data)
        columns |= {f"{run.name} {way}": errors for way, errors in both.items()}
        found.append({"run": run.name} | {key: value for way, errors in both.items() for key, value in
                                          ((f"{way}_px", float(errors.mean())), (f"{way}_px_ci95", list(bootstrap_interval(errors))))})
    content = {"unit": "px@224", "part": "val", "n": len(names), "split_fingerprint": runs[0].split.fingerprint, "command": "python figures/contour.py DIR",
               **made_with(), "contours": found}
    write_record(RECORD, content, names, columns)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
    print(Path(RECORD / "contour.json").read_text(encoding="utf-8"))
