"""Install the given wheel into a folder of its own and use it as somebody without nbdev or Jupyter would.

python tests/check_wheel.py dist/landmark_thesis-*.whl
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# Import hooks stand in for an environment without these: installing torch a second time would cost minutes.
PROBE = """
import importlib, pkgutil, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"nbdev", "fastcore", "execnb", "ghapi", "jupyterlab", "jupytext", "nbclient", "pytest"}:
            raise ModuleNotFoundError(f"the package needs {name}, which its users don't have")
sys.meta_path.insert(0, Absent())
import landmark_thesis
assert sys.argv[1] in landmark_thesis.__file__, landmark_thesis.__file__
names = [module.name for module in pkgutil.iter_modules(landmark_thesis.__path__) if module.name not in {"__main__", "notebooks"}]
for name in names:
    importlib.import_module(f"landmark_thesis.{name}")
print("imported without nbdev:", ", ".join(names))
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
        done = subprocess.run(
            [sys.executable, "-c", PROBE, str(Path(folder).resolve())],
            env={**os.environ, "PYTHONPATH": folder},
            cwd=folder,
        )
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
