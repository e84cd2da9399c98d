"""How far a model carries: another country, another decade, film instead of detectors (JSRT, 246 radiographs with lung contours).

    python figures/outside.py JSRT RUN [RUN ...] [--record RECORD]     write outside.json and errors.csv (figures/records/outside)

JSRT has no 15 landmarks, but dense contours of both lungs. So each of the ten lateral points is held against the lateral arc of its lung, from the apex
to the costophrenic angle: how far is it from that border, wherever on it it lies? The axis is not judged, for nothing in JSRT says where it would end.
None of these pictures was trained on or chosen by; the guard's signatures look for copies first.

JSRT: folders `images` (224 x 224) and `landmarks_1024/{RL,LL}` (contours in pixels of a 1024 picture), as in the Chest X-ray landmark dataset (Gaggion et al.,
IEEE TMI 42, 2023), after the SCR annotations of van Ginneken et al. (Medical Image Analysis 10, 2006).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from experiments import RECORDS, finished, made_with, trained_by, write_record

from landmark_thesis.data import find_copies, preprocess, read_image
from landmark_thesis.evaluate import predict
from landmark_thesis.landmarks import LANDMARK_NAMES, LATERAL, LEFT_CONTOUR, RIGHT_CONTOUR, fractions_to_pixels
from landmark_thesis.pixel_error import bootstrap_interval, compare_errors
from landmark_thesis.runs import Run

MM_PER_PX = 1.600  # 2048 pixels of 0.175 mm, drawn on 224
RECORD = RECORDS / "outside"


def lateral_arc(contour: np.ndarray, side: int) -> np.ndarray:
    """The outer border (M, 2) of one lung: the closed contour (N, 2) between its highest vertex and the costophrenic angle.

    The angle is the vertex farthest down and outwards, both counted alike. side: -1 for the lung on the picture's left, +1 on its right. Of the two ways
    from one to the other the more lateral is taken.
    """
    apex, angle = contour[:, 1].argmin(), (side * contour[:, 0] + contour[:, 1]).argmax()
    turned = np.roll(contour, -apex, axis=0)
    steps = (angle - apex) % len(contour)
    ways = turned[: steps + 1], np.concatenate([turned[steps:], turned[:1]])[::-1]
    return max(ways, key=lambda way: side * way[:, 0].mean())


def distance_to_line(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Shortest distance (K,) of points (K, 2) to a polyline (M, 2)."""
    start, step = line[:-1], np.diff(line, axis=0)
    share = ((points[:, None] - start) * step).sum(-1) / np.maximum((step**2).sum(-1), 1e-12)
    nearest = start + np.clip(share, 0, 1)[..., None] * step
    return np.linalg.norm(points[:, None] - nearest, axis=-1).min(1)


def border_distances(points: np.ndarray, arcs: Sequence[dict[int, np.ndarray]]) -> np.ndarray:
    """(N, 10) px@224: distance of the lateral points, in the order of LATERAL, of (N, 15, 2) pixel indices to their lungs' arcs."""
    found = np.empty((len(points), len(LATERAL)))
    for row, (picture, sides) in enumerate(zip(points, arcs, strict=True)):
        for side, line in ((-1, LEFT_CONTOUR), (1, RIGHT_CONTOUR)):
            columns = [LATERAL.index(point) for point in line]
            found[row, columns] = distance_to_line(picture[list(line)], sides[side])
    return found


def pictures(folder: Path) -> tuple[list[Path], list[dict[int, np.ndarray]]]:
    """Those pictures that have both contours, and their lateral arcs in pixel indices at 224."""
    files, arcs = [], []
    for path in sorted((folder / "images").glob("*.png")):
        contours = {side: folder / "landmarks_1024" / lung / f"{path.stem}.npy" for side, lung in ((-1, "RL"), (1, "LL"))}
        if all(file.exists() for file in contours.values()):
            files.append(path)
            arcs.append({side: lateral_arc(np.load(file) * 224 / 1024, side) for side, file in contours.items()})
    if not files:
        raise SystemExit(f"{folder}: holds no images/*.png with landmarks_1024/RL and LL beside them")
    return files, arcs


def row(name: str, distances: np.ndarray, baseline: np.ndarray | None) -> dict:
    """What is stated of one model: mean over pictures with its interval, pooled median and 95th percentile, in px@224 and mm."""
    errors = distances.mean(1)
    low, high = bootstrap_interval(errors)
    found = {"model": name, "border_px": errors.mean(), "border_px_ci95": [low, high], "median_px": np.median(distances)}
    found |= {"p95_px": np.quantile(distances, 0.95), "per_landmark": dict(zip([LANDMARK_NAMES[k] for k in LATERAL], distances.mean(0).tolist(), strict=True))}
    found |= {key.replace("px", "mm"): np.multiply(found[key], MM_PER_PX).tolist() for key in ("border_px", "border_px_ci95", "median_px", "p95_px")}
    if baseline is not None:
        found["against_mean_shape"] = compare_errors(errors, baseline)
    return found


def score(folder: Path, runs: Sequence[Run], record: Path) -> dict:
    files, arcs = pictures(folder)
    grey = [read_image(path) for path in files]
    names = [path.stem for path in files]
    copies = {
        run.name: find_copies(np.stack([preprocess(picture, run.recipe.preprocessing) for picture in grey]), names, run.signatures)
        for run in runs
        if run.signatures is not None
    }
    if found := {name: pairs for name, pairs in copies.items() if pairs}:
        raise SystemExit(f"some of these pictures were trained on: {found}; leave them out")
    shape = fractions_to_pixels(runs[0].mean_shape, 224)
    distances = {"mean shape": border_distances(np.broadcast_to(shape, (len(files), 15, 2)), arcs)}
    distances |= {run.name: border_distances(predict(run, grey), arcs) for run in runs}
    ruler = distances["mean shape"].mean(1)
    content = {
        "unit": "px@224", "measure": "distance of the ten lateral points to the lateral arc of the lung contour, apex to costophrenic angle",
        "dataset": "JSRT", "n": len(files), "mm_per_px": MM_PER_PX, "tta": True, "contaminated": False, "copies_found": 0, "looked_for_copies": sorted(copies),
        "split_fingerprint": runs[0].split.fingerprint,
        "command": f"python figures/outside.py JSRT {' '.join(run.name for run in runs)}", "trained_by": trained_by(runs), **made_with(),
        "results": [row(name, found, None if name == "mean shape" else ruler) for name, found in distances.items()],
    }
    columns = {f"{name}: {LANDMARK_NAMES[point]}": found[:, k] for name, found in distances.items() for k, point in enumerate(LATERAL)}
    write_record(record, content, names, columns)
    return content


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jsrt", type=Path)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--record", type=Path, default=RECORD)
    arguments = parser.parse_args()
    for result in score(arguments.jsrt, [finished(path) for path in arguments.runs], arguments.record)["results"]:
        low, high = result["border_px_ci95"]
        print(f"{result['model']:34} {result['border_px']:6.2f} [{low:.2f}, {high:.2f}] median {result['median_px']:.2f} p95 {result['p95_px']:.2f} px@224")
    return 0


if __name__ == "__main__":
    sys.exit(main())
