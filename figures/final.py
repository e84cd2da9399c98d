"""The test part, opened once: the final recipe with three seeds, alone and together.

    python figures/final.py RUN RUN RUN      writes test.json and errors.csv (figures/records/test); refuses where they stand already
    python figures/final.py --copies RUN     looks for copies again, where a run of the record had kept no signatures to find them by; nothing is predicted

To be run when every choice is made. The ledger of each run gets its line before a number is known, and the record keeps how often the part was opened.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from experiments import RECORDS, brief, finished, made_with, shared_preprocessing, trained_by, write_record

from landmark_thesis.data import LandmarkData, write_whole
from landmark_thesis.evaluate import LEDGER, combine, evaluate_runs, refuse_seen, run_points
from landmark_thesis.pixel_error import radial_errors, seed_spread, summarise
from landmark_thesis.runs import Run

RECORD = RECORDS / "test"
TOGETHER = "together"  # the column of the runs' mean answer, from which its error can be computed again when the weights are gone


def test_part(runs: Sequence[Run]) -> LandmarkData:
    """The pictures to be opened; ends the script where no record could come of them, for an opening is not spent on a mistake."""
    names = [run.name for run in runs]
    if len(runs) < 2:
        raise SystemExit("a single run has no spread over seeds, and the record states it: name two or more; nothing was opened")
    if len({*names, TOGETHER, "image"}) < len(names) + 2:
        raise SystemExit(f"{', '.join(names)}: the record tells runs by these names, so each needs its own, and none may be '{TOGETHER}' or 'image'; nothing was opened")
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
    together = {TOGETHER: radial_errors(combine(np.stack(list(answers.values()))), target, 224).mean(1)}
    keys = ("unit", "part", "split_fingerprint", "test_fingerprint", "test_ledger", "tta", "contaminated", "unverified", "command", "baselines")
    content = {key: results[key] for key in keys} | {
        "trained_by": trained_by(runs), "n": len(part), **made_with(),
        "runs": [{"run": run.name, "seed": run.seed, "recipe": run.recipe.name, "weights": run.weights_hash} | brief(summarise(answers[run.name], target, part.categories)) for run in runs],
        "seeds": seed_spread(np.stack(list(errors.values()))),
        "test": results["test"],
    }
    return content, errors | together, part.names


def looked_again(content: dict[str, Any], run: Run) -> dict[str, Any]:
    """The record's content when no scored picture is a copy of one that `run` has seen; LeakageError where one is.

    `run` must be of the record's split. Its fingerprint names all pictures and their pixels, so what stands in the signatures of `run`
    is what every model of the record has seen. Ends the script where it is another split, or `run` has no signatures either.
    """
    if run.split.fingerprint != content["split_fingerprint"]:
        raise SystemExit(f"{run.path}: of split {run.split.fingerprint}, and the record of {content['split_fingerprint']}: other pictures were trained on")
    if run.unverified:
        raise SystemExit(f"{run.path}: {run.unverified}, so it cannot tell either")
    refuse_seen([run], run.source.load(run.recipe.preprocessing).subset(run.part("test")), "test")
    told = {"why": content["unverified"], "command": f"python figures/final.py --copies {run.name}", "trained_by": trained_by([run])}
    return content | {"unverified": [], "copies_looked_for": told}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--copies", type=Path, metavar="RUN")
    parser.add_argument("--record", type=Path, default=RECORD)
    arguments = parser.parse_args()
    if bool(arguments.runs) == bool(arguments.copies):
        parser.error("name the runs to be scored, or one run after --copies")
    if arguments.copies:
        path = arguments.record / f"{arguments.record.name}.json"
        content = looked_again(json.loads(path.read_text(encoding="utf-8")), finished(arguments.copies))
        write_whole(path, (json.dumps(content, indent=1) + "\n").encode())
        print(f"{path}: no copy of a picture that was trained or selected on")
        return 0
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
