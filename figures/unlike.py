"""How far do unlike models err alike, and what are they worth together? Heads and losses that share the training pictures and little else.

    python figures/unlike.py DIR RUN RUN [RUN ...] [--record RECORD]     from the errors on validation that the run folders hold, and the labels in DIR
                                                                         (figures/records/unlike); no weights are needed

Where two models err together although they differ, the picture or its label is the cause, or what both learnt from the same labels: a correlation is an upper
bound on the labels' share. Each pair's mean is moved to the nearest shape, as `dense` does; its gain is over the mean of its two. The test part is not looked at.
"""

import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from causes import alike
from experiments import RECORDS, aligned_answers, compare_runs, made_with, mean_error, trained_by

from landmark_thesis.data import load_data
from landmark_thesis.evaluate import combine
from landmark_thesis.landmarks import project_to_shape
from landmark_thesis.pixel_error import along_across, compare_errors, radial_errors
from landmark_thesis.runs import DENSE, Run

RECORD = RECORDS / "unlike"


def judge(folder: Path, runs: Sequence[Run]) -> tuple[dict, dict[str, np.ndarray], list[str]]:
    names, target, found = aligned_answers(runs, load_data(folder, DENSE.preprocessing))
    columns = columns_of(found, target)
    return compared(found, target, columns) | {
        "part": "val", "split_fingerprint": runs[0].split.fingerprint, "command": f"python figures/unlike.py DIR {' '.join(run.name for run in runs)}",
        "trained_by": trained_by(runs), **made_with(),
    }, columns, names


def columns_of(answers: dict[str, np.ndarray], target: np.ndarray) -> dict[str, np.ndarray]:
    """Per picture: the error of each run, of each pair's mean ("a + b") and of the mean of all ("together"), and L2's error along the axis; as they are stored, for ranks turn on ties."""
    def error(*members: str) -> np.ndarray:
        return radial_errors(project_to_shape(combine(np.stack([answers[name] for name in members]))), target, 224).mean(1).round(3)

    alone = {name: radial_errors(points, target, 224).mean(1).round(3) for name, points in answers.items()}
    pairs = {f"{one} + {two}": error(one, two) for one, two in itertools.combinations(answers, 2)}
    ends = {f"L2 along {name}": along_across(points, target, 224)[:, 1, 0] for name, points in answers.items()}
    return {**alone, **pairs, "together": error(*answers), **ends}


def compared(answers: dict[str, np.ndarray], target: np.ndarray, columns: dict[str, np.ndarray]) -> dict:
    """What `answers`, name -> (N, 15, 2) fractions, have in common, and what each pair and all of them make together, by their `columns_of`."""
    alone = {name: columns[name] for name in answers}
    pairs = alike({name: along_across(points, target, 224) for name, points in answers.items()})
    for pair in pairs:
        one, two = pair["runs"]
        pair |= {"together_px": float(columns[f"{one} + {two}"].mean()), "gain": compare_errors((alone[one] + alone[two]) / 2, columns[f"{one} + {two}"])}
    best = min(alone.values(), key=np.mean)
    return {
        "unit": "px@224", "n": len(target), "runs": [{"run": name, **mean_error(errors)} for name, errors in alone.items()], "pairs": pairs, **mean_error(columns["together"]),
        "gain_of_the_ensemble": compare_errors(np.mean(list(alone.values()), 0), columns["together"]), "gain_over_the_best": compare_errors(best, columns["together"]),
    }


def main() -> int:
    content = compare_runs(__doc__, RECORD, judge)
    print(json.dumps({key: content[key] for key in ("runs", "pairs", "mre_px", "gain_of_the_ensemble", "gain_over_the_best")}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
