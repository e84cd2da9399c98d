"""How much leakage flatters, on the real pictures: four models trained the way the thesis did, four the right way, scored on the same 96.

    python figures/leakage.py train DATA OUT      train what is missing in OUT, one after another (about 9 minutes each on two cores); resumable
    python figures/leakage.py score OUT [RECORD]  score them; write errors.csv and leakage.json into RECORD (figures/records/leakage)

Only the 860 development pictures of the thesis' split take part, so that its test part stays closed. Each leaky member draws its own split with
its own seed; each clean member has the same seed for its weights and the split of seed 42. Scored are the 96 test pictures of that split.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from experiments import finished, trained_by, write_rows

from landmark_thesis.data import LandmarkData, Split, load_data, near_duplicates, thesis_split, write_whole
from landmark_thesis.evaluate import LeakageError, combine, evaluate_runs, run_points
from landmark_thesis.landmarks import LANDMARK_NAMES
from landmark_thesis.pixel_error import bootstrap_interval, compare, radial_errors
from landmark_thesis.runs import DENSE, Run, train

SCORED, SPLIT_SEED = 96, 42
SEEDS = (123, 321, 111, 666)  # the thesis' last ensemble
RECORD = Path(__file__).resolve().parent / "records" / "leakage"


def train_all(folder: str, out: Path) -> None:
    data = load_data(folder)
    duplicates = near_duplicates(data.images, data.names)
    development = set(thesis_split(data.names, data.categories, duplicates=duplicates).development)
    data = data.subset([name for name in data.names if name in development])

    def split(seed: int) -> Split:
        return thesis_split(data.names, data.categories, seed, duplicates, data.pixel_hash, test_size=SCORED)

    for seed in SEEDS:
        for arm, split_seed in (("leaky", seed), ("clean", SPLIT_SEED)):
            place = out / f"{arm}-{seed}"
            print(f"{place.name}: split {split_seed}", flush=True)
            train(
                DENSE, folder, place, seed=seed, split=split(split_seed), split_seed=split_seed, resume=place.exists(),
                quiet=True, command="python figures/leakage.py train DATA OUT",
            )


# ---------------------------------------------------------------- scoring


def interval(errors: np.ndarray) -> dict:
    """Mean over pictures and its 95 % interval."""
    return {"mre_px": float(errors.mean()), "mre_px_ci95": list(bootstrap_interval(errors))}


def official(runs: Sequence[Run], split: Split) -> tuple[dict, str]:
    """The four together through the front door, and what the guard said first ("" where it said nothing)."""
    asked = {"part": "test", "split": split, "device": "cpu", "command": "python figures/leakage.py score OUT"}  # where run_points answers
    try:
        return evaluate_runs(runs, **asked), ""
    except LeakageError as error:
        return evaluate_runs(runs, **asked, allow_contaminated=True), str(error)


def answered(members: Sequence[Run], data: LandmarkData) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors (M, N, 15), px@224, of each member alone and of the first one, two, ... together, and the answers of these, fractions."""
    each = np.stack([run_points(run, data.images) for run in members])
    growing = np.stack([combine(each[:size]) for size in range(1, len(members) + 1)]).astype(np.float64)
    target = data.points.numpy().astype(np.float64)
    alone, together = (np.stack([radial_errors(answer, target, 224) for answer in answers]) for answers in (each.astype(np.float64), growing))
    return alone, together, growing


def rows_of(arm: str, model: str, seen: np.ndarray, radial: np.ndarray, data: LandmarkData) -> list[dict]:
    """One row a picture: who was asked, how many of them had trained on it, and its errors in px@224."""
    return [
        {"arm": arm, "model": model, "image": name, "category": category, "seen_by": int(times), "mre_px": round(float(errors.mean()), 3)}
        | {landmark: round(float(error), 2) for landmark, error in zip(LANDMARK_NAMES, errors, strict=True)}
        for name, category, times, errors in zip(data.names, data.categories, seen, radial, strict=True)
    ]


def table_of(arm: str, data: LandmarkData, seen: np.ndarray, alone: np.ndarray, together: np.ndarray) -> list[dict]:
    """The rows of an arm; seen (M, N): which member trained on which picture; errors (M, N, 15) of each member and of the growing ensembles."""
    models = [*(f"seed {seed}" for seed in SEEDS), *(f"first {size}" for size in range(1, len(SEEDS) + 1))]
    asked = zip(models, [*seen, *seen.cumsum(0)], [*alone, *together], strict=True)
    return [row for model, times, errors in asked for row in rows_of(arm, model, times, errors, data)]


def member_told(arm: str, run: Run, data: LandmarkData, seen: np.ndarray, errors: np.ndarray) -> dict:
    """What the record says of one model: its split, how many of the scored pictures it knew, and its error."""
    return {
        "arm": arm, "seed": run.seed, "split_seed": run.split.seed, "split_fingerprint": run.split.fingerprint, "weights": run.weights_hash,
        "trained_on_scored": int(seen.sum()), "selected_on_scored": len(run.provenance["selected_on"].keys() & set(data.names)),
    } | interval(errors.mean(1))


def score_all(out: Path, record: Path) -> dict:
    runs = {arm: [finished(out / f"{arm}-{seed}") for seed in SEEDS] for arm in ("leaky", "clean")}
    split = runs["clean"][0].split
    data = runs["clean"][0].source.load(DENSE.preprocessing).subset(split.parts["test"])
    rows, answers, content = [], {}, {"members": [], "ensembles": [], "arms": {}}
    for arm, members in runs.items():
        alone, together, answers[arm] = answered(members, data)
        seen = np.array([np.isin(data.names, run.split.parts["train"]) for run in members])
        rows += table_of(arm, data, seen, alone, together)
        results, refused = official(members, split)
        if abs(results["test"]["mre_px"] - together[-1].mean()) > 1e-3:
            raise SystemExit(f"{arm}: evaluate_runs says {results['test']['mre_px']}, the stored errors {together[-1].mean()}")
        content["members"] += [member_told(arm, run, data, own, errors) for run, own, errors in zip(members, seen, alone, strict=True)]
        content["ensembles"] += [{"arm": arm, "members": size} | interval(errors.mean(1)) for size, errors in enumerate(together, 1)]
        content["arms"][arm] = {
            "pictures_seen_by": np.bincount(seen.sum(0), minlength=len(SEEDS) + 1).tolist(), "contaminated": results["contaminated"], "refused": refused,
        }
    target = data.points.numpy().astype(np.float64)
    content["clean_minus_leaky"] = [compare(clean, leaky, target) for clean, leaky in zip(answers["clean"], answers["leaky"], strict=True)]
    head = {
        "unit": "px@224", "what": "development pictures only; the thesis' test part stays closed", "recipe": DENSE.name, "n": len(data), "seeds": list(SEEDS),
        "split_fingerprint": split.fingerprint, "test_fingerprint": split.fingerprint_of("test"), "tta": True, "device": results["device"],
        "versions": results["versions"], "command": "python figures/leakage.py score OUT", "trained_by": trained_by([*runs["leaky"], *runs["clean"]]),
    }
    write_rows(record / "errors.csv", rows)
    write_whole(record / "leakage.json", (json.dumps(head | content, indent=1, allow_nan=False) + "\n").encode())
    return head | content


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    jobs = parser.add_subparsers(dest="job", required=True)
    job = jobs.add_parser("train")
    job.add_argument("data")
    job.add_argument("out", type=Path)
    job = jobs.add_parser("score")
    job.add_argument("out", type=Path)
    job.add_argument("record", type=Path, nargs="?", default=RECORD)
    arguments = parser.parse_args()
    if arguments.job == "train":
        train_all(arguments.data, arguments.out)
        return 0
    content = score_all(arguments.out, arguments.record)
    for arm in content["arms"]:
        alone, growing = ([f"{step['mre_px']:.2f}" for step in content[key] if step["arm"] == arm] for key in ("members", "ensembles"))
        print(f"{arm}: alone {', '.join(alone)}; growing {', '.join(growing)}")
    gap = content["clean_minus_leaky"][-1]
    print(f"four clean minus four leaky: {gap['difference_px']:.2f} {gap['difference_px_ci95']} px@224, n = {content['n']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
