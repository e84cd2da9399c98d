"""Would more pictures help? The same recipe on a part of the training pictures, and where its error is heading.

    python figures/curve.py train DATA OUT                             `dense` on 100 and 240 of the training pictures; resumable
    python figures/curve.py judge DATA OUT --folds DIR --full DIR      all sizes on the validation part (figures/records/curve)

The larger sizes are there already: --folds holds the three models of figures/drift.py (477 or 478 pictures each), --full the runs of `dense` on all of
them (figures/research.py). The test part is not looked at. The small sizes train for 900 steps, the others for the 40 epochs of the recipe.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from experiments import RECORDS, made_with, prepared, runs_of, trained_by, validation_part, write_record
from scipy.optimize import least_squares
from sklearn.model_selection import train_test_split

from landmark_thesis.data import LandmarkData, Split
from landmark_thesis.evaluate import run_points
from landmark_thesis.landmarks import LATERAL
from landmark_thesis.pixel_error import along_across, bootstrap_interval, radial_errors
from landmark_thesis.runs import DENSE, Run, train

SIZES, STEPS = (100, 240), 900
RECORD = RECORDS / "curve"


def part_of(data: LandmarkData, split: Split, size: int, seed: int = 0) -> Split:
    """`split` with `size` of its training pictures, each class as often as before."""
    part = data.subset(split.parts["train"])
    chosen = set(train_test_split(part.names, train_size=size, random_state=seed, stratify=part.categories)[0])
    kept = tuple(name for name in split.parts["train"] if name in chosen)
    return Split({**split.parts, "train": kept}, split.pixel_hash, split.seed)


def train_small(folder: Path, out: Path) -> None:
    data, split, _ = prepared(folder)
    for size in SIZES:
        recipe = replace(DENSE, phases=(DENSE.phases[0], replace(DENSE.phases[1], epochs=round(STEPS / math.ceil(size / DENSE.batch_size)))))
        place = out / f"n-{size}"
        train(recipe, folder, place, split=part_of(data, split, size), resume=place.exists(), quiet=True, command="python figures/curve.py train DATA OUT")
        print(f"trained on {size}", flush=True)


def asymptote(sizes: np.ndarray, errors: np.ndarray) -> tuple[float, float, float]:
    """Least-squares (limit, factor, exponent) of error = limit + factor * n ** -exponent, exponent between 0.3 and 2.

    `landmark-thesis defend` computes the limit again in another way (defense._limits), so that a mistake here is not repeated there.
    """

    def off(values: np.ndarray) -> np.ndarray:
        return values[0] + values[1] * (sizes / 100.0) ** -values[2] - errors

    limit, factor, exponent = least_squares(off, (errors.min() * 0.9, errors.max() - errors.min(), 1.0), bounds=([0, 0, 0.3], [np.inf, np.inf, 2.0])).x
    return float(limit), float(factor * 100.0**exponent), float(exponent)


def resampled_limits(sizes: np.ndarray, errors: np.ndarray, draws: int = 1000) -> list[float]:
    """95 % percentile interval of the limit; errors (runs, pictures), the pictures resampled."""
    rng = np.random.default_rng(0)
    picks = rng.integers(errors.shape[1], size=(draws, errors.shape[1]))
    return np.quantile([asymptote(sizes, errors[:, pick].mean(1))[0] for pick in picks], (0.025, 0.975)).tolist()


def judge(folder: Path, runs: Sequence[Run], record: Path) -> dict:
    part, split = validation_part(folder, runs)
    target = part.points.numpy().astype(float)
    kinds, found, sizes = {"mre_px": [], "along_px": [], "across_lateral_px": []}, [], []
    for run in runs:
        answers = run_points(run, part.images).astype(float)
        parts = along_across(answers, target, 224)
        kinds["mre_px"].append(radial_errors(answers, target, 224).mean(1))
        kinds["along_px"].append(np.abs(parts[..., 0]).mean(1))
        kinds["across_lateral_px"].append(np.abs(parts[:, list(LATERAL), 1]).mean(1))
        sizes.append(len(run.part("train")))
        low, high = bootstrap_interval(kinds["mre_px"][-1])
        found.append({"run": run.name, "n_train": sizes[-1], "epochs": run.recipe.phases[1].epochs} | {name: float(rows[-1].mean()) for name, rows in kinds.items()} | {"mre_px_ci95": [low, high]})
        print(f"{run.name:10} n {sizes[-1]:4d}  {found[-1]['mre_px']:.3f} [{low:.2f}, {high:.2f}]", flush=True)
    where, limits = np.array(sizes, float), {}
    for name, rows in kinds.items():
        limit, factor, exponent = asymptote(where, np.mean(rows, 1))
        limits[name] = {"limit": limit, "limit_ci95": resampled_limits(where, np.array(rows)), "factor": factor, "exponent": exponent}
        print(name, {key: np.round(value, 2).tolist() for key, value in limits[name].items()})
    content = {"unit": "px@224", "n_val": len(part), "split_fingerprint": split.fingerprint, "tta": True, "command": "python figures/curve.py judge DATA OUT --folds DIR --full DIR", "trained_by": trained_by(runs), **made_with(),
               "results": found, "fit": "limit + factor * n ** -exponent", "limits": limits}
    columns = {f"{run.path.parent.name}/{run.name}": errors for run, errors in zip(runs, kinds["mre_px"], strict=True)}
    write_record(record, content, part.names, columns)
    return content


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("train", "judge"))
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folds", type=Path, help="folder with fold-1 to fold-3 of figures/drift.py")
    parser.add_argument("--full", type=Path, help="folder with the runs dense-0, dense-1, ... of figures/research.py")
    parser.add_argument("--record", type=Path, default=RECORD)
    arguments = parser.parse_args()
    if arguments.step == "train":
        train_small(arguments.data, arguments.out)
    else:
        places = {"n": arguments.out, "fold": arguments.folds, "dense": arguments.full}
        runs = [run for name, place in places.items() if place for run in runs_of(name, place)]
        judge(arguments.data, sorted(runs, key=lambda run: len(run.part("train"))), arguments.record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
