"""A whole training on one card: how long it takes, its memory, its share of the card's peak, and how far two trainings of one seed lie apart.

    python figures/card.py train DATA OUT [NAME ...]     `dense` and `thesis` with seed 0, one after the other; then `dense` with seed 0 twice more
    python figures/card.py judge DATA OUT                on the same machine: their errors on the validation part (figures/records/card)

On a card a seed need not fix the last digits; `repeats` says whether it does, and else how far the answers lie apart. The test part is not looked at.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from experiments import RECORDS, brief, finished, trained_by, validation_part, write_record

from landmark_thesis.bench import FULL, stated_peak, step_flops
from landmark_thesis.evaluate import run_points
from landmark_thesis.pixel_error import radial_errors, summarise
from landmark_thesis.runs import RECIPES, Run, environment, pick_device, train

RECORD = RECORDS / "card"
ALONE = {"dense-0": "dense", "thesis-0": "thesis"}
REPEATS = ("dense-0", "dense-0-again", "dense-0-once-more")
NAMES = (*ALONE, *REPEATS[1:])


def train_all(folder: Path, out: Path, names: Sequence[str]) -> None:
    for name in names:
        place = out / name
        train(RECIPES[ALONE.get(name, "dense")], folder, place, seed=0, resume=place.exists(), quiet=True, command="python figures/card.py train DATA OUT")
        told = json.loads((place / "environment.json").read_text(encoding="utf-8"))
        print(f"{name}: {told['seconds']} s, {told['peak_memory_bytes'] / 1e9:.2f} GB", flush=True)


def cost(run: Run, peak: float | None) -> dict[str, Any]:
    """What a finished training took; `peak`: the maker's operations a second. The share is that of the whole training, its pauses included."""
    told, epochs = json.loads((run.path / "environment.json").read_text(encoding="utf-8")), len(run.history)
    steps = epochs * math.ceil(len(run.part("train")) / run.recipe.batch_size)
    whole = run.recipe.name == "dense"  # phase 1 of `thesis` computes no gradient of the backbone: its steps are of two kinds
    return {
        "run": run.name, "recipe": run.recipe.name, "weights_used": told["weights_used"], "epochs": epochs, "steps": steps, "seconds": told["seconds"],
        "ms_per_step": 1000 * told["seconds"] / steps, "peak_memory_bytes": told["peak_memory_bytes"], "precision": told["precision"],
        "share_of_stated_bf16_peak": steps * step_flops(FULL) / told["seconds"] / peak if peak and whole else None,
    }


def apart(answers: Sequence[np.ndarray]) -> dict[str, float]:
    """How far the answers (N, 15, 2) of repeated trainings lie apart, px@224: mean and largest over pictures, points and pairs of trainings."""
    moved = np.stack([radial_errors(one, other, 224) for one, other in combinations(answers, 2)])
    return {"mean_px": float(moved.mean()), "most_px": float(moved.max())}


def judge(folder: Path, out: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], Sequence[str]]:
    runs = {name: finished(out / name) for name in NAMES}
    device, (part, split) = pick_device("cuda"), validation_part(folder, list(runs.values()))
    target, peak = part.points.numpy().astype(float), stated_peak(torch.cuda.get_device_name())
    answers = {name: run_points(run, part.images, device=device).astype(float) for name, run in runs.items()}
    columns = {name: radial_errors(points, target, 224).mean(1) for name, points in answers.items()}
    trained = [cost(runs[name], peak) | brief(summarise(answers[name], target, part.categories)) for name in ALONE]
    repeats = {
        "runs": list(REPEATS), "mre_px": [float(columns[name].mean()) for name in REPEATS],
        "same_weights": len({runs[name].weights_hash for name in REPEATS}) == 1, **apart([answers[name] for name in REPEATS]),
    }
    made = {key: value for key, value in environment(device).items() if key in ("device", "versions")}
    content = {"unit": "px@224", "part": "val", "n": len(part), "split_fingerprint": split.fingerprint, "tta": True, "command": "python figures/card.py judge DATA OUT",
               "trained_by": trained_by(list(runs.values())), **made, "stated_bf16_flops": peak, "trained": trained, "repeats": repeats}
    return content, columns, list(part.names)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("train", "judge"))
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", default=NAMES, help=", ".join(NAMES))
    parser.add_argument("--record", type=Path, default=RECORD)
    arguments = parser.parse_args()
    if arguments.step == "train":
        train_all(arguments.data, arguments.out, arguments.names)
        return 0
    content, columns, names = judge(arguments.data, arguments.out)
    write_record(arguments.record, content, names, columns)
    print(json.dumps(content, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
