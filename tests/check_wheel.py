"""Install the given wheel into a folder of its own and use it as somebody without nbdev or Jupyter would; then run one of its chapters.

python tests/check_wheel.py dist/landmark_thesis-*.whl
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# What users lack is hidden, not uninstalled: a second environment with torch would cost minutes.
WITHOUT = "import importlib, pkgutil, sys\nsys.modules.update(dict.fromkeys({lacking}))\n"
DEVELOPERS = {"nbdev", "fastcore", "execnb", "ghapi", "jupyterlab", "jupytext", "nbclient", "hypothesis", "playwright"}
PROBE = """
import landmark_thesis
assert sys.argv[1] in landmark_thesis.__file__, landmark_thesis.__file__
names = [module.name for module in pkgutil.iter_modules(landmark_thesis.__path__) if module.name not in {"__main__", "notebooks"}]
for name in names:
    importlib.import_module(f"landmark_thesis.{name}")
print("imported without nbdev:", ", ".join(names))
"""
# A light chapter with tests and records, copied as a reader copies it, in IPython's own shell: what a notebook service has without this package's `dev` extra.
CHAPTER = """
import contextlib, io, json, os, re, time
from pathlib import Path
from IPython.core.interactiveshell import InteractiveShell
from landmark_thesis.cli import main
begin = time.perf_counter()
assert main(["notebooks", "chapters"]) == 0
os.chdir("chapters")
for path in [*Path().glob("*.ipynb"), Path("DEFECTS.md")]:
    for target in re.findall(r"\\]\\(([\\w./-]+\\.(?:ipynb|svg|md))\\)", path.read_text(encoding="utf-8")):
        assert Path(target).exists(), f"{path} in the wheel: a dead link to {target}"
shell = InteractiveShell.instance()
with contextlib.redirect_stdout(io.StringIO()) as said:
    for cell in json.loads(Path("20_limit.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            shell.run_cell("".join(cell["source"])).raise_error()
assert "n = 860" in said.getvalue(), "the wheel carries no records: chapter 20 shows none"
print(f"chapter 20 ran from the wheel in {time.perf_counter() - begin:.0f} s")
"""


def main(wheel: str) -> int:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    strange = [
        name
        for name in names
        if not name.startswith("landmark_thesis") or ".ipynb_checkpoints" in name or "__pycache__" in name
    ]
    assert not strange, f"the wheel carries {strange}"
    assert any(name == "landmark_thesis/notebooks/index.ipynb" for name in names), "the wheel carries no chapters"
    for name in ("annotator.js", "annotator.css"):
        assert f"landmark_thesis/static/{name}" in names, f"the wheel carries no {name}: the annotator would not open"
    assert "landmark_thesis/static/thesis_test.json" in names, "the wheel does not know the thesis' test part: nothing could be evaluated"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, wheel], check=True
        )
        alone = {key: value for key, value in os.environ.items() if not key.startswith("LANDMARK_THESIS_")} | {"PYTHONPATH": folder}
        for code, lacking in ((PROBE, DEVELOPERS | {"pytest"}), (CHAPTER, DEVELOPERS)):
            program = WITHOUT.format(lacking=lacking) + code
            done = subprocess.run([sys.executable, "-c", program, str(Path(folder).resolve())], env=alone, cwd=folder)
            if done.returncode:
                return done.returncode
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
