"""Rebuild everything that is drawn in this folder, and the results in the README, from the records: no pictures, no GPU, no training.

    python figures/make.py            rebuild
    python figures/make.py --check    change nothing; exit 1 and say what would change

A record (figures/records/NAME) is a run folder without its weights: recipe, split, environment, history, and the errors of each
picture. `python figures/make.py --add RUN NAME` makes one of a run.
"""

import argparse
import csv
import filecmp
import json
import re
import sys
import tempfile
from pathlib import Path

from landmark_thesis.bench import markdown
from landmark_thesis.data import write_whole
from landmark_thesis.evaluate import read_errors
from landmark_thesis.figures import (
    ENDINGS,
    Result,
    ablation_forest,
    ablation_table,
    annotator_drift,
    canonical_shape,
    comparison,
    draw_all,
    ensemble_gain,
    error_limits,
    leakage_gap,
    paired_differences,
    published_results,
    recipe_curves,
    result_of_scores,
    save_figure,
    seed_luck,
    spoilt_by,
)
from landmark_thesis.phantom import sample_shapes
from landmark_thesis.runs import Run, save_record

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "records"
README = HERE.parent / "README.md"
BEST = "dense"
BEST_FILES = (RECORDS / BEST / "results.json",)
THESIS_VAL = 7.22  # quoted: what its honest model scored on this validation part
LEDGERS = (Path("research/errors.csv"), Path("research/runs.csv"))  # written by research.py, drawn by nobody
FOLDERS = ("drift", "leakage", "ensemble", "limits", "research", ".")  # of figures, beside one for each record
MARKERS = re.compile(r"(<!-- (results|speed):begin -->\n).*?(<!-- \2:end -->)", re.S)
# order and names of the table; a record that is not named here is drawn, but not listed
TITLES = {
    "thesis-lite0": "`thesis` recipe, EfficientNet-Lite0, ImageNet weights",
    "thesis-resnet18-random": "`thesis` recipe, ResNet-18 from random weights",
    "dense": "`dense` recipe, ResNet-18 from random weights",
}


def records() -> list[Run]:
    return [Run(path) for path in sorted(RECORDS.iterdir()) if (path / "recipe.json").exists()]


def measured(name: str) -> dict | None:
    """What figures/NAME.py wrote into its record, if it ever ran."""
    path = RECORDS / name / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def results(run: Run) -> dict:
    return json.loads((run.path / "results.json").read_text(encoding="utf-8"))


def listed() -> list[tuple[str, Run]]:
    by_name = {run.name: run for run in records()}
    return [(f"{title}, {_epochs(by_name[name])}", by_name[name]) for name, title in TITLES.items() if name in by_name]


def _epochs(run: Run) -> str:
    return " + ".join(str(phase.epochs) for phase in run.recipe.phases if phase.epochs > 0) + " epochs"


def draw(out: Path) -> None:
    """Every figure: one folder a record, and those that compare records or stand for themselves."""
    for run in records():
        draw_all(run, out / run.name, say=lambda remark: None)
    save_figure(canonical_shape(sample_shapes(400, seed=0)), out / "canonical_shape")
    draw_measured(out)
    draw_research(out)
    if listed():
        draw_compared(out, [(title.replace("`", ""), run, results(run)) for title, run in listed()])


def draw_measured(out: Path) -> None:
    """What the scripts beside this one measured: NAME.json of the record NAME."""
    figures = {
        "drift/annotator_drift": ("drift", annotator_drift),
        "leakage/leakage_gap": ("leakage", lambda found: leakage_gap(arms(found, "leaky", "clean"), found["n"])),
        "ensemble/ensemble_gain": ("ensemble", lambda found: ensemble_gain(arms(found, "plain", "mirrored"), found["n"])),
        "limits/error_limits": ("limits", lambda found: error_limits(found, best())),
    }
    for path, (name, make) in figures.items():
        if found := measured(name):
            files = [RECORDS / name / f"{name}.json", *(BEST_FILES if name == "limits" else ())]
            save_figure(make(found), out / path, inputs=files)


def best() -> list[Result]:
    """Our best single run, to stand beside what the labels allow."""
    return [result_of_scores(results(Run(RECORDS / BEST)), f"{BEST} recipe, validation")] if BEST_FILES[0].exists() else []


def draw_research(out: Path) -> None:
    """The ledger of the search: paired differences to the reference, as a forest and as a table."""
    ledger = HERE / "research" / "errors.csv"
    if not ledger.exists():
        return
    with open(ledger, encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    if not (differences := paired_differences(table)):
        return
    save_figure(ablation_forest(differences, len(table), luck=seed_luck(table)), out / "research" / "ablation_forest", inputs=[ledger])
    for form, ending in ENDINGS.items():
        write_whole(out / "research" / f"ablation_table.{ending}", ablation_table(differences, form).encode())


def draw_compared(out: Path, found: list[tuple[str, Run, dict]]) -> None:
    """The listed records side by side, then the same beside what the thesis states."""
    first, scores = found[0][2], [run.path / "results.json" for _, run, _ in found]
    floor, note = first["baselines"]["label_rounding_px"], f"validation part, n = {first['n_val']}"
    ruler = Result("Mean shape of the training part", first["baselines"]["mean_shape_px"], None, "baseline")
    ours = [result_of_scores(content, title) for title, _, content in found]
    save_figure(comparison([ruler, *ours], floor=floor, note=note), out / "comparison_val", inputs=scores)
    quoted = [Result("thesis, seed 42 (clean), its own validation", THESIS_VAL, None, "published"), *published_results()]
    note += "; what the thesis states: the 96 test pictures of the same split where nothing else is said"
    save_figure(comparison([ruler, *quoted, *ours], floor=floor, note=note), out / "comparison_thesis", inputs=scores)
    sets = {run.name: read_errors(run.path / "errors.csv", "val") for _, run, _ in found}
    stamps = [spoilt_by(content) for *_, content in found]
    save_figure(recipe_curves(sets, stamps=stamps), out / "recipe_curves_val", inputs=[run.path / "errors.csv" for _, run, _ in found] + scores)


def arms(found: dict, *names: str) -> dict[str, list[Result]]:
    """The arms of an experiment, ensembles growing by one member."""
    return {
        arm: [Result(arm, step["mre_px"], tuple(step["mre_px_ci95"])) for step in found["ensembles"] if step["arm"] == arm]
        for arm in names
    }


def readme_block() -> str:
    """The results as they stand in the README, each number out of a record."""
    found = [(title, run, results(run)) for title, run in listed()]
    if not found:
        return ""
    first = found[0][2]
    lines = [
        f"Validation part of the thesis' own split (n = {first['n_val']}, split `{first['split_fingerprint']}`), mirror averaging, px@224, 95 % intervals "
        "over pictures, one seed each; the test part stays closed while choices are made.",
        "",
        "| model | mean radial error | median | within 5 px | contour error | training on 2 cores |",
        "|---|---|---|---|---|---|",
        f"| mean shape of the training part, no model at all | {first['baselines']['mean_shape_px']:.2f} | | | | |",
    ]
    for title, run, content in found:
        metrics = content["val"]
        low, high = metrics["mre_px_ci95"]
        seconds = json.loads((run.path / "environment.json").read_text(encoding="utf-8"))["seconds"]
        star = " *" if content["selected_on_part"] else ""
        lines.append(
            f"| {title}{star} | **{metrics['mre_px']:.2f}** [{low:.2f}, {high:.2f}] | {metrics['median_px']:.2f} | {100 * metrics['sdr']['5']:.0f} % "
            f"| {metrics['contour_px']:.2f} | {seconds / 60:.0f} min |"
        )
    lines += [
        f"| rounding of the labels alone | {first['baselines']['label_rounding_px']:.2f} | | | | |",
        "",
        r"\* the best epoch was selected on these pictures, so the number is a little too small. Times: wall clock, while the two cores did other work too.",
        "",
        "For comparison, what the original thesis states (not ours; its honest model scored " + f"{THESIS_VAL:.2f}" + " on this validation part): "
        + "; ".join(
            f"{result.label}: {result.value:.2f}" + (" (contaminated)" if result.kind == "contaminated" else "")
            for result in published_results()
        )
        + ", on the 96 test pictures.",
        "",
        "Each line is a record in [figures/records](figures/records), with the command that made it in its `environment.json`; "
        "`python figures/make.py` rebuilds this table and every figure from them.",
        "",
    ]
    return "\n".join(lines)


def speed_block() -> str:
    """What `landmark-thesis bench` found, machine by machine."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((HERE / "bench").glob("*.json"))]
    return "\n\n".join(f"{markdown(content)}\n\n`{content['command']}`" for content in found) + "\n"


def with_block(text: str) -> str:
    blocks = {"results": readme_block, "speed": speed_block}
    return MARKERS.sub(lambda match: match.group(1) + blocks[match.group(2)]() + match.group(3), text)


def stale() -> list[str]:
    """What `draw` and the README block would change."""
    problems = (
        []
        if with_block(README.read_text(encoding="utf-8")) == README.read_text(encoding="utf-8")
        else ["README.md: results are not those of the records"]
    )
    with tempfile.TemporaryDirectory() as scratch:
        draw(Path(scratch))
        made = {path.relative_to(scratch) for path in Path(scratch).rglob("*") if path.is_file()}
        kept = {
            path.relative_to(HERE)
            for name in [run.name for run in records()] + list(FOLDERS)
            for path in (HERE / name).glob("*")
            if path.suffix in (".svg", ".md", ".csv", ".tex") and path.relative_to(HERE) not in LEDGERS
        }
        problems += [f"figures/{path}: missing" for path in sorted(made - kept)] + [
            f"figures/{path}: nothing draws it" for path in sorted(kept - made)
        ]
        problems += [
            f"figures/{path}: differs"
            for path in sorted(made & kept)
            if not filecmp.cmp(Path(scratch) / path, HERE / path, shallow=False)
        ]
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, report what is out of date")
    parser.add_argument("--add", nargs=2, metavar=("RUN", "NAME"), help="make a record of a run folder")
    arguments = parser.parse_args()
    if arguments.check:
        problems = stale()
        print("\n".join(problems) if problems else f"{len(records())} records; figures and README agree with them")
        return 1 if problems else 0
    if arguments.add:
        save_record(Run(Path(arguments.add[0])), RECORDS / arguments.add[1])
    draw(HERE)
    README.write_text(with_block(README.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
