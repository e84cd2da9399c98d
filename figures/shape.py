"""The shape that the labels share: its mean, how each point scatters about it, its modes of variation, and what it scores as an answer.

    python figures/shape.py DIR     measure, and write figures/records/shape; no label of any one picture leaves the folder

Aligned by Procrustes over all labelled pictures. The mean shape that is scored is that of the training part (record `dense`), the ruler that stands beside
every result; its errors are kept picture by picture, so that its intervals, and ratios to it, follow from stored errors like all others.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
from experiments import RECORDS, made_with, write_record

from landmark_thesis.data import find_dataset, read_annotations
from landmark_thesis.evaluate import mean_shape_errors
from landmark_thesis.figures import shape_statistics
from landmark_thesis.landmarks import pixels_to_fractions
from landmark_thesis.pixel_error import bootstrap_interval
from landmark_thesis.runs import Run

RECORD = RECORDS / "shape"
SIDE = 299  # of the pictures that were labelled
MODES = 6


def measure(points: np.ndarray, names: list[str], run: Run) -> tuple[dict, dict[str, list]]:
    """Of labels (N, 15, 2), fractions: the record's content, and for each picture its part and the error of the run's mean shape (px@224)."""
    errors = mean_shape_errors(run.mean_shape, points)
    where = {name: part for part, members in run.split.parts.items() for name in members}
    parts = np.array([where.get(name, "left out") for name in names])
    shape = shape_statistics(points, "labels")
    scored = {}
    for part in ("val", "test"):
        mine = errors[parts == part]
        scored[part] = {"n": len(mine), "mre_px": float(mine.mean()), "mre_px_ci95": list(bootstrap_interval(mine))}
    content = {"unit": "px@224", **shape, "modes": shape["modes"][:MODES], "mean_shape_errors": scored, "split_fingerprint": run.split.fingerprint}
    return content, {"part": parts.tolist(), "mean_shape": errors.tolist()}


def labels(folder: str | Path) -> tuple[np.ndarray, list[str], str]:
    """All labels as fractions, the names of their pictures, and the first digits of the table's sha256."""
    table = find_dataset(folder).csv
    read = read_annotations(table)
    return pixels_to_fractions(read.points_px, SIDE), list(read.names), hashlib.sha256(Path(table).read_bytes()).hexdigest()[:16]


def main(folder: str) -> None:
    points, names, digest = labels(folder)
    content, columns = measure(points, names, Run(RECORDS / "dense"))
    write_record(RECORD, content | {"labels_sha256": digest, "command": "python figures/shape.py DIR", **made_with()}, names, columns)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
