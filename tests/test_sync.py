"""nbs/_sync.py finds what nbdev passes over in silence."""

import importlib.util
import shutil
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
specification = importlib.util.spec_from_file_location("sync", ROOT / "nbs" / "_sync.py")
sync = importlib.util.module_from_spec(specification)
specification.loader.exec_module(sync)


def write_notebook(root: Path, name: str, *sources: str, outputs=()) -> Path:
    cells = [nbformat.v4.new_markdown_cell(f"# {name}\n\n> A chapter.", id="title")]
    for number, source in enumerate(sources):
        cells.append(nbformat.v4.new_code_cell(source, id=f"cell{number}", outputs=list(outputs)))
    kernel = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    notebook.metadata[sync.EXECUTED] = sync.code_hash(notebook)
    path = root / "nbs" / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def project(tmp_path):
    """A repository with one chapter, in step."""
    shutil.copy(ROOT / "settings.ini", tmp_path)
    for folder in ("nbs", "landmark_thesis", "tests"):
        (tmp_path / folder).mkdir()
    (tmp_path / "landmark_thesis" / "__init__.py").write_text('__version__ = "0"\n', encoding="utf-8")
    write_notebook(
        tmp_path,
        "00_one",
        "#| default_exp one",
        "#| export\ndef double(x: int) -> int:\n    return 2 * x",
        "#| test\ndef test_double():\n    assert double(2) == 4\n\n\ntest_double()",
    )
    sync.export(tmp_path)
    sync.clean(tmp_path)
    assert sync.check(tmp_path) == []
    return tmp_path


def test_a_test_cell_becomes_a_pytest_module(project):
    text = (project / "tests" / "test_00_one.py").read_text(encoding="utf-8")
    assert "def test_double():" in text
    assert "\ntest_double()" not in text
    assert "#|" not in text


def test_an_edited_module_is_found(project):
    module = project / "landmark_thesis" / "one.py"
    module.write_text(module.read_text(encoding="utf-8").replace("2 * x", "3 * x"), encoding="utf-8")
    assert ["one.py: differs" in line for line in sync.check(project)] == [True]


def test_an_edited_notebook_is_found_in_package_and_outputs(project):
    path = project / "nbs" / "00_one.ipynb"
    path.write_text(path.read_text(encoding="utf-8").replace("2 * x", "x + x"), encoding="utf-8")
    problems = "\n".join(sync.check(project))
    assert "landmark_thesis/one.py: differs" in problems
    assert "code changed since its outputs were made" in problems


def test_orphans_are_found(project):
    (project / "landmark_thesis" / "left_over.py").write_text("", encoding="utf-8")
    (project / "tests" / "test_07_gone.py").write_text(f'"""{sync.GENERATED}"""\n', encoding="utf-8")
    assert sorted(sync.check(project)) == [
        "landmark_thesis/left_over.py: no notebook writes it",
        "tests/test_07_gone.py: no notebook writes it",
    ]
    sync.export(project)
    assert sync.check(project) == []


def test_a_hand_written_test_is_left_alone(project):
    (project / "tests" / "test_by_hand.py").write_text("def test_it():\n    assert 1 + 1 == 2\n", encoding="utf-8")
    sync.export(project)
    assert (project / "tests" / "test_by_hand.py").exists()
    assert sync.check(project) == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("# a comment first\n#| export\nx = 1", "below the first lines"),
        ("#| Export\nx = 1", "unknown directive 'Export'"),
        ("#| exprot\nx = 1", "unknown directive 'exprot'"),
        ("#| export\ndef broken(:", "does not parse"),
    ],
)
def test_what_nbdev_ignores_is_found(project, source, complaint):
    write_notebook(project, "01_two", "#| default_exp two", source)
    assert any("01_two.ipynb" in line and complaint in line for line in sync.check(project))


def test_an_export_without_a_module_is_found(project):
    write_notebook(project, "01_two", "#| export\nx = 1")
    assert any("exports without a default_exp" in line for line in sync.check(project))


def test_two_notebooks_for_one_module_are_found(project):
    write_notebook(project, "01_two", "#| default_exp one", "#| export\nx = 1")
    assert any("one notebook, one module" in line for line in sync.check(project))


def test_outputs_that_must_not_be_committed_are_found(project):
    real = nbformat.v4.new_output("stream", text="data: real pictures (LANDMARK_THESIS_DATA), n=957\n")
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="", traceback=[])
    write_notebook(project, "01_two", "1 / 1", outputs=[real, error])
    problems = "\n".join(sync.check(project))
    assert "was run on real pictures" in problems
    assert "ends in an error" in problems


def test_widget_state_is_found_and_removed(project):
    path = write_notebook(project, "01_two", "1 / 1")
    notebook = sync.read(path)
    notebook.metadata["widgets"] = {"state": {}}
    nbformat.write(notebook, path)
    assert any("widget state" in line for line in sync.check(project))
    sync.clean(project)
    assert sync.check(project) == []


def test_references_to_live_widgets_are_found_and_taken_out_and_stills_stay(project):
    data = {sync.WIDGET_VIEW: {"model_id": "1", "version_major": 2, "version_minor": 0}, "image/png": "aGk=", "text/plain": "a panel"}
    path = write_notebook(project, "01_two", "panel", outputs=[nbformat.v4.new_output("display_data", data=data)])
    assert any("refers to a live widget" in line for line in sync.check(project))
    sync.clean(project)
    (output,) = sync.read(path).cells[1].outputs
    assert set(output.data) == {"image/png", "text/plain"}
    assert sync.check(project) == []


def test_what_was_printed_in_pieces_is_kept_in_one_and_in_its_place():
    def said(text, name="stdout"):
        return nbformat.v4.new_output("stream", name=name, text=text)

    shown = nbformat.v4.new_output("display_data", {"text/plain": "a figure"})
    pieces = [said("a"), said("b"), said("!", "stderr"), said("c"), shown, said("d"), said("e")]
    assert sync.joined(pieces) == [said("ab"), said("!", "stderr"), said("c"), shown, said("de")]
    assert sync.joined([]) == []
