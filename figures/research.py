"""The search for a better recipe, with its ledger: every variant that was tried, the failures included.

    python figures/research.py list
    python figures/research.py run VARIANT --data DIR --out DIR [--seeds 0 1 2]     train and score on the validation part
    python figures/research.py table                                               print figures/research/runs.csv as a table
    python figures/research.py wavering RUN                                        measure what the loss of `correlated` weighs by (wavering.json)

A variant is `dense` with one thing changed. It is screened with one seed on the validation part of the thesis' split; what comes within
0.15 px of the best gets two more seeds. Nothing here ever scores a test part. Each run adds its line to figures/research/runs.csv, and its
radial error of each picture to figures/research/errors.csv, from which paired comparisons are made.
"""

import argparse
import csv
import io
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import heads
import numpy as np
import sources
from experiments import METRICS
from reading import wavering

from landmark_thesis.augment import WIDE_AUGMENTATION
from landmark_thesis.data import write_whole
from landmark_thesis.evaluate import evaluate_runs, read_errors, write_results
from landmark_thesis.landmarks import LANDMARK_NAMES
from landmark_thesis.runs import DENSE, THESIS, Recipe, Run, train

heads.register()
sources.register()
HERE = Path(__file__).resolve().parent
LEDGER = HERE / "research" / "runs.csv"
ERRORS = HERE / "research" / "errors.csv"


def _phase2(recipe: Recipe, **changes) -> Recipe:
    return replace(recipe, phases=(recipe.phases[0], replace(recipe.phases[1], **changes)))


def _loss(**options) -> Recipe:
    return replace(DENSE, loss_options=options)


# name -> (recipe, what is asked)
VARIANTS: dict[str, tuple[Recipe, str]] = {
    "dense": (DENSE, "the reference, and its spread over seeds"),
    "epochs-20": (_phase2(DENSE, epochs=20), "is half the schedule enough?"),
    "epochs-80": (_phase2(DENSE, epochs=80), "does twice the schedule help?"),
    "linear-loss": (_loss(scale_px=100.0, coefficient=250.0), "the distance itself, whose minimum is what MRE asks for, instead of its logarithm"),
    "log-2px": (_loss(scale_px=2.0, coefficient=5.0), "a logarithm that bends earlier: disputed labels pull less"),
    "heatmap-0.1": (_loss(heatmap_weight=0.1), "maps held less tightly"),
    "heatmap-only": (_loss(coefficient=0.4), "maps alone, almost: a tenth of the weight on the points"),
    "sigma-12": (_loss(sigma_px=12.0), "a wider target, as wide as the labels are uncertain"),
    "no-context": (replace(DENSE, head_options={"context": False}), "without the fully connected layer on the 7 x 7 map"),
    "wide-head": (replace(DENSE, head_options={"channels": 128}), "twice the channels in the head"),
    "stride-4": (replace(DENSE, head_options={"stride": 4}), "maps of 56 x 56"),
    "grey": (
        replace(DENSE, augmentation=replace(WIDE_AUGMENTATION, brightness=0.4, contrast=0.4, gamma=0.4, noise=0.03)),
        "stronger changes of exposure",
    ),
    "wider": (replace(DENSE, augmentation=replace(WIDE_AUGMENTATION, rotation=20.0, scale=0.25, shift=0.15)), "still wider geometry"),
    "narrow": (replace(DENSE, augmentation=replace(WIDE_AUGMENTATION, rotation=8.0, scale=0.08, shift=0.06)), "narrower geometry"),
    "stretch": (replace(DENSE, augmentation=replace(WIDE_AUGMENTATION, stretch=0.12)), "broader and narrower chests too"),
    "stretch-80-likeliest": (
        replace(_phase2(DENSE, epochs=80), augmentation=replace(WIDE_AUGMENTATION, stretch=0.12), likeliest=True),
        "the stretch, twice the schedule to see more, and the likeliest shape instead of the nearest",
    ),
    "batch-8": (replace(DENSE, batch_size=8), "twice the steps"),
    "rate-2x": (_phase2(DENSE, rates={"backbone": 2e-3, "head": 2e-3}), "twice the rate"),
    "rate-half": (_phase2(DENSE, rates={"backbone": 5e-4, "head": 5e-4}), "half the rate"),
    "decay-0.2": (_phase2(DENSE, weight_decay=0.2), "four times the weight decay"),
    "resnet34": (replace(DENSE, backbone="resnet34"), "a deeper backbone"),
    "lite0": (replace(DENSE, backbone="efficientnet_lite0", weights="imagenet"), "a backbone with ImageNet weights"),
    "refined": (replace(DENSE, head="refined"), "each coordinate may lean on all others"),
    "shape-loss": (replace(DENSE, loss="shape"), "the distance after projection on the 14-number shape, as prediction has it"),
    "correlated": (replace(DENSE, loss="correlated"), "one distance a picture, in which what wavers together counts once"),
    "refined-shape": (replace(DENSE, head="refined", loss="shape"), "each coordinate may lean on all others, and the distance after projection"),
    "local": (replace(DENSE, head="local"), "maps read in a window about their peak"),
    "simcc": (replace(DENSE, head="simcc", loss="simcc"), "two classifications a point instead of a map (SimCC)"),
    "regression": (
        replace(DENSE, head="regression", head_options=THESIS.head_options, loss="wing", loss_options=THESIS.loss_options),
        "the thesis' head and loss, all else as `dense`: what the maps are worth",
    ),
    "phantom-weights": (DENSE, "a backbone with weights that were trained on phantoms (sources.py)"),
    "phantom-weights-bn-eval": (replace(DENSE, head_options={"backbone_eval": True}), "the same weights, their batch norm in eval mode throughout"),
    "phantoms-mixed": (DENSE, "as many phantoms again among the training pictures, so twice the steps"),
    "size-320": (replace(DENSE, preprocessing=replace(DENSE.preprocessing, size=320)), "a larger picture"),
}


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n", restval="")
    table.writeheader()
    table.writerows(rows)
    write_whole(path, text.getvalue().encode())


def note(run: Run, variant: str, results: dict) -> None:
    """One line in the ledger, one column of errors; a run that is noted again replaces its own."""
    key, metrics = f"{variant}/{run.seed}", results["val"]
    told = json.loads((run.path / "environment.json").read_text(encoding="utf-8"))
    row = {"run": key, "asked": VARIANTS[variant][1], "noted": datetime.now(UTC).date().isoformat(), "n": results["n_val"]}
    for name in METRICS:
        low, high = metrics[f"{name}_ci95"]
        row |= {name: f"{metrics[name]:.3f}", f"{name}_ci95": f"{low:.2f} to {high:.2f}"}
    row |= {"sdr_5": f"{metrics['sdr']['5']:.4f}", "minutes": f"{told['seconds'] / 60:.0f}", "precision": told["precision"], "split": run.split.fingerprint}
    row |= {"device": told["device"], "torch": told["versions"]["torch"]}
    _write(LEDGER, sorted([*(old for old in _rows(LEDGER) if old["run"] != key), row], key=lambda row: row["run"]))
    errors = {row["image"]: np.mean([row[f"{name}_radial"] for name in LANDMARK_NAMES]) for row in read_errors(run.path / "errors.csv", "val")}
    table = {row["image"]: row for row in _rows(ERRORS)} or {name: {"image": name} for name in sorted(errors)}
    for name, row in table.items():
        row[key] = f"{errors[name]:.3f}"
    _write(ERRORS, list(table.values()))


def run(variant: str, data: Path, out: Path, seeds: list[int]) -> None:
    recipe, source, split = sources.prepare(variant, replace(VARIANTS[variant][0], name=variant), data, out)
    for seed in seeds:
        place = out / f"{variant}-{seed}"
        command = f"python figures/research.py run {variant} --seeds {seed}"
        one = train(recipe, source, place, seed=seed, split=split, resume=place.exists(), quiet=True, command=command)
        results = evaluate_runs(one, part="val", command=command)
        write_results(results, one.path / "results.json")
        note(one, variant, results)
        print(f"{variant}/{seed}: {results['val']['mre_px']:.3f} px@224", flush=True)


def table() -> str:
    rows = sorted(_rows(LEDGER), key=lambda row: float(row["mre_px"]))
    lines = ["| run | asked | mean radial error | across | along | contour | p95 | min |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        interval = row["mre_px_ci95"].replace(" to ", ", ")
        lines.append(
            f"| {row['run']} | {row['asked']} | {float(row['mre_px']):.2f} [{interval}] | {row['across_px']} | {row['along_px']} "
            f"| {row['contour_px']} | {row['p95_px']} | {row['minutes']} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    commands.add_parser("table")
    commands.add_parser("wavering").add_argument("run", type=Path)
    one = commands.add_parser("run")
    one.add_argument("variant", choices=VARIANTS)
    one.add_argument("--data", type=Path, required=True)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    if arguments.command == "list":
        print("\n".join(f"{name:14} {why}" for name, (_, why) in VARIANTS.items()))
    elif arguments.command == "table":
        print(table())
    elif arguments.command == "wavering":
        rows = [json.dumps(row) for row in wavering(Run(arguments.run)).round(5).tolist()]
        write_whole(heads.FORM, ("[\n" + ",\n".join(rows) + "\n]\n").encode())
    else:
        run(arguments.variant, arguments.data, arguments.out, arguments.seeds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
