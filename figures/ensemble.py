"""What mirror averaging and more seeds are worth: the same runs alone and together, with and without the mirrored picture.

    python figures/ensemble.py DATA RUN RUN [RUN ...]     writes ensemble.json and errors.csv (figures/records/ensemble)

Runs of one recipe that differ in their seed alone, scored on the validation part of the thesis' split; ensembles grow in the order given. A gain is the
paired difference on the same pictures. The test part is not looked at.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from experiments import RECORDS, compare_runs, made_with, mean_error, trained_by, validation_part

from landmark_thesis.evaluate import combine, predict_points
from landmark_thesis.landmarks import project_to_shape
from landmark_thesis.pixel_error import compare_errors, radial_errors, seed_spread
from landmark_thesis.runs import Run

RECORD = RECORDS / "ensemble"


def judge(folder: Path, runs: Sequence[Run]) -> tuple[dict, dict[str, np.ndarray], list[str]]:
    part, split = validation_part(folder, runs)
    target, steps, columns = part.points.numpy().astype(float), [], {}
    for arm, tta in (("plain", False), ("mirrored", True)):
        answers = np.stack([predict_points(run.model(), part.images, tta=tta) for run in runs]).astype(float)
        for members in range(1, len(runs) + 1):
            errors = radial_errors(project_to_shape(combine(answers[:members])), target, 224).mean(1)
            columns[f"{arm}-{members}"] = errors
            steps.append({"arm": arm, "members": members, **mean_error(errors)})
        alone = np.stack([radial_errors(project_to_shape(answer), target, 224).mean(1) for answer in answers])
        columns |= {f"{arm} {run.name}": errors for run, errors in zip(runs, alone, strict=True)}
        print(arm, alone.mean(1).round(3), [round(step["mre_px"], 3) for step in steps if step["arm"] == arm], flush=True)
    several = np.mean([columns[f"mirrored {run.name}"] for run in runs], 0)
    content = {
        "unit": "px@224", "part": "val", "n": len(part), "split_fingerprint": split.fingerprint, "command": f"python figures/ensemble.py DATA {' '.join(run.name for run in runs)}",
        "trained_by": trained_by(runs), **made_with(), "runs": [{"run": run.name, "seed": run.seed} for run in runs],
        "seeds": seed_spread(np.stack([columns[f"mirrored {run.name}"] for run in runs])),
        "ensembles": steps,
        "gain_of_the_mirror": compare_errors(np.mean([columns[f"plain {run.name}"] for run in runs], 0), several),
        "gain_of_the_ensemble": compare_errors(several, columns[f"mirrored-{len(runs)}"]),
    }
    return content, columns, list(part.names)


def main() -> int:
    content = compare_runs(__doc__, RECORD, judge)
    print(json.dumps({key: content[key] for key in ("seeds", "gain_of_the_mirror", "gain_of_the_ensemble")}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
