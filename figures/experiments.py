"""What the experiments of this folder share: the pictures and their split, a guard, and a record that is written whole."""

import argparse
import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import heads
import numpy as np

from landmark_thesis.data import (
    LandmarkData,
    PreprocessSettings,
    Split,
    load_data,
    near_duplicates,
    thesis_split,
    write_whole,
)
from landmark_thesis.evaluate import read_errors, refuse_seen
from landmark_thesis.landmarks import LANDMARK_NAMES
from landmark_thesis.pixel_error import bootstrap_interval
from landmark_thesis.runs import DENSE, Run, environment, pick_device

heads.register()  # whatever script reads a run may meet a head of the search
RECORDS = Path(__file__).resolve().parent / "records"
METRICS = ("mre_px", "median_px", "p95_px", "along_px", "across_px", "contour_px")  # of a summary, where not all of it is kept


def prepared(folder: Path, settings: PreprocessSettings = DENSE.preprocessing) -> tuple[LandmarkData, Split, list[tuple]]:
    """The pictures, the thesis' split, and the pairs of near-duplicates."""
    data = load_data(folder, settings)
    twins = near_duplicates(data.images, data.names)
    return data, thesis_split(data.names, data.categories, 42, twins, data.pixel_hash), twins


def finished(path: Path) -> Run:
    """The run in `path`; ends the script where its training has not."""
    run = Run(path)
    if not run.finished:
        raise SystemExit(f"{path}: not trained to the end yet; go on with its training (it is resumable), then judge")
    return run


def runs_of(name: str, folder: Path) -> list[Run]:
    """The runs NAME-0, NAME-1, ... of a folder, by number, all of them finished; NAME-0-short is of another kind."""
    paths = [path for path in folder.glob(f"{name}-*") if path.name.removeprefix(f"{name}-").isdecimal()]
    return [finished(path) for path in sorted(paths, key=lambda path: int(path.name.removeprefix(f"{name}-")))]


def shared_preprocessing(runs: Sequence[Run]) -> PreprocessSettings:
    """How all `runs` want their pictures; ends the script where they differ, for it would show some of them others."""
    first, *rest = runs
    for run in rest:
        if run.recipe.preprocessing != first.recipe.preprocessing:
            raise SystemExit(f"{run.path}: prepares its pictures otherwise than {first.path}; judge each kind by itself")
    return first.recipe.preprocessing


def validation_part(folder: Path, runs: Sequence[Run]) -> tuple[LandmarkData, Split]:
    """The validation pictures as `runs` want them, which none of these was trained on (else LeakageError), and the whole split."""
    data, split, _ = prepared(folder, shared_preprocessing(runs))
    part = data.subset(split.parts["val"])
    refuse_seen(runs, part)
    return part, split


def recorded_answers(run: Run, data: LandmarkData, part: str = "val") -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, labels and answers (N, 15, 2), fractions, of a part whose errors a record holds: the labels, moved by those errors; no weights are needed."""
    rows = read_errors(run.path / "errors.csv", part)
    target = data.subset([row["image"] for row in rows]).points.numpy().astype(float)
    moved = np.array([[(row[f"{name}_dx"], row[f"{name}_dy"]) for name in LANDMARK_NAMES] for row in rows]) / 224
    return [row["image"] for row in rows], target, target + moved


def compare_runs(told: str, record: Path, judge: Callable[[Path, Sequence[Run]], tuple[Mapping[str, Any], Mapping[str, Sequence[float]], Sequence[str]]]) -> Mapping[str, Any]:
    """The command `DATA RUN RUN ... [--record DIR]` of a script that says `told` of itself: judge the runs, write the record, return its content."""
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--record", type=Path, default=record)
    arguments = parser.parse_args()
    runs = [finished(path) for path in arguments.runs]
    if double := [name for name, count in Counter(run.name for run in runs).items() if count > 1]:
        raise SystemExit(f"{', '.join(double)}: two folders of that name; a record tells runs apart by their names, so rename one")
    content, columns, names = judge(arguments.data, runs)
    if arguments.record.resolve() != record.resolve():  # without it, whoever repeats the command would write over the other record
        place = arguments.record.resolve()
        named = f"figures/records/{place.name}" if place.parent == RECORDS else place.name
        content = {**content, "command": f"{content['command']} --record {named}"}
    write_record(arguments.record, content, names, columns)
    return content


def aligned_answers(runs: Sequence[Run], data: LandmarkData) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """Names, labels (N, 15, 2) and, by run, recorded answers on the validation part, pictures by name; ends the script where runs were scored on other pictures, or on what they had seen."""
    names, target, found = [], None, {}
    for run in runs:
        if json.loads((run.path / "results.json").read_text(encoding="utf-8"))["contaminated"]:  # the guard's verdict when it was scored: a record has no weights to ask
            raise SystemExit(f"{run.path}: was scored on pictures that it had seen")
        pictures, labels, points = recorded_answers(run, data)
        order = np.argsort(pictures)
        if names and [pictures[k] for k in order] != names:
            raise SystemExit(f"{run.path}: was scored on other pictures than {runs[0].path}")
        names, target, found[run.name] = [pictures[k] for k in order], labels[order], points[order]
    return names, target, found


def trained_on(run: Run) -> str:
    """The device, as "cpu (...)" or "cuda (...)"."""
    return json.loads((run.path / "environment.json").read_text(encoding="utf-8"))["device"]


def made_with() -> dict[str, Any]:
    """Device and versions, as a record states them."""
    return {key: value for key, value in environment(pick_device("cpu")).items() if key in ("device", "versions")}


def trained_by(runs: Sequence[Run]) -> list[str]:
    """The commands that trained `runs`, each once, as the runs keep them: what has to be done before a record's own command can judge."""
    kept = (json.loads((run.path / "environment.json").read_text(encoding="utf-8")).get("command", "") for run in runs)
    return sorted({command for command in kept if command})


def mean_error(errors: np.ndarray) -> dict[str, Any]:
    """Mean over pictures of the radial error, px@224, with its interval, as records state it."""
    return {"mre_px": float(errors.mean()), "mre_px_ci95": list(bootstrap_interval(errors))}


def brief(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The main metrics of a summary, with their intervals."""
    return {key: summary[key] for name in (*METRICS, "across_lateral_px") for key in (name, f"{name}_ci95")}


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table with a column for each key that any of the rows has, whole or not at all."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_whole(path, text.getvalue().encode())


def write_record(folder: Path, content: Mapping[str, Any], names: Sequence[str], columns: Mapping[str, Sequence[float]]) -> None:
    """NAME.json with `content` and errors.csv with a row for each picture, into the record `folder` of that name; measures with three decimals."""
    told = {column: [value if isinstance(value, int | str) else f"{value:.3f}" for value in values] for column, values in columns.items()}
    write_rows(folder / "errors.csv", [{"image": name} | {column: values[k] for column, values in told.items()} for k, name in enumerate(names)])
    write_whole(folder / f"{folder.name}.json", (json.dumps(content, indent=1) + "\n").encode())
