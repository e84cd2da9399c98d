"""The last candidates, each picture judged by a model that was not trained on it.

    python figures/folds.py train DATA OUT [--of all]      five `dense` models, each without a fifth of the pictures; resumable
    python figures/folds.py judge DATA OUT [--of all]      their errors, and those of other ways to read them (figures/records/folds, or oof)
    python figures/folds.py judge DATA OUT --job VARIANT/SEED      the same of a variant of the search, which `research.py sweep VARIANT/SEED/1 ... /5`
                                                                   trained, picture by picture against `dense` (figures/records/VARIANT-folds)

The folds lie over the 860 development pictures of the thesis' split, and its test part stays closed; with `--of all` over all 957, which opens it, and
the ledger says so. Readings of the same answers are compared: as the maps gave them, moved to the nearest shape of 14 numbers (what `dense` does), moved to
the likeliest shape by how each model's own answers waver when its training pictures are moved a little (no label needed), moved to the likeliest shape by how
points err in the four other folds (labels needed), and corrected by a ridge regression that learnt from those folds what the answers tell of their errors.
A variant is compared with `dense` in both readings that a recipe has, on pictures that neither was trained on.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from experiments import RECORDS, brief, finished, made_with, trained_by, write_record
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from landmark_thesis.data import read_rows
from landmark_thesis.evaluate import evaluate_runs, predict_points
from landmark_thesis.landmarks import likeliest_shape, project_to_shape
from landmark_thesis.pixel_error import along_across, compare_errors, radial_errors, summarise
from landmark_thesis.runs import DENSE, Run, answer_covariance, train

FOLDS = 5
NAMES = {"dev": "folds", "all": "oof"}
CHOSEN = "projected"
READ_BY_A_RECIPE = (CHOSEN, "likeliest")  # `dense`, and `steady`
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


def error_covariance(raw: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(30, 30): how the answers (N, 15, 2) err, point by point along and across their own axis."""
    errors = along_across(target, project_to_shape(raw), 224) - along_across(raw, project_to_shape(raw), 224)
    covariance = np.cov(errors.reshape(len(raw), -1).T)
    return (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(np.diag(covariance))


def weighted(raw: np.ndarray, target: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Answers (N, 15, 2) moved to their likeliest shapes, for each fold by the covariance that the others' errors have."""
    moved = np.empty_like(raw)
    for number in np.unique(fold):
        here = fold == number
        moved[here] = likeliest_shape(raw[here], error_covariance(raw[~here], target[~here]))
    return moved


def steadied(raw: np.ndarray, forms: Sequence[np.ndarray], fold: np.ndarray) -> np.ndarray:
    """Answers (N, 15, 2) moved to their likeliest shapes, for fold k by how the k-th model wavers."""
    moved = np.empty_like(raw)
    for number, form in enumerate(forms, 1):
        moved[fold == number] = likeliest_shape(raw[fold == number], form)
    return moved


def readings(raw: np.ndarray, target: np.ndarray, fold: np.ndarray, forms: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    return {
        "raw": raw, CHOSEN: project_to_shape(raw), "likeliest": steadied(raw, forms, fold), "weighted": weighted(raw, target, fold),
        "corrected": corrected(raw, target, fold),
    }


def rival_errors(record: Path, names: Sequence[str], fold: np.ndarray) -> dict[str, np.ndarray]:
    """Reading -> the error of each of `names` that `dense` has in its record of the same folds; ends the script where they are others."""
    rows = {row["image"]: row for row in read_rows(record / "errors.csv")}
    if set(rows) != set(names) or any(int(rows[name]["fold"]) != number for name, number in zip(names, fold, strict=True)):
        raise SystemExit(f"{record}: other pictures, or other folds, than those of these runs; train them on the same pictures with the same number of folds")
    return {reading: np.array([float(rows[name][reading]) for name in names]) for reading in READ_BY_A_RECIPE}


def judge(runs: Sequence[Run], of: str, command: str, rival: Path | None = None) -> tuple[dict, Mapping[str, Sequence[float]], list[str]]:
    """Content, columns and names of a record; `rival`: the record of `dense` on the same folds, to compare with."""
    results = evaluate_runs(runs, part="oof", device="cpu", command=command)  # guard, ledger, metrics; where predict_points answers, too
    data = runs[0].source.load(runs[0].recipe.preprocessing)
    parts = [data.subset(run.part("oof")) for run in runs]
    fold = np.repeat(np.arange(1, len(runs) + 1), [len(part) for part in parts])
    raw = np.concatenate([predict_points(run.model(), part.images) for run, part in zip(runs, parts, strict=True)]).astype(float)
    target = np.concatenate([part.points.numpy() for part in parts]).astype(float)
    forms = [answer_covariance(run.model(), data.subset(run.part("train")).images, seed=run.seed) for run in runs]
    categories = [name for part in parts for name in part.categories]
    answers = readings(raw, target, fold, forms)
    errors = {name: radial_errors(answer, target, 224).mean(1).round(3) for name, answer in answers.items()}  # as they are stored: ranks turn on ties
    content = {
        "unit": "px@224", "of": of, "n": len(target), "folds": len(runs), "test_fingerprint": results["test_fingerprint"], "test_ledger": results["test_ledger"],
        "contaminated": results["contaminated"], "unverified": results["unverified"], "command": results["command"], "trained_by": trained_by(runs), **made_with(),
        "runs": [{"run": run.name, "n_train": len(run.part("train")), "n": len(run.part("oof")), "split_fingerprint": run.split.fingerprint,
                  "mre_px": float(errors[CHOSEN][fold == number].mean())} for number, run in enumerate(runs, 1)],
        "oof": results["oof"],
        "readings": {name: brief(summarise(answer, target, categories)) for name, answer in answers.items()},
        "gains": {name: compare_errors(errors[CHOSEN], values) for name, values in errors.items() if name != CHOSEN},
    }
    names = [name for part in parts for name in part.names]
    columns = {"fold": [int(number) for number in fold], **errors}
    if rival:
        theirs = rival_errors(rival, names, fold)
        content["against_dense"] = {reading: compare_errors(known, errors[reading]) for reading, known in theirs.items()}
        columns |= {f"dense {reading}": known for reading, known in theirs.items()}
    return content, columns, names


def _found(out: Path, job: str | None) -> list[Run]:
    """The five runs below `out`: of `dense`, or of a variant of the search."""
    name = "dense-{}" if job is None else job.replace("/", "-") + "-fold{}"
    return [finished(out / name.format(number)) for number in range(1, FOLDS + 1)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("train", "judge"))
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--of", choices=NAMES, default="dev")
    parser.add_argument("--job", metavar="VARIANT/SEED", help="judge a variant of the search, over the development pictures")
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    if arguments.job and (arguments.step, arguments.of) != ("judge", "dev"):
        parser.error("--job: to judge over the development pictures alone; research.py sweep trains it, and no variant opens the test part")
    if arguments.step == "train":
        train_folds(arguments.data, arguments.out, arguments.of)
        return 0
    job = arguments.job
    command = "python figures/folds.py judge DATA OUT " + (f"--job {job}" if job else f"--of {arguments.of}")
    content, columns, names = judge(_found(arguments.out, job), arguments.of, command, RECORDS / NAMES["dev"] if job else None)
    write_record(arguments.record or RECORDS / (f"{job.split('/')[0]}-folds" if job else NAMES[arguments.of]), content, names, columns)
    for name, found in content["readings"].items():
        low, high = found["mre_px_ci95"]
        print(f"{name:10} {found['mre_px']:.3f} [{low:.2f}, {high:.2f}]  across {found['across_px']:.2f}  contour {found['contour_px']:.2f}  p95 {found['p95_px']:.1f}")
    for name, gain in content["gains"].items():
        print(f"{name} - {CHOSEN}:", gain)
    for name, gain in content.get("against_dense", {}).items():
        print(f"{name}, against dense:", gain)
    return 0


if __name__ == "__main__":
    sys.exit(main())
