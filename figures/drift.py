"""Did the annotator's idea of the axis move while 957 pictures were annotated? Measured on pictures that no model was trained on.

    python figures/drift.py folds DATA OUT        three models over the training part alone, each leaving one fold out
    python figures/drift.py correct DATA OUT      a table of labels with the drift taken out of the training part (OUT/corrected)
    python figures/drift.py retrain DATA OUT [--seeds 0 1 2]     `dense`, trained on the corrected labels
    python figures/drift.py judge DATA OUT RECORD [--runs DIR]   everything against the untouched labels of the validation part

The first column of the table counts its rows, as an annotation tool does that goes from picture to picture. What a model gets wrong on pictures that it never saw is
smoothed over that order (Gaussian kernel); if the labels were made by one rule from first to last, the curve is flat. The curve comes from
the training part alone, so the validation part judges it honestly. The test part is not looked at.
"""

import argparse
import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from experiments import RECORDS, finished, made_with, prepared, runs_of, shared_preprocessing, trained_by, write_record

from landmark_thesis.data import LandmarkData, Split, find_dataset, kfold_splits, write_whole
from landmark_thesis.evaluate import refuse_seen, run_points
from landmark_thesis.landmarks import AXIS, LANDMARK_NAMES, project_to_shape
from landmark_thesis.pixel_error import along_across, bootstrap_interval, radial_errors
from landmark_thesis.runs import DENSE, Run, Source, train

FOLDS = 3
BANDWIDTH = 25.0  # rows of the table; from 10 to 60 the result moves by 0.04 px
SHRINK = 5.0  # as if so many neighbours without drift stood at every row


def fold_splits(data: LandmarkData, split: Split, twins: list[tuple]) -> list[Split]:
    part = data.subset(split.parts["train"])
    return kfold_splits(part.names, part.categories, FOLDS, 42, twins, part.pixel_hash)


def folds(folder: Path, out: Path) -> None:
    data, split, twins = prepared(folder)
    for number, fold in enumerate(fold_splits(data, split, twins), 1):
        place = out / f"fold-{number}"
        train(DENSE, folder, place, split=fold, resume=place.exists(), quiet=True, command="python figures/drift.py folds DATA OUT")
        print(f"fold {number} of {FOLDS}: {len(fold.parts['train'])} trained on, {len(fold.parts['oof'])} left out", flush=True)


def residuals(data: LandmarkData, out: Path) -> tuple[list[str], np.ndarray]:
    """Names and out-of-fold errors (N, 15, 2) of the training part, along and across the labelled axis, px@224."""
    stored = out / "residuals.npz"
    if not stored.exists():
        names, errors = [], []
        for number in range(1, FOLDS + 1):
            run = finished(out / f"fold-{number}")
            left_out = data.subset(run.part("oof"))
            answers = run_points(run, left_out.images)
            errors.append(along_across(answers.astype(float), left_out.points.numpy().astype(float), 224))
            names += left_out.names
        np.savez(stored, names=np.array(names), errors=np.concatenate(errors))
    found = np.load(stored)
    return found["names"].tolist(), found["errors"]


def smooth(rows: np.ndarray, known_rows: np.ndarray, values: np.ndarray, bandwidth: float = BANDWIDTH, apart: bool = False) -> np.ndarray:
    """Kernel mean of values (N, ...) at `rows`; with `apart` a picture does not see itself (rows are the known rows)."""
    weights = np.exp(-0.5 * ((rows[:, None] - known_rows) / bandwidth) ** 2)
    if apart:
        np.fill_diagonal(weights, 0)
    flat = weights @ values.reshape(len(values), -1) / (weights.sum(1, keepdims=True) + SHRINK)
    return flat.reshape(len(rows), *values.shape[1:])


def moved(points: np.ndarray, frame: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Points (N, 15, 2) in fractions, moved by `shift` (N, 15, 2), px@224 along and across the axis of `frame`."""
    axis = frame[:, AXIS[1]] - frame[:, AXIS[0]]
    along = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    across = np.stack([along[:, 1], -along[:, 0]], 1)  # towards the picture's right of a downward axis
    return points + (shift[..., :1] * along[:, None] + shift[..., 1:] * across[:, None]) / 224


def row_numbers(folder: Path, data: LandmarkData) -> dict[str, float]:
    """The first column of the table, which counts as the pictures were annotated."""
    with open(find_dataset(folder).csv, encoding="utf-8", newline="") as file:
        return {row[-1]: float(row[0]) for row in csv.reader(file)}


def correct(folder: Path, out: Path) -> None:
    """OUT/corrected: the pictures by link, and one table in which the training part's labels follow one rule."""
    data, split, _ = prepared(folder)
    rows = row_numbers(folder, data)
    names, errors = residuals(data, out)
    order = np.array([rows[name] for name in names])
    drift = dict(zip(names, smooth(order, order, errors, apart=True), strict=True))
    target, chosen = out / "corrected", set(split.parts["train"])
    target.mkdir(parents=True, exist_ok=True)
    lines = ["image," + ",".join(f"{axis}{k}" for k in range(1, 16) for axis in "xy")]
    for name, points, frame in zip(data.names, data.points.numpy().astype(float), data.frames, strict=True):
        if name in chosen:  # an error of prediction minus label that is shared by the neighbours is the label's own, seen from behind
            points = moved(points[None], points[None], drift[name][None])[0]
        lines.append(f"{name}," + ",".join(f"{value:.3f}" for value in frame.to_file(points).ravel()))
    write_whole(target / "landmarks.csv", ("\n".join(lines) + "\n").encode())
    pictures = target / "pictures"
    if not pictures.exists():
        pictures.mkdir()
        for path in find_dataset(folder).images.values():
            (pictures / path.name).symlink_to(path.resolve())
    print(f"{target}: {len(lines) - 1} rows, {len(chosen)} of them moved by {np.abs(np.stack([drift[name] for name in names])).mean():.2f} px@224 on average")


def retrain(folder: Path, out: Path, seeds: list[int]) -> None:
    _, split, _ = prepared(folder)
    recipe = replace(DENSE, deviations=(*DENSE.deviations, "the annotator's drift is taken out of the training labels"))
    for seed in seeds:
        place = out / f"retrained-{seed}"
        source = Source(folder=str((out / "corrected").resolve()), label_size=0)
        train(recipe, source, place, seed=seed, split=split, resume=place.exists(), quiet=True, command=f"python figures/drift.py retrain DATA OUT --seeds {seed}")
        print(f"retrained with seed {seed}", flush=True)


def judged(out: Path, runs: Path | None) -> list[Run]:
    """Those that were trained on the labels as they are, in `runs`, and those on the corrected ones."""
    return [*(runs_of("dense", runs) if runs else ()), *runs_of("retrained", out)]


def judge(folder: Path, out: Path, record: Path, runs: Path | None) -> None:
    """Four errors on the validation part for each run: as it is, and told at which row the picture was annotated."""
    found = judged(out, runs)
    data, split, _ = prepared(folder, shared_preprocessing([*found, *runs_of("fold", out)]))
    rows = row_numbers(folder, data)
    names, errors = residuals(data, out)
    order = np.array([rows[name] for name in names])
    classes = np.array([dict(zip(data.names, data.categories, strict=True))[name] for name in names])
    part = data.subset(split.parts["val"])
    refuse_seen(found, part)
    target, where = part.points.numpy().astype(float), np.array([rows[name] for name in part.names])
    drift = smooth(where, order, errors)
    results, table = [], {"row": where.astype(int).tolist()}
    for run in found:
        answers = run_points(run, part.images).astype(float)
        for told, points in ((False, answers), (True, project_to_shape(moved(answers, answers, -drift)))):
            error = radial_errors(points, target, 224)
            low, high = bootstrap_interval(error.mean(1))
            results.append({"run": run.name, "seed": run.seed, "told_the_row": told, "mre_px": error.mean(), "mre_px_ci95": [low, high]})
            table[f"{run.name}{'+row' if told else ''}"] = error.mean(1)
            print(f"{run.name:14} {'picture and row' if told else 'picture alone  '}: {error.mean():.3f} [{low:.2f}, {high:.2f}]", flush=True)
    curve_rows = np.arange(0, max(rows.values()) + 1, 5.0)
    curve, bands = smooth(curve_rows, order, errors), band(curve_rows, order, errors[:, list(AXIS), 0])
    content = {
        "unit": "px@224", "n_val": len(part), "n_curve": len(names), "split_fingerprint": split.fingerprint, "bandwidth_rows": BANDWIDTH, "shrink": SHRINK,
        "p_value": permutation_test(order, errors), "p_value_within_class": permutation_test(order, errors, classes), "results": results, "command": "python figures/drift.py judge DATA OUT RECORD",
        "trained_by": trained_by([*found, *runs_of("fold", out)]), **made_with(),
        "curve": {"row": curve_rows.tolist(), **bands, **{f"{name}_{what}": curve[:, k, c].round(3).tolist() for k, name in enumerate(LANDMARK_NAMES) for c, what in enumerate(("along", "across"))}},
        "points": {"row": order.astype(int).tolist(), "class": classes.tolist(), "L1_along": errors[:, 0, 0].round(2).tolist(), "L2_along": errors[:, 1, 0].round(2).tolist()},
    }
    write_record(record, content, part.names, table)


def band(rows: np.ndarray, order: np.ndarray, values: np.ndarray, draws: int = 1000) -> dict[str, list[float]]:
    """95 % bootstrap band, pictures resampled, of the curve of both axis ends: {"L1_along_low": [...], ...}."""
    rng = np.random.default_rng(0)
    picks = [rng.integers(len(order), size=len(order)) for _ in range(draws)]
    limits = np.quantile([smooth(rows, order[pick], values[pick]) for pick in picks], (0.025, 0.975), axis=0)
    return {f"L{k + 1}_along_{word}": limits[i, :, k].round(3).tolist() for k in range(2) for i, word in enumerate(("low", "high"))}


def explained_by_row(order: np.ndarray, values: np.ndarray) -> float:
    """Share of the squares of `values` (N,) that the curve of the *other* pictures explains; negative where it misleads."""
    return 1 - float(((values - smooth(order, order, values, apart=True)) ** 2).sum() / (values**2).sum())


def permutation_test(order: np.ndarray, errors: np.ndarray, groups: np.ndarray | None = None, draws: int = 2000) -> float:
    """Share of shuffled orders whose curve explains as much of L2's error along the axis as the true order does.

    With `groups`, pictures change places only with others of their group: what is explained by the group alone is then no evidence.
    `landmark-thesis defend` computes it again in another way (defense._chance), so that a mistake here is not repeated there.
    """
    rng, values = np.random.default_rng(0), errors[:, 1, 0]
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)] if groups is not None else [np.arange(len(order))]

    def shuffled() -> np.ndarray:
        drawn = order.copy()
        for index in members:
            drawn[index] = rng.permutation(order[index])
        return drawn

    true = explained_by_row(order, values)
    return (1 + sum(explained_by_row(shuffled(), values) >= true for _ in range(draws))) / (1 + draws)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("folds", "correct", "retrain", "judge"))
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("record", type=Path, nargs="?", default=RECORDS / "drift")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--runs", type=Path, help="folder with runs dense-*, trained on the labels as they are")
    arguments = parser.parse_args()
    steps = {
        "folds": lambda: folds(arguments.data, arguments.out),
        "correct": lambda: correct(arguments.data, arguments.out),
        "retrain": lambda: retrain(arguments.data, arguments.out, arguments.seeds),
        "judge": lambda: judge(arguments.data, arguments.out, arguments.record, arguments.runs),
    }
    steps[arguments.step]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
