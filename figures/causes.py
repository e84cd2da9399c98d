"""What is left, and whose fault is it? The error of good models taken apart, on pictures that none of them was trained on.

    python figures/causes.py DATA DRIFT RUN RUN [RUN ...]     writes causes.json (figures/records/causes)

DRIFT is the folder of figures/drift.py, whose three models answered for all training pictures out of fold: what explains where L2 was wrong there? RUNs are
trained on the training part, as unlike as there are; where they err on the validation part *together*, the picture or its label is the cause,
not the model (an upper bound on the labels' share, for the runs share their training pictures). The test part is not looked at.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from drift import explained_by_row, residuals, row_numbers
from experiments import RECORDS, finished, made_with, prepared, runs_of, shared_preprocessing, trained_by
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, cross_val_predict

from landmark_thesis.data import LandmarkData, write_whole
from landmark_thesis.evaluate import refuse_seen, run_points
from landmark_thesis.landmarks import LANDMARK_NAMES
from landmark_thesis.pixel_error import along_across, axis_length, axis_tilt, bootstrap_interval
from landmark_thesis.runs import Run

RECORD = RECORDS / "causes"


def share_explained(features: np.ndarray, values: np.ndarray) -> float:
    """Share of the squares of `values` (N,) that a straight line over `features` (N, F) predicts, each picture by a line fitted without it (10 folds)."""
    folds = KFold(10, shuffle=True, random_state=0)
    predicted = cross_val_predict(LinearRegression(), (features - features.mean(0)) / (features.std(0) + 1e-12), values, cv=folds)
    return 1 - float(((values - predicted) ** 2).sum() / ((values - values.mean()) ** 2).sum())


def suspects(data: LandmarkData, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """What may explain an error, picture by picture: (N, F) each. The crop is seen through the prediction, for the label is what is to be explained."""
    kinds = sorted(set(data.categories))
    grey = data.images.numpy().reshape(len(data), -1).astype(float)
    return {
        "class": np.array([[kind == name for kind in kinds[1:]] for name in data.categories], float),
        "crop": np.column_stack([axis_length(predicted, 224), axis_tilt(predicted), predicted[:, :2].reshape(-1, 4)]),
        "exposure": np.column_stack([grey.mean(1), grey.std(1), np.quantile(grey, (0.1, 0.9), axis=1).T]),
    }


def alike(errors: Mapping[str, np.ndarray]) -> list[dict]:
    """Each pair of runs: correlation of their errors (N, K, 2), all coordinates and L2 along the axis, and the distance between their answers."""
    found = []
    for one, two in itertools.combinations(errors, 2):
        a, b = errors[one], errors[two]
        apart = np.linalg.norm(a - b, axis=-1).mean()
        found.append({"runs": [one, two], "correlation": float(np.corrcoef(a.ravel(), b.ravel())[0, 1]),
                      "correlation_L2_along": float(np.corrcoef(a[:, 1, 0], b[:, 1, 0])[0, 1]), "apart_px": float(apart)})
    return found


def mean_with_interval(errors: np.ndarray) -> dict:
    low, high = bootstrap_interval(errors)
    return {"mean": float(errors.mean()), "ci95": [low, high]}


def judge(folder: Path, drift: Path, runs: Sequence[Run]) -> dict:
    data, split, _ = prepared(folder, shared_preprocessing([*runs_of("fold", drift), *runs]))
    names, errors = residuals(data, drift)
    train = data.subset(names)
    order = dict(zip(train.names, range(len(train)), strict=True))
    errors = errors[np.argsort([order[name] for name in names])]  # as `train` has them
    labels, rows = train.points.numpy().astype(float), row_numbers(folder, data)
    row = np.array([rows[name] for name in train.names])
    predicted = answers_of(labels, errors)
    slipped = errors[:, 1, 0]
    explained = {name: share_explained(features, slipped) for name, features in suspects(train, predicted).items()}
    explained["all three"] = share_explained(np.hstack(list(suspects(train, predicted).values())), slipped)
    explained["row of the table"] = explained_by_row(row, slipped)
    part = data.subset(split.parts["val"])
    refuse_seen(runs, part)
    target, found = part.points.numpy().astype(float), {}
    for run in runs:
        found[run.name] = along_across(run_points(run, part.images).astype(float), target, 224)
        print(run.name, round(float(np.linalg.norm(found[run.name], axis=-1).mean()), 3), flush=True)
    return {
        "unit": "px@224", "n_train": len(train), "n_val": len(part), "split_fingerprint": split.fingerprint, "tta": True,
        "command": f"python figures/causes.py DATA DRIFT {' '.join(run.name for run in runs)}", "trained_by": trained_by(runs), **made_with(),
        "explained_L2_along": explained,
        "by_landmark": {name: {"along": float(np.abs(errors[:, k, 0]).mean()), "across": float(np.abs(errors[:, k, 1]).mean())} for k, name in enumerate(LANDMARK_NAMES)},
        "runs": {name: mean_with_interval(np.linalg.norm(values, axis=-1).mean(1)) for name, values in found.items()},
        "together": alike(found),
    }


def answers_of(labels: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Predictions (N, 15, 2) in fractions again, from labels and errors along and across the labelled axis in px@224."""
    axis = labels[:, 1] - labels[:, 0]
    along = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    across = np.stack([along[:, 1], -along[:, 0]], 1)
    return labels + (errors[..., :1] * along[:, None] + errors[..., 1:] * across[:, None]) / 224


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("drift", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--record", type=Path, default=RECORD)
    arguments = parser.parse_args()
    content = judge(arguments.data, arguments.drift, [finished(path) for path in arguments.runs])
    write_whole(arguments.record / "causes.json", (json.dumps(content, indent=1) + "\n").encode())
    print(json.dumps({key: content[key] for key in ("explained_L2_along", "together")}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
