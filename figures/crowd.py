"""What all models of the search are worth together, and what whoever knew the labels could choose among them.

    python figures/crowd.py DIR OUT     from the errors on validation that the runs of the search below OUT hold, all of one device (research.py sweep), and the
                                                          labels in DIR (figures/records/crowd); no weights are needed

Recipes that differ in one thing each, all trained on the same pictures: what they get wrong together no choice among them can mend. The mean of all is moved to the
nearest shape, as `dense` does. `hindsight` takes for each picture the run that comes nearest to its label, which nobody can who does not have it: a bound for choosing one
of these runs a picture, no model; `of_few` says how it grows with fewer runs.
`tenth` and `ninetieth` are percentiles of the runs, picture by picture. Of the mean square of all errors, `common` is the share that the mean of all answers keeps. The
test part is not looked at.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import numpy as np
import research
from experiments import RECORDS, aligned_answers, made_with, mean_error, trained_by, trained_on, write_record

from landmark_thesis.data import load_data
from landmark_thesis.evaluate import combine
from landmark_thesis.landmarks import project_to_shape
from landmark_thesis.pixel_error import compare_errors, radial_errors
from landmark_thesis.runs import DENSE, Run

RECORD = RECORDS / "crowd"
FEW = 20


def runs_below(out: Path) -> list[Run]:
    """Whole runs of the search that were scored on the validation part, by name; ends the script where they are too few, or of several devices."""
    found = [Run(path.parent) for path in sorted(out.glob("*/results.json"))]
    runs = [run for run in found if run.recipe.name in research.VARIANTS and not research.is_short(run, run.recipe.name)]
    if len(devices := {trained_on(run) for run in runs}) > 1:
        raise SystemExit(f"{out}: holds runs of several devices ({', '.join(sorted(devices))}); keep those of each in a folder of their own")
    if len(runs) < 2:
        raise SystemExit(f"{out}: holds {len(runs)} runs of the search that were scored; python figures/research.py sweep makes them")
    return runs


def errors_of(answers: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(R, N) px@224, as they are stored, of answers (R, N, 15, 2)."""
    return np.stack([radial_errors(points, target, 224).mean(1).round(3) for points in answers])


def together(answers: np.ndarray, target: np.ndarray) -> tuple[dict[str, np.ndarray], float]:
    """Of answers (R, N, 15, 2) and labels (N, 15, 2), fractions: columns over the pictures, px@224 as they are stored, and the share of squares that the mean answer keeps."""
    alone = errors_of(answers, target)
    joined = radial_errors(project_to_shape(combine(answers)), target, 224).mean(1).round(3)
    common = ((answers.mean(0) - target) ** 2).mean() / ((answers - target) ** 2).mean()
    low, high = np.quantile(alone, (0.1, 0.9), axis=0).round(3)
    return {"mean of the runs": alone.mean(0).round(3), "together": joined, "hindsight": alone.min(0), "tenth": low, "ninetieth": high}, float(common)


def hindsight_of(number: int, alone: np.ndarray, draws: int = 300) -> float:
    """Mean of what hindsight makes, px@224, of `number` runs drawn at random from the errors (R, N) of all, `draws` times."""
    rng = np.random.default_rng(0)
    return float(np.mean([alone[rng.choice(len(alone), number, replace=False)].min(0).mean() for _ in range(draws)]))


def judge(folder: Path, out: Path) -> tuple[dict, dict[str, np.ndarray], list[str]]:
    runs = runs_below(out)
    names, target, found = aligned_answers(runs, load_data(folder, DENSE.preprocessing))
    answers = np.stack(list(found.values()))
    (columns, common), errors = together(answers, target), errors_of(answers, target)
    alone, few = dict(zip(found, errors.mean(1).tolist(), strict=True)), min(FEW, len(runs))
    splits = [json.loads((run.path / "results.json").read_text(encoding="utf-8"))["split_fingerprint"] for run in runs]  # phantoms that are mixed in make a split of their own
    best = min(alone, key=alone.get)
    content = {
        "unit": "px@224", "part": "val", "n": len(names), "split_fingerprint": statistics.mode(splits), "command": "python figures/crowd.py DIR OUT", "trained_by": trained_by(runs), **made_with(),
        "runs": [{"run": run.name, "variant": run.recipe.name, "mre_px": alone[run.name]} for run in runs], "n_variants": len({run.recipe.name for run in runs}),
        "best": {"run": best, "mre_px": alone[best]}, "common": common,
        **{key: mean_error(columns[name]) for key, name in (("mean_of_the_runs", "mean of the runs"), ("together", "together"), ("hindsight", "hindsight"))},
        "of_few": {"runs": few, "hindsight_px": hindsight_of(few, errors)}, "trained_on": trained_on(runs[0]),
        "gain_of_all": compare_errors(columns["mean of the runs"], columns["together"]),
        "pictures": {name: columns[name].tolist() for name in ("tenth", "ninetieth", "together", "hindsight")},
    }
    return content, columns, names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    content, columns, names = judge(arguments.data, arguments.out)
    write_record(RECORD, content, names, columns)
    print(json.dumps({key: value for key, value in content.items() if key not in ("runs", "trained_by", "pictures")}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
