"""The last candidates, each picture judged by a model that was not trained on it.

    python figures/folds.py train DATA OUT [--of all]      five `dense` models, each without a fifth of the pictures; resumable
    python figures/folds.py judge DATA OUT [--of all]      their errors, and those of two other ways to read them (figures/records/folds, or oof)

The folds lie over the 860 development pictures of the thesis' split, and its test part stays closed; with `--of all` over all 957, which opens it, and
the ledger says so. Readings of the same answers are compared: as the maps gave them, moved to the nearest shape of 14 numbers (the product's), moved to
the likeliest shape when points err as in the four other folds (each along and across the axis, and together), and corrected by a ridge regression that
learnt from those folds what the answers of unseen pictures tell about their own errors.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from experiments import RECORDS, brief, finished, made_with, write_record
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from landmark_thesis.evaluate import evaluate_runs, predict_points
from landmark_thesis.landmarks import from_shape, project_to_shape, to_shape
from landmark_thesis.pixel_error import compare_errors, radial_errors, summarise
from landmark_thesis.runs import DENSE, Run, train

FOLDS = 5
NAMES = {"dev": "folds", "all": "oof"}
CHOSEN = "projected"
PENALTIES = np.logspace(0, 6, 13)
SHRINKAGE = 0.02  # of the covariance towards its own diagonal: 465 numbers from 688 pictures


def train_folds(folder: Path, out: Path, of: str) -> None:
    for number in range(1, FOLDS + 1):
        place = out / f"dense-{number}"
        train(DENSE, folder, place, fold=(number, FOLDS), fold_of=of, resume=place.exists(), quiet=True, command=f"python figures/folds.py train DATA OUT --of {of}")
        print(f"fold {number} of {FOLDS} trained", flush=True)


def corrected(raw: np.ndarray, target: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Answers (N, 15, 2) after a linear correction, for each fold learnt from the others: from shape and off-shape rest to the label's difference."""
    shape = project_to_shape(raw)
    told = np.hstack([shape.reshape(len(raw), -1), (raw - shape).reshape(len(raw), -1)])
    missing = (target - shape).reshape(len(raw), -1)
    moved = np.empty_like(missing)
    for number in np.unique(fold):
        here = fold == number
        moved[here] = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(told[~here], missing[~here]).predict(told[here])
    return project_to_shape(shape + moved.reshape(shape.shape))


def _axis_frames(points: np.ndarray) -> np.ndarray:
    """(N, 2, 2) rotations whose rows are the unit vectors along and across the axis from L1 to L2."""
    along = points[:, 1] - points[:, 0]
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    return np.stack([along, np.stack([along[:, 1], -along[:, 0]], 1)], 1)


def error_covariance(raw: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(30, 30): how the answers (N, 15, 2) err, point by point along and across their own axis."""
    errors = np.einsum("nij,nkj->nki", _axis_frames(project_to_shape(raw)), target - raw).reshape(len(raw), -1)
    covariance = np.cov(errors.T)
    return (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(np.diag(covariance))


def likeliest_shape(raw: np.ndarray, covariance: np.ndarray, steps: int = 3) -> np.ndarray:
    """Answers (N, 15, 2) moved to the shapes of 14 numbers that are likeliest when their errors have this covariance (30, 30).

    Generalised least squares (Aitken 1936), by Gauss-Newton steps from the nearest shape. With the unit matrix it is that shape.
    """
    slopes, certain = torch.func.vmap(torch.func.jacfwd(from_shape)), np.linalg.inv(covariance)
    shape = to_shape(raw)
    for _ in range(steps):
        points = from_shape(shape)
        frames = _axis_frames(points)
        rest = np.einsum("nij,nkj->nki", frames, raw - points).reshape(len(raw), -1)
        slope = np.einsum("nij,nkjp->nkip", frames, slopes(torch.from_numpy(shape)).numpy()).reshape(len(raw), len(covariance), -1)
        weighted = slope.transpose(0, 2, 1) @ certain
        shape = shape + np.linalg.solve(weighted @ slope, weighted @ rest[..., None])[..., 0]
    return from_shape(shape)


def weighted(raw: np.ndarray, target: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Answers (N, 15, 2) moved to their likeliest shapes, for each fold by the covariance that the others' errors have."""
    moved = np.empty_like(raw)
    for number in np.unique(fold):
        here = fold == number
        moved[here] = likeliest_shape(raw[here], error_covariance(raw[~here], target[~here]))
    return moved


def readings(raw: np.ndarray, target: np.ndarray, fold: np.ndarray) -> dict[str, np.ndarray]:
    return {"raw": raw, CHOSEN: project_to_shape(raw), "weighted": weighted(raw, target, fold), "corrected": corrected(raw, target, fold)}


def judge(runs: Sequence[Run], of: str) -> tuple[dict, Mapping[str, Sequence[float]], list[str]]:
    results = evaluate_runs(runs, part="oof", command=f"python figures/folds.py judge DATA OUT --of {of}")  # the guard, the ledger and the metrics
    data = runs[0].source.load(runs[0].recipe.preprocessing)
    parts = [data.subset(run.part("oof")) for run in runs]
    fold = np.repeat(np.arange(1, len(runs) + 1), [len(part) for part in parts])
    raw = np.concatenate([predict_points(run.model(), part.images) for run, part in zip(runs, parts, strict=True)]).astype(float)
    target = np.concatenate([part.points.numpy() for part in parts]).astype(float)
    categories = [name for part in parts for name in part.categories]
    answers = readings(raw, target, fold)
    errors = {name: radial_errors(answer, target, 224).mean(1) for name, answer in answers.items()}
    content = {
        "unit": "px@224", "of": of, "n": len(target), "folds": len(runs), "test_fingerprint": results["test_fingerprint"], "test_ledger": results["test_ledger"],
        "contaminated": results["contaminated"], "unverified": results["unverified"], "command": results["command"], **made_with(),
        "runs": [{"run": run.name, "n_train": len(run.part("train")), "n": len(run.part("oof")), "split_fingerprint": run.split.fingerprint,
                  "mre_px": float(errors[CHOSEN][fold == number].mean())} for number, run in enumerate(runs, 1)],
        "oof": results["oof"],
        "readings": {name: brief(summarise(answer, target, categories)) for name, answer in answers.items()},
        "gains": {name: compare_errors(errors[CHOSEN], values) for name, values in errors.items() if name != CHOSEN},
    }
    names = [name for part in parts for name in part.names]
    return content, {"fold": [int(number) for number in fold], **errors}, names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("train", "judge"))
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--of", choices=NAMES, default="dev")
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    if arguments.step == "train":
        train_folds(arguments.data, arguments.out, arguments.of)
        return 0
    runs = [finished(arguments.out / f"dense-{number}") for number in range(1, FOLDS + 1)]
    content, columns, names = judge(runs, arguments.of)
    write_record(arguments.record or RECORDS / NAMES[arguments.of], content, names, columns)
    for name, found in content["readings"].items():
        low, high = found["mre_px_ci95"]
        print(f"{name:10} {found['mre_px']:.3f} [{low:.2f}, {high:.2f}]  across {found['across_px']:.2f}  contour {found['contour_px']:.2f}  p95 {found['p95_px']:.1f}")
    for name, gain in content["gains"].items():
        print(f"{name} - {CHOSEN}:", gain)
    return 0


if __name__ == "__main__":
    sys.exit(main())
