"""The course as a whole: parameters that can be injected, short cells, and the table of chapters."""

import copy
import importlib.util
import os
import re
import statistics
from functools import cache
from pathlib import Path

import nbformat
import pytest
import torch

from landmark_thesis.data import OLDEST, chapter_setting

ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("course", ROOT / "figures" / "course.py")
course = importlib.util.module_from_spec(spec)
spec.loader.exec_module(course)
LESSONS = ("09_phase1", "10_phase2", "13_leakage")
CHAPTERS = sorted(path.stem for path in (ROOT / "nbs").glob("*.ipynb") if not path.name.startswith("_"))
AFTERNOON = 270  # minutes


@cache
def _read(name):
    return nbformat.read(ROOT / "nbs" / f"{name}.ipynb", as_version=4)


def chapter(name):
    """A copy, which a test may change."""
    return copy.deepcopy(_read(name))


@pytest.fixture
def two_chapters(tmp_path):
    """A folder with a small 09_phase1 and 10_phase2."""
    for name in ("09_phase1", "10_phase2"):
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title\n\n" + "word " * 400)]), tmp_path / f"{name}.ipynb")
    return tmp_path


def lesson_cells(name):
    """The code cells of a chapter that are no part of the package and no tests."""
    return [cell for cell in chapter(name).cells if cell.cell_type == "code" and not re.match(r"#\|\s*(default_exp|export|test)", cell.source)]


def written(name):
    """Their text, and the call that says on what the chapter runs."""
    text = "\n".join(cell.source for cell in lesson_cells(name))
    return text, re.search(r"chapter_setting\((.*)\)", text).group(1)


TRAINS = re.compile(r"\btrain\(|\.fit\(\[|\.fit\(phases|\.train_(?:full|phase[12])\(|\bdefend\(|\bLiveTraining\(")
TAKES_PICTURES = [name for name in CHAPTERS if "chapter_data(" in written(name)[0]]
TRAINING = [name for name in CHAPTERS if TRAINS.search(written(name)[0]) and "fixed epochs" not in written(name)[1]]


def test_the_lists_are_not_empty():
    assert {"06_model", "09_phase1", "10_phase2", "16_widgets", "index"} <= set(TAKES_PICTURES) & set(TRAINING)
    assert {"11_runs", "12_evaluate", "13_leakage", "15_defense"} <= set(TRAINING) - set(TAKES_PICTURES)


@pytest.mark.parametrize("name", sorted({*TAKES_PICTURES, *TRAINING}))
def test_one_cell_holds_the_parameters_and_they_come_from_the_environment(name, monkeypatch):
    (cell,) = [cell for cell in chapter(name).cells if "parameters" in cell.metadata.get("tags", [])]
    monkeypatch.setenv("LANDMARK_THESIS_EPOCHS", "3")
    monkeypatch.setenv("LANDMARK_THESIS_DATA", "there")
    read = {"os": os}
    exec(cell.source, read)
    assert name not in TRAINING or read["epochs"] == 3
    assert name not in TAKES_PICTURES or read["data_folder"] == "there"


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_without_real_pictures_says_so_and_why_where_it_trains(name):
    text, setting = written(name)
    assert ("data=" in setting) is (name not in TAKES_PICTURES)
    if TRAINS.search(text) and name not in TAKES_PICTURES:
        assert "phantoms by design, " in setting


@pytest.mark.parametrize("name", TAKES_PICTURES)
def test_a_folder_that_is_injected_is_the_one_a_chapter_speaks_of(name, monkeypatch, capsys):
    cells = lesson_cells(name)
    place = next(n for n, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    (said,) = [n for n, cell in enumerate(cells) if "chapter_setting(" in cell.source]
    assert place < said, "papermill puts its cell below the parameters: too late for what is printed above"
    monkeypatch.setenv("LANDMARK_THESIS_DATA", "")
    lines = [line for line in cells[said].source.splitlines() if re.match(r'(?:device = )?.*chapter_setting\(|os\.environ\["LANDMARK_THESIS_DATA"\] = ', line) and "import" not in line]
    scope = {"os": os, "chapter_setting": chapter_setting, "torch": torch}
    for source in (cells[place].source, "data_folder = 'injected'", "\n".join(lines)):
        exec(source, scope)
    assert "| data: real pictures (LANDMARK_THESIS_DATA) |" in capsys.readouterr().out


@pytest.mark.parametrize("name", LESSONS)
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


def test_a_first_reading_leaves_out_what_is_marked_and_nothing_else():
    new = nbformat.v4
    cells = [
        new.new_markdown_cell("# Title\n\nword " + "word " * 196 + "\n\n## Later\n\n*Second reading.*\n\n" + "word " * 100 + "\n\n### Deeper\n\nword"),
        new.new_code_cell("x = 1\n" * 30),
        new.new_markdown_cell("## Now\n\n```\n# no heading\n```\n\n" + "word " * 196 + f"\n\n{course.CODE}"),
        new.new_code_cell("#| export\n" + "x = 1\n" * 60),
        new.new_code_cell("#| test\n" + "x = 1\n" * 60),
        new.new_code_cell("#| exporti\n" + "x = 1\n" * 60),
        new.new_code_cell("x = 1\n" * 30),
    ]
    notebook = new.new_notebook(cells=cells)
    assert course.later(notebook) == ["Later"] and course.misplaced(notebook) == []
    words = 198 + (1 + 2 + 196 + 7)  # the mark of the code counts as read
    assert course.reading_minutes(notebook, first=True) == pytest.approx(words / 200 + 30 / 30)
    assert course.reading_minutes(notebook) > course.reading_minutes(notebook, first=True) + 5


def test_a_mark_that_would_not_count_is_found():
    new = nbformat.v4
    for cells in (
        [new.new_markdown_cell(f"## Heading\n\nwords\n\n{course.SECOND}")],
        [new.new_markdown_cell(course.SECOND)],
        [new.new_markdown_cell(course.CODE), new.new_code_cell("x = 1")],
        [new.new_markdown_cell(course.CODE)],
        [new.new_markdown_cell(f"{course.CODE}\n\nmore"), new.new_code_cell("#| export\nx = 1")],
    ):
        assert len(course.misplaced(new.new_notebook(cells=cells))) == 1


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_mark_stands_where_it_counts(name):
    assert course.misplaced(chapter(name)) == []


def test_a_first_reading_fits_into_an_afternoon():
    assert sum(course.reading_minutes(chapter(name), first=True) for name in CHAPTERS) <= AFTERNOON


def test_the_table_in_the_index_is_in_step():
    stands = course.without_sizes(course.committed(course.INDEX))
    made = course.without_sizes(course.table(ROOT / "nbs", course.recorded()))
    assert stands == made, "run: python figures/course.py --write && python nbs/_sync.py"


def test_a_stale_table_is_seen_and_a_new_size_alone_is_none(two_chapters):
    made = course.table(two_chapters, {"09_phase1": 12.4})
    assert course.without_sizes(made) != course.without_sizes(course.table(two_chapters, {"09_phase1": 22.4}))
    row = next(row for row in made.splitlines() if "09_phase1" in row)
    cells = row.split("|")
    cells[5] = " 1 "
    assert course.without_sizes(made) == course.without_sizes(made.replace(row, "|".join(cells)))
    cells[3] = " 99 "
    assert course.without_sizes(made) != course.without_sizes(made.replace(row, "|".join(cells)))


@pytest.mark.parametrize("name", CHAPTERS)
def test_the_first_cell_says_on_what_a_chapter_runs(name):
    code = [cell.source for cell in lesson_cells(name)]
    first, *later = [cell.source for cell in lesson_cells(name) if "parameters" not in cell.metadata.get("tags", [])]
    assert first.count("chapter_setting(") == 1 and not any("chapter_setting(" in text for text in later)
    assert not any("cpu_count" in text and "set_num_threads" in text for text in code), "no more threads than the environment gives"


def test_the_oldest_versions_are_those_of_the_package():
    required = re.findall(r'"(\w+)>=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert OLDEST.items() <= dict(required).items()


def test_the_table_is_put_between_its_markers_and_nowhere_else():
    text = f"before\n{course.BEGIN}\nold\n{course.END}\nafter\n"
    assert course.between_markers(text, "new") == f"before\n{course.BEGIN}\nnew\n{course.END}\nafter\n"
    with pytest.raises(ValueError, match="needs one line"):
        course.between_markers("no markers", "new")


def test_the_list_of_faults_names_tests_and_chapters_that_exist():
    text = (ROOT / ".github" / "DEFECTS.md").read_text(encoding="utf-8")
    written = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("*.py"))
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) > 20 and {name for name in named if f"def {name}(" not in written} == set()
    assert all((ROOT / "nbs" / path).exists() for path in re.findall(r"\(\.\./nbs/([^)]+)\)", text))
    rows = re.findall(r"^\| (\d+)(?:, (\d+))? \|", text, re.M)
    assert [int(number) for row in rows for number in row if number] == list(range(1, 51))


def test_a_chapter_without_a_measurement_has_a_dash(two_chapters):
    rows = course.table(two_chapters, {"09_phase1": 12.4}).splitlines()
    assert next(row for row in rows if "09_phase1" in row).split("|")[4].strip() == "12"
    assert next(row for row in rows if "10_phase2" in row).split("|")[4].strip() == "-"
