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
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.es.md")}
TEXT = TEXTS["README.md"]
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


@pytest.mark.parametrize("name", TEXTS)
def test_the_links_of_the_readme_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", TEXTS[name]):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


@pytest.mark.parametrize("name", TEXTS)
def test_every_chapter_stands_in_the_readme(name):
    chapters = {path.name for path in (ROOT / "nbs").glob("[0-9]*.ipynb")}
    assert {Path(target).name for target in re.findall(r"\]\((nbs/[0-9][^)]+)\)", TEXTS[name])} == chapters


def test_the_spanish_readme_gives_the_same_commands_and_states_the_same_numbers():
    def commands(text):
        lines = [line.split("  #")[0].strip() for block in re.findall(r"```bash\n(.*?)```", text, re.S) for line in block.splitlines()]
        return [line for line in lines if line and not line.startswith("#")]

    def numbers(text):
        return sorted(re.findall(r"\d+\.\d+", text.split("### How fast")[0].split("## Use it from Python")[0]))

    english, spanish = TEXTS["README.md"], TEXTS["README.es.md"]
    assert commands(spanish) == commands(english)
    results = [re.search(r"<!-- results:begin -->(.*?)<!-- results:end -->", text, re.S).group(1) for text in (english, spanish)]
    assert numbers(results[0]) == numbers(results[1]) and len(numbers(results[0])) > 10
    assert numbers(english.split("<!-- results:begin")[0]) == numbers(spanish.split("<!-- results:begin")[0])


def test_the_glossary_says_what_the_figures_say():
    from landmark_thesis.figures import WORDS

    glossary = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", TEXTS["README.es.md"].split("## Glosario")[1].split("\n## ")[0], re.M))
    assert len(glossary) > 25
    shared = {english: spanish for english, spanish in WORDS.values() if english in glossary}
    assert len(shared) >= 3, "no word in common: the test sees nothing"
    for english, spanish in shared.items():
        assert spanish.split(" (")[0] in glossary[english], english
