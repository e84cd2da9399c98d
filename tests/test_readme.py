"""The README keeps its word: its Python runs, its commands exist, its files are there."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from landmark_thesis.cli import parser
from landmark_thesis.data import phantom_data

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.S)


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_the_python_of_the_readme_runs(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, image in zip(("chest-1.png", "chest-2.png"), phantom_data(2, seed=9, size=128).images, strict=True):
        cv2.imwrite(name, image.numpy())
    done = subprocess.run([sys.executable, "-c", PYTHON[number]], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_readme_has_two_short_pieces_of_python():
    assert len(PYTHON) == 2
    assert all(len([line for line in code.splitlines() if line.strip()]) <= 10 for code in PYTHON)


def test_the_commands_of_the_readme_are_understood():
    commands = re.findall(r"(?:^|&& )landmark-thesis ([^#\n`]+)", TEXT, re.M)
    assert len(commands) >= 6
    for command in commands:
        parser().parse_args(command.split())


def test_the_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_every_chapter_stands_in_the_readme():
    chapters = {path.name for path in (ROOT / "nbs").glob("[0-9]*.ipynb")}
    assert {Path(target).name for target in re.findall(r"\]\((nbs/[0-9][^)]+)\)", TEXT)} == chapters
