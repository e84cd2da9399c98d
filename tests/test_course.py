"""The course as a whole: parameters that can be injected, short cells, and the table of chapters."""

import importlib.util
import os
import re
import statistics
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("course", ROOT / "figures" / "course.py")
course = importlib.util.module_from_spec(spec)
spec.loader.exec_module(course)
TRAINING = ("09_phase1", "10_phase2", "13_leakage")


def chapter(name):
    return nbformat.read(ROOT / "nbs" / f"{name}.ipynb", as_version=4)


@pytest.mark.parametrize("name", TRAINING)
def test_one_cell_holds_the_parameters_and_they_come_from_the_environment(name, monkeypatch):
    (cell,) = [cell for cell in chapter(name).cells if "parameters" in cell.metadata.get("tags", [])]
    monkeypatch.setenv("LANDMARK_THESIS_EPOCHS", "3")
    read = {"os": os}
    exec(cell.source, read)
    assert read["epochs"] == 3


@pytest.mark.parametrize("name", TRAINING)
def test_the_code_cells_are_short(name):
    cells = [cell.source for cell in chapter(name).cells if cell.cell_type == "code"]
    lines = [sum(bool(line.strip()) for line in text.splitlines()) for text in cells if not re.match(r"#\|", text)]
    assert statistics.median(lines) <= 6


@pytest.mark.slow
def test_an_injected_cell_decides_the_epochs_as_papermill_does_it():
    from nbclient import NotebookClient

    notebook = chapter("09_phase1")
    place = next(n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell("epochs = 2"))
    notebook.cells.append(nbformat.v4.new_code_cell("print(len(trainer.history['phase1']['train_loss']))"))
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(ROOT / "nbs")}}).execute()
    assert notebook.cells[-1].outputs[0].text == "2\n"


def test_reading_time_counts_prose_and_shown_code_but_no_tests():
    new = nbformat.v4
    cells = [new.new_markdown_cell("word " * 400), new.new_code_cell("x = 1\n" * 60), new.new_code_cell("#| test\n" + "x = 1\n" * 300)]
    assert course.reading_minutes(new.new_notebook(cells=cells)) == pytest.approx(400 / 200 + 60 / 30)


def test_the_table_is_put_between_its_markers_and_nowhere_else():
    text = f"before\n{course.BEGIN}\nold\n{course.END}\nafter\n"
    assert course.between_markers(text, "new") == f"before\n{course.BEGIN}\nnew\n{course.END}\nafter\n"
    with pytest.raises(ValueError, match="needs one line"):
        course.between_markers("no markers", "new")


def test_a_chapter_without_a_measurement_has_a_dash():
    rows = course.table(ROOT / "nbs", {"09_phase1": 12.4}).splitlines()
    assert next(row for row in rows if "09_phase1" in row).split("|")[3].strip() == "12"
    assert next(row for row in rows if "10_phase2" in row).split("|")[3].strip() == "-"
