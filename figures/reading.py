"""What the likeliest shape is worth beside the nearest: the same weights, read in both ways, on the validation part.

    python figures/reading.py DATA RUN RUN [RUN ...]     writes reading.json and errors.csv (figures/records/reading)

Runs of one recipe that differ in their seed alone go together; how a model's answers waver is measured on its own training pictures, without a label.
The test part is not looked at. The five folds have the same comparison over all development pictures (folds.py).
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from experiments import RECORDS, brief, compare_runs, made_with, trained_by, validation_part

from landmark_thesis.evaluate import combine, predict_points
from landmark_thesis.landmarks import LANDMARK_NAMES, likeliest_shape, project_to_shape
from landmark_thesis.pixel_error import compare_errors, radial_errors, seed_spread, summarise
from landmark_thesis.runs import Run, answer_covariance

RECORD = RECORDS / "reading"


def wavering(run: Run) -> np.ndarray:
    """As its folder keeps it, or measured now, for a run whose recipe wants the nearest shape."""
    if run.covariance is not None:
        return run.covariance
    data = run.source.load(run.recipe.preprocessing)
    return answer_covariance(run.model(), data.subset(run.part("train")).images, seed=run.seed, precision=run.recipe.precision)


def spread_of(forms: Sequence[np.ndarray]) -> dict[str, dict[str, float]]:
    """By landmark, the standard deviation along and across the axis where the mean over all is 1, mean of the runs."""
    deviations = np.sqrt(np.mean([np.diag(form) for form in forms], 0)).reshape(-1, 2)
    return {name: {"along": float(along), "across": float(across)} for name, (along, across) in zip(LANDMARK_NAMES, deviations, strict=True)}


def judge(folder: Path, runs: Sequence[Run]) -> tuple[dict, dict[str, np.ndarray], list[str]]:
    part, split = validation_part(folder, runs)
    target, columns, told = part.points.numpy().astype(float), {}, []
    for name in dict.fromkeys(run.recipe.name for run in runs):
        several = [run for run in runs if run.recipe.name == name]
        if any(run.recipe != several[0].recipe for run in several) or len({run.seed for run in several}) < len(several):
            raise SystemExit(f"{', '.join(str(run.path) for run in several)}: are not one recipe with a seed each; judge those of each kind by themselves")
        answers = [predict_points(run.model(), part.images, precision=run.recipe.precision).astype(float) for run in several]
        forms = [wavering(run) for run in several]
        read = {
            "nearest": [project_to_shape(answer) for answer in answers],
            "likeliest": [likeliest_shape(answer, form) for answer, form in zip(answers, forms, strict=True)],
        }
        errors = {way: np.stack([radial_errors(points, target, 224).mean(1) for points in found]) for way, found in read.items()}
        together = {way: radial_errors(combine(np.stack(found)), target, 224).mean(1) for way, found in read.items()}
        columns |= {f"{way} {run.name}": row for way, rows in errors.items() for run, row in zip(several, rows, strict=True)}
        columns |= {f"{way} {name} together": row for way, row in together.items()}
        told.append({
            "recipe": name, "runs": [{"run": run.name, "seed": run.seed} for run in several], **{way: seed_spread(rows) for way, rows in errors.items()},
            "gain": compare_errors(errors["nearest"].mean(0), errors["likeliest"].mean(0)),
            "together": {way: float(row.mean()) for way, row in together.items()},
            "first": {way: brief(summarise(found[0], target, part.categories)) for way, found in read.items()},
            "gain_of_the_ensemble": compare_errors(errors["likeliest"].mean(0), together["likeliest"]), "wavering": spread_of(forms),
        })
        print(name, {way: rows.mean(1).round(3).tolist() for way, rows in errors.items()}, told[-1]["gain"], flush=True)
    content = {
        "unit": "px@224", "part": "val", "n": len(part), "split_fingerprint": split.fingerprint, "tta": True,
        "command": f"python figures/reading.py DATA {' '.join(run.name for run in runs)}", "trained_by": trained_by(runs), **made_with(), "recipes": told,
    }
    return content, columns, list(part.names)


def main() -> int:
    content = compare_runs(__doc__, RECORD, judge)
    print(json.dumps([{key: told[key] for key in ("recipe", "nearest", "likeliest", "gain", "together")} for told in content["recipes"]], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
