"""The table of all chapters: reading time of a first way through and of everything, run time, size.

python figures/course.py                    print the table
python figures/course.py --measure [NAME..] run the chapters (all without a name) and record their processor time
python figures/course.py --write [FILE]     put the table into FILE (Markdown or notebook; nbs/index.ipynb without a name), between its markers

Reading: prose at 200 words a minute and 30 lines of shown code a minute. What a first reader may leave out is marked in the chapters:
a line `*Second reading.*` under a heading means that section (under the title: the chapter), and a cell of prose that ends in
`*The code, for when you need it:*` means the exported cells right below it. Run time is processor time on one thread, for the clock
of a busy machine tells nothing.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "figures" / "records" / "course.json"
INDEX = ROOT / "nbs" / "index.ipynb"
WORDS_A_MINUTE, LINES_A_MINUTE = 200, 30
BEGIN, END = "<!-- course table: written by figures/course.py -->", "<!-- end of course table -->"
SECOND, CODE = "*Second reading.*", "*The code, for when you need it:*"
NOT_READ = re.compile(r"\A\s*#\s*\|\s*(test|hide|default_exp)\b")  # nobody reads these on a first way through
EXPORTED = re.compile(r"\A\s*#\s*\|\s*export")


def sections(prose: str) -> Iterator[tuple[int, str]]:
    """(level, text) of each piece of a cell of prose: 0 before its first heading; a '#' in a fenced block is no heading."""
    level, lines, fenced = 0, [], False
    for line in prose.splitlines():
        fenced ^= line.startswith("```")
        if not fenced and (heading := re.match(r"(#{1,6}) ", line)):
            yield level, "\n".join(lines)
            level, lines = len(heading.group(1)), []
        lines.append(line)
    yield level, "\n".join(lines)


def pieces(notebook) -> Iterator[tuple[str, str, bool]]:
    """(kind, text, first reading?) of everything that a reader meets, in order; kind is "prose" or "code"."""
    skipped, code_below = 0, False  # the level of the heading whose section is left out (0: none); exported cells are left out
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for level, text in sections(cell.source):
                if level and level <= skipped:
                    skipped = 0
                if not skipped and level and SECOND in text.splitlines():
                    skipped = level
                yield "prose", text, not skipped
            code_below = cell.source.rstrip().endswith(CODE)
        elif cell.cell_type == "code" and not NOT_READ.match(cell.source):
            code_below = code_below and bool(EXPORTED.match(cell.source))
            yield "code", cell.source, not (skipped or code_below)


def reading_minutes(notebook, first: bool = False) -> float:
    """Minutes for prose and for the code that a reader meets; those of a first reading alone if `first`."""
    minutes = 0.0
    for kind, text, taken in pieces(notebook):
        if first and not taken:
            continue
        if kind == "prose":
            minutes += len(re.findall(r"\w+", text)) / WORDS_A_MINUTE
        else:
            minutes += sum(bool(line.strip()) for line in text.splitlines()) / LINES_A_MINUTE
    return minutes


def later(notebook) -> list[str]:
    """The headings of the sections that a first reader leaves out; [title] where that is the whole chapter."""
    found = [text.splitlines()[0] for kind, text, _ in pieces(notebook) if kind == "prose" and SECOND in text.splitlines()]
    return [heading.lstrip("# ") for heading in found]


def misplaced(notebook) -> list[str]:
    """Marks that would not count: away from a heading, or not above exported code."""
    problems = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "markdown":
            continue
        for level, text in sections(cell.source):
            lines = [line for line in text.splitlines() if line.strip() and not line.startswith(">")]
            if SECOND in lines and (level == 0 or lines.index(SECOND) != 1):
                problems.append(f"cell {cell.id}: '{SECOND}' stands not right below a heading")
        if CODE in cell.source.splitlines():
            shown = [later for later in notebook.cells[number + 1 :] if later.cell_type == "markdown" or not NOT_READ.match(later.source)]
            if not cell.source.rstrip().endswith(CODE) or not shown or not EXPORTED.match(shown[0].source):
                problems.append(f"cell {cell.id}: no exported code right below '{CODE}'")
    return problems


def measure(name: str) -> float:
    """Processor seconds (user) of one chapter in its kernel, one thread, on phantoms; the notebook's file stays as it is."""
    code = "import sys, nbformat; from nbclient import NotebookClient; NotebookClient(nbformat.read(sys.argv[1], 4), timeout=1800, kernel_name='python3', resources={'metadata': {'path': sys.argv[2]}}).execute()"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LANDMARK_THESIS_")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    path = ROOT / "nbs" / f"{name}.ipynb"
    subprocess.run([sys.executable, "-c", code, str(path), str(path.parent)], env=environment, check=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def recorded() -> dict[str, float]:
    """Processor seconds by chapter, as last measured."""
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}


def table(folder: Path, seconds: dict[str, float]) -> str:
    """The Markdown table; a dash where there is no measurement, or nothing for a first reading."""
    rows = ["| chapter | first reading, min | all, min | run, s of one core | size, kB | left for a second reading |", "|---|---:|---:|---:|---:|---|"]
    first_total = total = 0.0
    for path in sorted(folder.glob("[0-9]*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        first, minutes = reading_minutes(notebook, first=True), reading_minutes(notebook)
        whole = not any(taken for _, text, taken in pieces(notebook) if text.strip())
        first_total, total = first_total + first, total + minutes
        run = f"{seconds[path.stem]:.0f}" if path.stem in seconds else "-"
        left = "the whole chapter" if whole else "; ".join(later(notebook)).replace("|", "/")
        rows.append(f"| [{path.stem}]({path.name}) | {'-' if whole else f'{first:.0f}'} | {minutes:.0f} | {run} | {path.stat().st_size / 1000:.0f} | {left} |")
    names = {path.stem for path in folder.glob("[0-9]*.ipynb")}
    measured = f"{sum(seconds[name] for name in names):.0f}" if names <= seconds.keys() else "-"
    return "\n".join([*rows, f"| all | {first_total:.0f} | {total:.0f} | {measured} | | |"])


def without_sizes(made: str) -> list[list[str]]:
    """The table's cells but the sizes, which move with every run of a chapter: what a committed table must agree in."""
    return [[cell for column, cell in enumerate(row.split("|")) if column != 5] for row in made.strip().splitlines()]


def between_markers(text: str, new: str) -> str:
    """`text` with `new` in place of what stands between the markers; ValueError without them."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"needs one line '{BEGIN}' and one line '{END}' below it")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{new}\n{END}{rest.split(END)[1]}"


def committed(path: Path) -> str:
    """The table that stands in a notebook; ValueError where there is none."""
    for cell in nbformat.read(path, as_version=4).cells:
        if BEGIN in cell.source and END in cell.source:
            return cell.source.split(BEGIN)[1].split(END)[0]
    raise ValueError(f"{path.name}: no cell holds '{BEGIN}' and '{END}'")


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
    parser.add_argument("--write", type=Path, metavar="FILE", nargs="?", const=INDEX)
    arguments = parser.parse_args()
    seconds = recorded()
    if arguments.measure is not None:
        for name in arguments.measure or [path.stem for path in sorted((ROOT / "nbs").glob("[0-9]*.ipynb"))]:
            seconds[name] = round(measure(name), 1)
            RECORD.write_text(json.dumps(seconds, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    made = table(ROOT / "nbs", seconds)
    write(arguments.write, made) if arguments.write else print(made)


if __name__ == "__main__":
    main()
