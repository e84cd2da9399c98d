"""Every exercise of every chapter has its answer in nbs/19_solutions.ipynb, in order."""

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).resolve().parent.parent / "nbs"
SOLUTIONS = NOTEBOOKS / "19_solutions.ipynb"


def prose(path: Path) -> str:
    notebook = nbformat.read(path, as_version=4)
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def section(text: str, heading: str) -> str | None:
    """What stands below the level-2 heading that begins with `heading`, up to the next of that level; None without such a heading."""
    found = re.search(rf"^## {heading}.*\n((?:(?!## ).*\n?)*)", text, re.M)
    return found.group(1) if found else None


def exercises(text: str) -> list[int]:
    """The numbers of a chapter's exercises."""
    return [int(number) for number in re.findall(r"^(\d+)\. ", section(text, "Exercises") or "", re.M)]


def answers(text: str, chapter: str) -> list[int] | None:
    """The numbers of the answers to a chapter ("07"); None where it has no section."""
    found = section(text, f"Chapter {chapter}:")
    return None if found is None else [int(number) for number in re.findall(r"^### (\d+)\. ", found, re.M)]


CHAPTERS = {path.stem: prose(path) for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")) if path != SOLUTIONS}
WITH_EXERCISES = [name for name, text in CHAPTERS.items() if section(text, "Exercises") is not None]


@pytest.mark.parametrize("name", WITH_EXERCISES)
def test_every_exercise_has_its_answer_in_order(name):
    asked = exercises(CHAPTERS[name])
    assert asked and asked == list(range(1, len(asked) + 1))
    assert answers(prose(SOLUTIONS), name[:2]) == asked


def test_no_answer_is_without_its_chapter():
    answered = re.findall(r"^## Chapter (\d\d):", prose(SOLUTIONS), re.M)
    # a chapter that is still being written may be answered before it is there
    assert answered == sorted(set(answered))
    assert set(answered) >= {name[:2] for name in WITH_EXERCISES}


def test_a_missing_section_or_answer_would_be_seen():
    text = "## Chapter 07: a\n\n### 1. x\n\nwords\n\n### 2. y\n\n## Chapter 08: b\n\n### 1. z\n"
    assert (answers(text, "07"), answers(text, "08"), answers(text, "09")) == ([1, 2], [1], None)
    assert exercises("## Summary\n\n1. no\n\n## Exercises\n\n1. a\n   still a\n2. b\n\n## After\n\n3. no\n") == [1, 2]
