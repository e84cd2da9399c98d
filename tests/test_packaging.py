"""settings.ini (nbdev's) and pyproject.toml (pip's) say the same; the package keeps its promises to importers."""

import ast
import configparser
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "landmark_thesis"
ORDER = (
    "landmarks pixel_error phantom data augment losses model callbacks trainer runs evaluate figures defense widgets bench cli"
).split()


@pytest.fixture(scope="module")
def settings():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return parser["DEFAULT"]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_two_configurations_agree(settings, project):
    assert settings["lib_name"] == project["name"]
    assert settings["description"] == project["description"]
    assert settings["keywords"].split() == project["keywords"]
    assert [{"name": settings["author"]}] == project["authors"]
    assert f">={settings['min_python']}" == project["requires-python"]
    assert settings["requirements"].split() == project["dependencies"]


def test_development_requirements_agree(settings, project):
    extras = project["optional-dependencies"]
    own = [line for line in extras["dev"] if not line.startswith("landmark_thesis")]
    assert sorted(settings["dev_requirements"].split()) == sorted(own + extras["offline"] + extras["widgets"])


def test_the_version_stands_in_one_place(settings, project):
    assert project["dynamic"] == ["version"]
    written = re.search(r'__version__ = "(.+)"', (PACKAGE / "__init__.py").read_text(encoding="utf-8")).group(1)
    assert written == settings["version"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {written}\n" in citation
    assert f"## {written}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_extra_of_the_chapters_holds_what_they_import(project):
    """Beside the package's own requirements and what every Jupyter has; else a chapter stops on a machine that has only this."""
    imported = set()
    for path in (ROOT / "nbs").glob("[0-9i]*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "code" and "import " in source and not source.startswith("#| export"):  # the package's own imports are known
                lines = [line for line in source.splitlines() if not line.lstrip().startswith("%")]
                imported |= {name.split(".")[0] for name in _imports_of("\n".join(lines))}
    known = {"PIL": "pillow", "cv2": "opencv-python-headless", "sklearn": "scikit-learn"}
    wanted = {known.get(name, name) for name in imported - set(sys.stdlib_module_names) - {"landmark_thesis", "IPython", "matplotlib_inline"}}
    names = [re.split(r"[>=<\[]", line)[0] for line in project["dependencies"] + project["optional-dependencies"]["chapters"]]
    assert "pytest" in wanted and wanted <= set(names), wanted - set(names)


def test_the_wheel_carries_what_its_chapters_show_and_read(project):
    from landmark_thesis.cli import _named_beside

    carried = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert all(target == f"landmark_thesis/notebooks/{name}" for name, target in carried.items() if name != "nbs")
    named = _named_beside(path.read_text(encoding="utf-8") for path in (ROOT / "nbs").glob("[0-9i]*.ipynb"))
    there = [name for name in named if (ROOT / name).exists()]
    assert len(there) > 10
    assert [name for name in there if not any(name == place or name.startswith(f"{place}/") for place in carried)] == []
    assert [place for place in carried if place != "nbs" and place not in there] == []


def test_nbdev_pins_stand_in_the_dev_extra(project):
    assert {"nbdev==2.4.14", "fastcore<2", "execnb<0.2", "ghapi<2"} <= set(project["optional-dependencies"]["dev"])


def _imports(path: Path) -> set[str]:
    return _imports_of(path.read_text(encoding="utf-8"))


def _imports_of(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):  # nbdev writes imports of our own modules as relative ones
            module = ".".join(["landmark_thesis"] * node.level + ([node.module] if node.module else []))
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def _modules() -> list[Path]:
    return sorted(path for path in PACKAGE.glob("*.py") if not path.name.startswith("_"))


@pytest.mark.parametrize("path", _modules(), ids=lambda path: path.stem)
def test_a_module_imports_only_from_those_above_it(path):
    above = ORDER[: ORDER.index(path.stem)]
    own = {name.split(".")[1] for name in _imports(path) if name.startswith("landmark_thesis.")} & set(ORDER)
    assert own <= set(above), f"{path.stem} imports {own - set(above)}, which stand below it"


@pytest.mark.parametrize("path", _modules(), ids=lambda path: path.stem)
def test_the_exported_code_is_plain_python(path):
    assert not {name.split(".")[0] for name in _imports(path)} & {"nbdev", "fastcore", "execnb", "IPython.core"}


def test_notebooks_package_and_tests_are_in_step():
    done = subprocess.run([sys.executable, str(ROOT / "nbs" / "_sync.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
