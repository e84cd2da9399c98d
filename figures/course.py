"""The table of all chapters: reading time, run time, size.

python figures/course.py                    print the table
python figures/course.py --measure [NAME..] run the chapters (all without a name) and record their processor time
python figures/course.py --write FILE       put the table into FILE (Markdown or notebook), between its markers

Reading: prose at 200 words a minute and 30 lines of shown code a minute. Run time is processor time on one thread, for the clock of a busy machine tells nothing.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "figures" / "records" / "course.json"
WORDS_A_MINUTE, LINES_A_MINUTE = 200, 30
BEGIN, END = "<!-- course table: written by figures/course.py -->", "<!-- end of course table -->"
NOT_READ = re.compile(r"\A\s*#\s*\|\s*(test|hide|default_exp)\b")  # nobody reads these on a first way through


def reading_minutes(notebook) -> float:
    """Minutes for prose and for the code that a reader meets."""
    words = sum(len(re.findall(r"\w+", cell.source)) for cell in notebook.cells if cell.cell_type == "markdown")
    shown = [cell.source for cell in notebook.cells if cell.cell_type == "code" and not NOT_READ.match(cell.source)]
    lines = sum(bool(line.strip()) for source in shown for line in source.splitlines())
    return words / WORDS_A_MINUTE + lines / LINES_A_MINUTE


def measure(name: str) -> float:
    """Processor seconds (user) of one chapter in its kernel, one thread, on phantoms; the notebook's file stays as it is."""
    code = "import sys, nbformat; from nbclient import NotebookClient; NotebookClient(nbformat.read(sys.argv[1], 4), timeout=1800, kernel_name='python3', resources={'metadata': {'path': sys.argv[2]}}).execute()"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LANDMARK_THESIS_")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    path = ROOT / "nbs" / f"{name}.ipynb"
    subprocess.run([sys.executable, "-c", code, str(path), str(path.parent)], env=environment, check=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def table(folder: Path, seconds: dict[str, float]) -> str:
    """The Markdown table; a chapter without a measurement has a dash."""
    rows = ["| chapter | reading, min | run, s of one core | size, kB |", "|---|---:|---:|---:|"]
    total = 0.0
    for path in sorted(folder.glob("[0-9]*.ipynb")):
        minutes = reading_minutes(nbformat.read(path, as_version=4))
        total += minutes
        run = f"{seconds[path.stem]:.0f}" if path.stem in seconds else "-"
        rows.append(f"| {path.stem} | {minutes:.0f} | {run} | {path.stat().st_size / 1000:.0f} |")
    return "\n".join([*rows, f"| all | {total:.0f} | | |"])


def between_markers(text: str, new: str) -> str:
    """`text` with `new` in place of what stands between the markers; ValueError without them."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"needs one line '{BEGIN}' and one line '{END}' below it")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{new}\n{END}{rest.split(END)[1]}"


def write(path: Path, new: str) -> None:
    if path.suffix != ".ipynb":
        path.write_text(between_markers(path.read_text(encoding="utf-8"), new), encoding="utf-8")
        return
    notebook = nbformat.read(path, as_version=4)
    cell = next((cell for cell in notebook.cells if BEGIN in cell.source), None)
    if cell is None:
        raise ValueError(f"{path.name}: no cell holds '{BEGIN}'")
    cell.source = between_markers(cell.source, new)
    nbformat.write(notebook, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="*", metavar="NAME")
    parser.add_argument("--write", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    seconds = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    if arguments.measure is not None:
        for name in arguments.measure or [path.stem for path in sorted((ROOT / "nbs").glob("[0-9]*.ipynb"))]:
            seconds[name] = round(measure(name), 1)
            RECORD.write_text(json.dumps(seconds, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    made = table(ROOT / "nbs", seconds)
    write(arguments.write, made) if arguments.write else print(made)


if __name__ == "__main__":
    main()
