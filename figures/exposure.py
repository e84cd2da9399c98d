"""Exposure of each labelled picture, as its file holds it: mean and standard deviation of the grey values, before CLAHE evens them out.

    python figures/exposure.py DIR     measure, and write figures/records/exposure; two numbers a picture, no picture and no label

The errors of a run hold what the network sees, after CLAHE; whether a dark or a flat film is read worse can only be told from the file.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from experiments import RECORDS, made_with, write_record

from landmark_thesis.data import find_dataset, read_image
from landmark_thesis.evaluate import read_errors
from landmark_thesis.figures import rank_correlation
from landmark_thesis.landmarks import LANDMARK_NAMES
from landmark_thesis.runs import Run

RECORD = RECORDS / "exposure"
JUDGED = ("dense", "val")  # the run and the part whose errors are set against exposure
MEASURES = ("grey_mean", "grey_sd")


def measure(images: Mapping[str, Path]) -> dict[str, list[float]]:
    """Mean and standard deviation of the grey values (0 to 255) of each file."""
    pictures = [read_image(path) for path in images.values()]
    return {"grey_mean": [float(picture.mean()) for picture in pictures], "grey_sd": [float(picture.std()) for picture in pictures]}


def summary(names: list[str], columns: Mapping[str, list[float]], record: str = JUDGED[0], part: str = JUDGED[1]) -> dict:
    """Spearman's rho of each measure with the mean error of the pictures that the run was scored on."""
    place, rows = {name: k for k, name in enumerate(names)}, read_errors(RECORDS / record / "errors.csv", part)
    errors = np.array([np.mean([row[f"{name}_radial"] for name in LANDMARK_NAMES]) for row in rows])
    found = {}
    for name in MEASURES:
        rho, low, high = rank_correlation(np.array([columns[name][place[row["image"]]] for row in rows]), errors)
        found[name] = {"rho": rho, "rho_ci95": [low, high]}
    return found


def main(folder: str) -> None:
    images = find_dataset(folder).images
    columns = measure(images)
    columns = {name: [round(value, 3) for value in values] for name, values in columns.items()}  # as they are stored
    rows = read_errors(RECORDS / JUDGED[0] / "errors.csv", JUDGED[1])
    content = {
        "unit": "grey values, 0 to 255", "n_pictures": len(images), "run": JUDGED[0], "part": JUDGED[1], "n": len(rows),
        "with_error": summary(list(images), columns), "split_fingerprint": Run(RECORDS / JUDGED[0]).split.fingerprint,
        "command": "python figures/exposure.py DIR", **made_with(),
    }
    write_record(RECORD, content, list(images), columns)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
    print((RECORD / "exposure.json").read_text(encoding="utf-8"))
