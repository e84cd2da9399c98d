"""Rebuild everything that is drawn in this folder, and the results in the README, from the records: no pictures, no GPU, no training.

    python figures/make.py            rebuild
    python figures/make.py --check    change nothing; exit 1 and say what would change

A record (figures/records/NAME) is a run folder without its weights: recipe, split, environment, history, and the errors of each
picture. `python figures/make.py --add RUN NAME` makes one of a run.
"""

import argparse
import filecmp
import json
import re
import sys
import tempfile
from pathlib import Path

from landmark_thesis.bench import markdown
from landmark_thesis.figures import (
    Result,
    annotator_drift,
    comparison,
    draw_all,
    leakage_gap,
    published_results,
    result_of_scores,
    save_figure,
)
from landmark_thesis.runs import Run, save_record

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "records"
README = HERE.parent / "README.md"
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
    """Every figure: one folder a record, and one chart that compares them."""
    for run in records():
        draw_all(run, out / run.name, say=lambda remark: None)
    if drift := measured("drift"):
        save_figure(annotator_drift(drift), out / "drift" / "annotator_drift")
    if leakage := measured("leakage"):
        save_figure(leakage_gap(arms(leakage), leakage["n"]), out / "leakage" / "leakage_gap")
    found = [(title, results(run)) for title, run in listed()]
    if not found:
        return
    ruler = Result("Mean shape of the training part", found[0][1]["baselines"]["mean_shape_px"], None, "baseline")
    bars = [ruler, *(result_of_scores(content, title.replace("`", "")) for title, content in found)]
    n = found[0][1]["n_val"]
    save_figure(
        comparison(bars, floor=found[0][1]["baselines"]["label_rounding_px"], note=f"validation part, n = {n}"),
        out / "comparison_val",
    )


def arms(leakage: dict) -> dict[str, list[Result]]:
    """Both arms of the leakage experiment, ensembles growing by one member."""
    return {
        arm: [Result(arm, step["mre_px"], tuple(step["mre_px_ci95"])) for step in leakage["ensembles"] if step["arm"] == arm]
        for arm in ("leaky", "clean")
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
        "For comparison, what the original thesis states (not ours; its honest model scored 7.22 on this validation part): "
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
            for name in [run.name for run in records()] + ["drift", "leakage", "."]
            for path in (HERE / name).glob("*")
            if path.suffix in (".svg", ".md", ".csv", ".tex")
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
