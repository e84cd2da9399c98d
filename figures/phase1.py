"""Does phase 1 earn its epochs, and with which head? The same epochs with and without it, on the real pictures, at 128 pixels.

    python figures/phase1.py train DATA OUT [--start NAME ..]     both heads from each start; resumable
    python figures/phase1.py judge DATA OUT                       their errors on the validation part (figures/records/phase1)

A start is a backbone with its weights. `head first` trains the head on the frozen backbone for four epochs and then everything for eight, `at once`
everything for twelve; all else is the `dense` recipe, or the thesis' head and loss in it. The test part is not looked at.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from experiments import RECORDS, finished, made_with, trained_by, validation_part, write_record

from landmark_thesis.evaluate import run_points
from landmark_thesis.pixel_error import compare_errors, radial_errors
from landmark_thesis.runs import DENSE, THESIS, Recipe, Run, train

RECORD = RECORDS / "phase1"
FIRST, ALL = 4, 12  # epochs of phase 1 where there is one, and of both phases together
SIZE = 128


@dataclass(frozen=True)
class Start:
    backbone: str
    weights: str
    seeds: tuple[int, ...]


STARTS = {
    "random": Start("tiny", "none", (0, 1, 2)),
    "phantoms": Start("tiny", "auto", (0, 1, 2)),  # the package's own weights, taught to find other things in phantoms
    "imagenet": Start("efficientnet_lite0", "imagenet", (0,)),
}
HEADS = {"dense": DENSE, "regression": replace(DENSE, head="regression", head_options=THESIS.head_options, loss="wing", loss_options=THESIS.loss_options)}
ARMS = {"first": FIRST, "once": 0}


def recipe(start: Start, head: str, arm: str) -> Recipe:
    first, second = DENSE.phases
    phases = replace(first, epochs=ARMS[arm]), replace(second, epochs=ALL - ARMS[arm])
    small = replace(DENSE.preprocessing, size=SIZE)
    return replace(HEADS[head], name=f"{head}-{arm}", backbone=start.backbone, weights=start.weights, phases=phases, preprocessing=small)


def train_all(folder: Path, out: Path, starts: Sequence[str]) -> None:
    for name in starts:
        for head, arm, seed in product(HEADS, ARMS, STARTS[name].seeds):
            place = out / f"{name}-{head}-{arm}-{seed}"
            train(recipe(STARTS[name], head, arm), folder, place, seed=seed, resume=place.exists(), quiet=True, command="python figures/phase1.py train DATA OUT")
            print(place.name, flush=True)


def judge(folder: Path, runs: Mapping[tuple[str, str, str], Sequence[Run]]) -> tuple[dict[str, Any], dict[str, np.ndarray], Sequence[str]]:
    """The gain of phase 1 for each start and head: error at once minus error with the head first, on the same pictures, mean of the seeds."""
    part, split = validation_part(folder, [run for several in runs.values() for run in several])
    target, columns, found = part.points.numpy().astype(float), {}, []
    for several in runs.values():
        answers = (run_points(run, part.images).astype(float) for run in several)
        columns |= {run.name: radial_errors(answer, target, 224).mean(1) for run, answer in zip(several, answers, strict=True)}
    for name, head in dict.fromkeys(key[:2] for key in runs):
        first, once = (np.stack([columns[run.name] for run in runs[name, head, arm]]) for arm in ARMS)
        gain = compare_errors(once.mean(0), first.mean(0))
        by_seed = once.mean(1) - first.mean(1)
        found.append({"start": name, "backbone": STARTS[name].backbone, "head": head, "seeds": len(first), "first_px": float(first.mean()), "once_px": float(once.mean()),
                      "gain": gain, "gain_by_seed_px": by_seed.tolist()})
        low, high = gain["difference_px_ci95"]
        print(f"{name:9} {head:10} head first {first.mean():.2f}  at once {once.mean():.2f}  gain {gain['difference_px']:+.2f} [{low:+.2f}, {high:+.2f}]  by seed {by_seed.round(2)}", flush=True)
    content = {"unit": "px@224", "n_val": len(part), "split_fingerprint": split.fingerprint, "image_size": SIZE, "epochs": {"phase1": FIRST, "together": ALL}, "tta": True,
               "command": "python figures/phase1.py judge DATA OUT",
               "trained_by": trained_by([run for several in runs.values() for run in several]), **made_with(), "results": found}
    return content, columns, part.names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("train", "judge"))
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", choices=STARTS, nargs="+", default=list(STARTS))
    parser.add_argument("--record", type=Path, default=RECORD)
    arguments = parser.parse_args()
    if arguments.step == "train":
        train_all(arguments.data, arguments.out, arguments.start)
        return 0
    begun = [name for name in arguments.start if any(arguments.out.glob(f"{name}-*"))]
    runs = {(name, head, arm): [finished(arguments.out / f"{name}-{head}-{arm}-{seed}") for seed in STARTS[name].seeds] for name, head, arm in product(begun, HEADS, ARMS)}
    content, columns, names = judge(arguments.data, runs)
    write_record(arguments.record, content, names, columns)
    return 0


if __name__ == "__main__":
    sys.exit(main())
