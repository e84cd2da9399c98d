"""The test part, opened once: the final recipe with three seeds, alone and together.

    python figures/final.py RUN RUN RUN      writes test.json and errors.csv (figures/records/test); refuses where they stand already

To be run when every choice is made. The ledger of each run gets its line before a number is known, and the record keeps how often the part was opened.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from experiments import RECORDS, brief, finished, made_with, shared_preprocessing, trained_by, write_record

from landmark_thesis.data import LandmarkData, write_whole
from landmark_thesis.evaluate import LEDGER, evaluate_runs, run_points
from landmark_thesis.pixel_error import radial_errors, seed_spread, summarise
from landmark_thesis.runs import Run

RECORD = RECORDS / "test"


def test_part(runs: Sequence[Run]) -> LandmarkData:
    """The pictures to be opened; ends the script where no record could come of them, for an opening is not spent on a mistake."""
    names = [run.name for run in runs]
    if len(runs) < 2:
        raise SystemExit("a single run has no spread over seeds, and the record states it: name two or more; nothing was opened")
    if len(set(names)) < len(names):
        raise SystemExit(f"{', '.join(names)}: the record tells runs by these names, so each needs its own; nothing was opened")
    part = runs[0].source.load(shared_preprocessing(runs)).subset(runs[0].part("test"))
    for name, points in zip(part.names, part.points, strict=True):
        if not points.isfinite().all():
            raise SystemExit(f"{name}: a label is missing, and the record means all of them; nothing was opened")
    return part


def judge(runs: Sequence[Run]) -> tuple[dict[str, Any], dict[str, np.ndarray], Sequence[str]]:
    """The record's content, the mean error of each picture by each run and by all together, and the names of the pictures."""
    part = test_part(runs)
    command = f"python figures/final.py {' '.join(run.name for run in runs)}"
    results = evaluate_runs(runs, part="test", device="cpu", command=command)  # guard, ledger, metrics; where run_points answers, too
    target = part.points.numpy().astype(float)
    answers = {run.name: run_points(run, part.images).astype(float) for run in runs}
    errors = {name: radial_errors(answer, target, 224).mean(1) for name, answer in answers.items()}
    keys = ("unit", "part", "split_fingerprint", "test_fingerprint", "test_ledger", "tta", "contaminated", "unverified", "command", "baselines")
    content = {key: results[key] for key in keys} | {
        "trained_by": trained_by(runs), "n": len(part), **made_with(),
        "runs": [{"run": run.name, "seed": run.seed, "recipe": run.recipe.name, "weights": run.weights_hash} | brief(summarise(answers[run.name], target, part.categories)) for run in runs],
        "seeds": seed_spread(np.stack(list(errors.values()))),
        "test": results["test"],
    }
    return content, errors, part.names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--record", type=Path, default=RECORD)
    arguments = parser.parse_args()
    if (arguments.record / f"{arguments.record.name}.json").exists():
        print(f"{arguments.record}: the test part was opened and its result stands here; a second opening is not planned", file=sys.stderr)
        return 2
    runs = [finished(path) for path in arguments.runs]
    content, columns, names = judge(runs)
    write_record(arguments.record, content, names, columns)
    write_whole(arguments.record / LEDGER, (runs[0].path / LEDGER).read_bytes())  # the line of this opening, as each run keeps it
    print({key: np.round(value, 3).tolist() for key, value in content["seeds"].items()}, [round(run["mre_px"], 3) for run in content["runs"]])
    return 0


if __name__ == "__main__":
    sys.exit(main())
