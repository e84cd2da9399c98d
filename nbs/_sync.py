"""Package, tests and notebooks in step: the notebooks are the source.

python nbs/_sync.py                 export package and tests, clean the notebooks
python nbs/_sync.py --run [NAME..]  run the named chapters (all without a name) in a Jupyter kernel, on phantoms, and keep their outputs
python nbs/_sync.py --check         change nothing; exit 1 and say what is out of step
"""

import argparse
import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
HAND_WRITTEN = {"__main__.py", "py.typed"}  # files of the package that no notebook writes (folders like weights/ aside)
KNOWN_DIRECTIVES = {"default_exp", "export", "exporti", "exports", "hide", "eval", "notest", "cuda", "slow", "test"}
DIRECTIVE = re.compile(r"^\s*#\s*\|\s*(\w+)")
GENERATED = "written by nbs/_sync.py"
EXECUTED = "executed_source"  # notebook metadata: hash of the code that made the outputs
ON_REAL_PICTURES = "data: real pictures"  # what `data.chapter_data` prints; never committed
MAX_NOTEBOOK_BYTES = 500_000
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def chapters(folder: Path) -> list[Path]:
    """The notebooks of `folder`, in reading order; a leading underscore hides one from nbdev and from us."""
    return sorted(path for path in folder.glob("*.ipynb") if not path.name.startswith("_"))


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def directives(source: str) -> list[str]:
    """The directives that nbdev obeys: those on the cell's first lines."""
    found = []
    for line in source.splitlines():
        match = DIRECTIVE.match(line)
        if match:
            found.append(match.group(1))
        elif line.strip():
            break
    return found


def code_hash(notebook) -> str:
    """One hash of all code, so that an edit after the last run shows."""
    return hashlib.sha256("\n\0".join(cell.source for cell in code_cells(notebook)).encode()).hexdigest()[:16]


# ---------------------------------------------------------------- checks of the notebooks themselves


def directive_problems(path: Path) -> list[str]:
    """What nbdev would ignore or report without a name: misplaced or misspelt directives, code that does not parse."""
    problems = []
    for cell in code_cells(read(path)):
        where = f"{path.name}, cell {cell.id}"
        head = directives(cell.source)
        seen = [match.group(1) for line in cell.source.splitlines() if (match := DIRECTIVE.match(line))]
        if len(seen) > len(head):
            problems.append(f"{where}: a directive below the first lines of its cell; nbdev ignores it")
        problems += [f"{where}: unknown directive '{name}'" for name in head if name not in KNOWN_DIRECTIVES]
        if {"export", "exporti", "exports", "test"} & set(head):
            try:
                ast.parse(cell.source)
            except SyntaxError as error:
                problems.append(f"{where}: line {error.lineno} does not parse: {error.msg}")
    return problems


def module_of(path: Path) -> str | None:
    """The module that a notebook writes (`#| default_exp`), or None for a lesson."""
    names = [
        match.group(1)
        for cell in code_cells(read(path))
        for match in re.finditer(r"^#\s*\|\s*default_exp\s+(\S+)", cell.source, re.M)
    ]
    if len(names) > 1:
        raise SystemExit(f"{path.name}: more than one default_exp ({', '.join(names)}); one notebook writes one module")
    return names[0] if names else None


def module_problems(folder: Path) -> list[str]:
    problems, owner = [], {}
    for path in chapters(folder):
        module = module_of(path)
        exports = any(
            {"export", "exporti", "exports"} & set(directives(cell.source)) for cell in code_cells(read(path))
        )
        if exports and module is None:
            problems.append(f"{path.name}: exports without a default_exp; nbdev writes nothing")
        if module in owner and module is not None:
            problems.append(f"{path.name}: writes module {module}, as {owner[module]} does; one notebook, one module")
        owner.setdefault(module, path.name)
    return problems


def output_problems(path: Path) -> list[str]:
    """What must not be committed in outputs: errors, widget state, real pictures, bulk, results of older code."""
    notebook, problems = read(path), []
    if path.stat().st_size > MAX_NOTEBOOK_BYTES:
        problems.append(
            f"{path.name}: {path.stat().st_size // 1000} kB; keep a chapter under {MAX_NOTEBOOK_BYTES // 1000} kB"
        )
    if "widgets" in notebook.metadata:
        problems.append(f"{path.name}: carries widget state; run nbs/_sync.py")
    if code_cells(notebook) and notebook.metadata.get(EXECUTED) != code_hash(notebook):
        problems.append(f"{path.name}: code changed since its outputs were made; run nbs/_sync.py --run {path.stem}")
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if WIDGET_VIEW in output.get("data", {}):
                problems.append(f"{path.name}, cell {cell.id}: refers to a live widget; run nbs/_sync.py")
            if output.output_type == "error":
                problems.append(f"{path.name}, cell {cell.id}: ends in an error")
            if ON_REAL_PICTURES in str(output.get("text", "")):
                problems.append(f"{path.name}: was run on real pictures; run it with LANDMARK_THESIS_DATA unset")
    return problems


# ---------------------------------------------------------------- tests out of notebooks


def _without_calls_of_tests(source: str) -> str:
    """The cell as a pytest module needs it: no directives, and no call of a test at its end."""
    tree, lines = ast.parse(source), source.splitlines()
    for node in tree.body:
        called = (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name)
        )
        if called and node.value.func.id.startswith("test_"):
            for number in range(node.lineno - 1, node.end_lineno):
                lines[number] = None
    return "\n".join(line for line in lines if line is not None and not DIRECTIVE.match(line)).strip()


def exported_tests(path: Path) -> str | None:
    """The text of the test file for one notebook, or None when it marks no cell with `#| test`."""
    cells = [cell for cell in code_cells(read(path)) if "test" in directives(cell.source)]
    if not cells:
        return None
    module = module_of(path)
    parts = [f'"""Tests of nbs/{path.name}, {GENERATED}: edit the notebook, not this file."""']
    if module:
        parts.append(
            f"from landmark_thesis import {module} as chapter\n\n"
            "# The notebook's cells see every name of its module; so do its tests.\n"
            'globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})'
        )
    parts += [f"# cell {cell.id}\n{_without_calls_of_tests(cell.source)}" for cell in cells]
    return "\n\n\n".join(parts) + "\n"


def write_tests(notebooks: Path, tests: Path) -> None:
    tests.mkdir(exist_ok=True)
    wanted = {f"test_{path.stem}.py": text for path in chapters(notebooks) if (text := exported_tests(path))}
    for old in tests.glob("test_*.py"):
        if old.name not in wanted and GENERATED in old.read_text(encoding="utf-8")[:300]:
            old.unlink()
    for name, text in wanted.items():
        (tests / name).write_text(text, encoding="utf-8")


# ---------------------------------------------------------------- export, clean, run


def _nbdev(command: str, *arguments: str, cwd: Path) -> None:
    """An nbdev command of this very environment, activated or not; its words only when it fails."""
    program = Path(sys.executable).with_name(command)
    done = subprocess.run(
        [str(program), *arguments], cwd=cwd, capture_output=True, text=True, env={**os.environ, "IN_TEST": ""}
    )
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stdout}{done.stderr}")


def export_problems(root: Path) -> list[str]:
    """What would make an export wrong or incomplete; looked for before nbdev runs, which would break the package on it."""
    return [problem for path in chapters(root / "nbs") for problem in directive_problems(path)] + module_problems(
        root / "nbs"
    )


def export(root: Path) -> None:
    """Package and tests of `root` from its notebooks; modules that no notebook writes any more are removed."""
    if problems := export_problems(root):
        raise SystemExit("\n".join(problems))
    package = root / "landmark_thesis"
    wanted = {f"{module}.py" for path in chapters(root / "nbs") if (module := module_of(path))}
    for old in package.glob("*.py") if package.exists() else []:
        if old.name not in wanted | HAND_WRITTEN | {"__init__.py", "_modidx.py"}:
            old.unlink()
    _nbdev("nbdev_export", cwd=root)
    write_tests(root / "nbs", root / "tests")


def drop_widgets(notebook) -> bool:
    """Take widget state and references to live widgets out: without their kernel they show as "model not found"; stills stay."""
    found = notebook.metadata.pop("widgets", None) is not None
    for cell in code_cells(notebook):
        for output in cell.outputs:
            found |= output.get("data", {}).pop(WIDGET_VIEW, None) is not None
    return found


def clean(root: Path) -> None:
    for path in chapters(root / "nbs"):
        notebook = read(path)
        if drop_widgets(notebook):
            nbformat.write(notebook, path)
    _nbdev("nbdev_clean", "--fname", "nbs", cwd=root)


def joined(outputs: list) -> list:
    """What was printed without anything between it, as one output: into how many pieces a kernel cuts it differs from run to run."""
    made: list = []
    for output in outputs:
        before = made[-1] if made else {}
        if output["output_type"] == "stream" and before.get("name") == output["name"]:
            before["text"] += output["text"]
        else:
            made.append(output)
    return made


def run(root: Path, names: list[str]) -> None:
    """Run chapters top to bottom in an ordinary Jupyter kernel, on phantoms, and keep what they print and draw."""
    from nbclient import NotebookClient

    environment = {key: value for key, value in os.environ.items() if not key.startswith("LANDMARK_THESIS_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(root), environment.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    for path in chapters(root / "nbs"):
        if names and path.stem not in names and path.name not in names:
            continue
        print(f"running {path.name}", flush=True)
        notebook = read(path)
        client = NotebookClient(
            notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
        )
        client.execute(env=environment)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = joined(cell.outputs)
        notebook.metadata[EXECUTED] = code_hash(notebook)
        nbformat.write(notebook, path)
    clean(root)


# ---------------------------------------------------------------- the check


def _hand_written(package: Path) -> list[Path]:
    """What stands in the package without a notebook: HAND_WRITTEN and folders with code of their own."""
    return [
        path
        for path in sorted(package.iterdir())
        if path.name in HAND_WRITTEN or (path.is_dir() and (path / "__init__.py").exists())
    ]


def _tree(folder: Path, pattern: str) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob(pattern))}


def _differences(committed: dict[str, str], made: dict[str, str], what: str) -> list[str]:
    problems = [f"{what}/{name}: no notebook writes it" for name in sorted(committed.keys() - made.keys())]
    problems += [f"{what}/{name}: missing; run nbs/_sync.py" for name in sorted(made.keys() - committed.keys())]
    problems += [
        f"{what}/{name}: differs from its notebook; edit the notebook (nbdev_update carries a .py edit back) and run nbs/_sync.py"
        for name in sorted(committed.keys() & made.keys())
        if committed[name] != made[name]
    ]
    return problems


def check(root: Path) -> list[str]:
    """Everything that is out of step, without touching `root`: the same export into an empty folder, compared."""
    notebooks = chapters(root / "nbs")
    problems = [problem for path in notebooks for problem in output_problems(path)]
    if broken := export_problems(root):
        return problems + broken
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        shutil.copy(root / "settings.ini", fresh)
        shutil.copytree(root / "nbs", fresh / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__"))
        (fresh / "landmark_thesis").mkdir()
        for path in _hand_written(root / "landmark_thesis"):  # nbdev lists their names in _modidx.py
            (shutil.copytree if path.is_dir() else shutil.copy)(path, fresh / "landmark_thesis" / path.name)
        export(fresh)
        committed, made = (
            {name: text for name, text in _tree(place / "landmark_thesis", "*.py").items() if name not in HAND_WRITTEN}
            for place in (root, fresh)
        )
        problems += _differences(committed, made, "landmark_thesis")
        generated = {name: text for name, text in _tree(root / "tests", "test_*.py").items() if GENERATED in text[:300]}
        problems += _differences(generated, _tree(fresh / "tests", "test_*.py"), "tests")
        clean(fresh)
        for path in notebooks:
            if path.read_bytes() != (fresh / "nbs" / path.name).read_bytes():
                problems.append(f"nbs/{path.name}: not clean; run nbs/_sync.py")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, report what is out of step")
    parser.add_argument("--run", nargs="*", metavar="NAME", help="run chapters and keep their outputs")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.check:
        problems = check(arguments.root)
        print(
            "\n".join(problems)
            if problems
            else f"{len(chapters(arguments.root / 'nbs'))} notebooks, package and tests are in step"
        )
        return 1 if problems else 0
    export(arguments.root)
    if arguments.run is not None:
        run(arguments.root, arguments.run)
    else:
        clean(arguments.root)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
