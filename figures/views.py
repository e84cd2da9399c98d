"""Are more views of a picture worth their time? The mean over the picture and its mirror image, as `predict` takes it, against that over many small moves of both.

    python figures/views.py DATA RUN [RUN ...]     writes views.json and errors.csv (figures/records/views)

The moves are those by which a model's wavering is measured (runs.SMALL_MOVES); each answer is moved back, then all are averaged and moved to the nearest shape.
Runs of one recipe that differ in their seed alone, on the validation part of the thesis' split. The test part is not looked at.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from experiments import RECORDS, compare_runs, made_with, mean_error, trained_by, validation_part

from landmark_thesis.augment import Augmentation
from landmark_thesis.evaluate import predict_points
from landmark_thesis.landmarks import project_to_shape
from landmark_thesis.pixel_error import compare_errors, radial_errors
from landmark_thesis.runs import SMALL_MOVES, Run

RECORD = RECORDS / "views"
SMALL = replace(SMALL_MOVES, flip=0.0)  # the mirror image is taken of each view
MOVES = 8  # and the mirror image of each: 16 views
PLACES = torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75]])  # three points tell how a view was moved


def moved_back(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Points (N, K, 2) of views, where they lie in the pictures that were moved: `places` (N, 3, 2) is where PLACES went."""
    ones = np.ones((len(points), 1, 1))
    matrix = np.linalg.solve(np.concatenate([places, np.broadcast_to(ones, (len(points), 3, 1))], -1), np.broadcast_to(PLACES.numpy().astype(float), (len(points), 3, 2)))
    return points @ matrix[:, :2] + matrix[:, 2:]


def seen_often(run: Run, images: torch.Tensor, moves: Augmentation = SMALL) -> np.ndarray:
    """Answers (N, 15, 2), mean over the picture's small moves, each with its mirror image."""
    generator, found = torch.Generator().manual_seed(run.seed), []
    for _ in range(MOVES):
        views, places = moves(images.unsqueeze(1).float() / 255, PLACES.expand(len(images), 3, 2), generator)
        seen = (views.squeeze(1) * 255).round().clamp(0, 255).to(torch.uint8)
        found.append(moved_back(predict_points(run.model(), seen, precision=run.recipe.precision).astype(float), places.double().numpy()))
    return np.mean(found, 0)


def judge(folder: Path, runs: Sequence[Run]) -> tuple[dict, dict[str, np.ndarray], list[str]]:
    part, split = validation_part(folder, runs)
    target, columns, told = part.points.numpy().astype(float), {}, []
    for run in runs:
        for arm, answers in (("mirrored", predict_points(run.model(), part.images, precision=run.recipe.precision).astype(float)), ("many", seen_often(run, part.images))):
            columns[f"{arm} {run.name}"] = errors = radial_errors(project_to_shape(answers), target, 224).mean(1).round(3)  # as they are stored: ranks turn on ties
            told.append({"run": run.name, "seed": run.seed, "arm": arm, **mean_error(errors)})
            print(run.name, arm, round(float(errors.mean()), 3), flush=True)
    once, many = (np.mean([columns[f"{arm} {run.name}"] for run in runs], 0) for arm in ("mirrored", "many"))
    content = {
        "unit": "px@224", "part": "val", "n": len(part), "n_views": 2 * MOVES, "split_fingerprint": split.fingerprint,
        "command": f"python figures/views.py DATA {' '.join(run.name for run in runs)}", "trained_by": trained_by(runs), **made_with(), "results": told,
        "gain_of_more_views": compare_errors(once, many),
    }
    return content, columns, list(part.names)


def main() -> int:
    print(json.dumps(compare_runs(__doc__, RECORD, judge)["gain_of_more_views"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
