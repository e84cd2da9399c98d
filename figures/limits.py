"""How fine the labels of a data set are: their grid, what 14 numbers lose of them, and what two labels of one radiograph differ by.

    python figures/limits.py DIR     measure, and write figures/records/limits/limits.json; no picture and no label leaves the folder
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from experiments import made_with

from landmark_thesis.data import DataReport, check_data, find_dataset, write_whole
from landmark_thesis.landmarks import project_to_shape
from landmark_thesis.pixel_error import bootstrap_interval, radial_errors

RECORD = Path(__file__).resolve().parent / "records" / "limits" / "limits.json"


def measure(report: DataReport) -> dict:
    """The limits, in px@224, of the labels that `check_data` read."""
    points = report.data.points.numpy().astype(np.float64)
    residual = radial_errors(project_to_shape(points), points, 224).mean(1)
    place = {name: k for k, name in enumerate(report.data.names)}
    twice = [
        {"pair": [a, b], "mre_px": float(radial_errors(points[place[a]], points[place[b]], 224).mean())}
        for a, b, _ in report.near_duplicates
    ]
    return {
        "unit": "px@224", "n": len(points), "cells": report.grid.steps, "rounding_px": report.grid.rounding_px224,
        "scheme_px": float(residual.mean()), "scheme_px_ci95": list(bootstrap_interval(residual)), "twice": twice,
        "command": "python figures/limits.py DIR", **made_with(),
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    digest = hashlib.sha256(Path(find_dataset(sys.argv[1]).csv).read_bytes()).hexdigest()[:16]
    write_whole(RECORD, (json.dumps(measure(check_data(sys.argv[1])) | {"labels_sha256": digest}, indent=1) + "\n").encode())
    print(RECORD.read_text(encoding="utf-8"))
