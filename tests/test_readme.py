"""The README keeps its word: its Python runs, its commands exist, its files are there."""

import json
import re
import subprocess
import sys
from collections import Counter
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
    code = "\n".join(PYTHON[1:3] if number == 2 else [PYTHON[number]])  # the third reads what the second saved
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_readme_has_three_short_pieces_of_python():
    assert len(PYTHON) == 3
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


HEADINGS = {  # of the Spanish README -> of the English one
    "landmark_thesis": "landmark_thesis",
    "Dos órdenes": "Two commands",
    "Leerlo": "Read it",
    "Usarlo desde Python": "Use it from Python",
    "Con las imágenes reales": "On the real pictures",
    "Qué se dibuja": "What is drawn",
    "Cuando algo va mal": "When things go wrong",
    "Los datos": "The data",
    "Contribuir, citar, licencia": "Contributing, citing, licence",
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.S | re.M)


def sections(text):
    """Heading -> what stands below it, without blocks of code."""
    parts = re.split(r"^#+ (.+)$", FENCE.sub("", text), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def commands(text):
    """Every line of every block of code but comments, in the order of the text."""
    blocks = [block for _, block in FENCE.findall(text)]
    return [line.split("  #")[0].rstrip() for block in blocks for line in block.splitlines() if line.strip() and not line.startswith("#")]


def numbers(text):
    """All numbers, whole ones too, wherever they stand: in prose, results, tables and the names of files."""
    return Counter(re.findall(r"\d+(?:\.\d+)?", text))


def code(text):
    """What stands between backticks; the Spanish text also asks for Spanish figures."""
    return Counter(span.removesuffix("--lang es").strip() for span in re.findall(r"`([^`]+)`", text)) - Counter([""])


def in_step(english, spanish):
    """What the Spanish README says otherwise than the English one: heading -> what."""
    assert set(sections(spanish)) - {"Glosario"} == set(HEADINGS)
    pairs = {heading: (sections(spanish)[heading], sections(english)[there]) for heading, there in HEADINGS.items()}
    different = {}
    for what in (numbers, code):
        for heading, (ours, theirs) in pairs.items():
            if what(ours) != what(theirs):
                different[heading] = (what(ours) - what(theirs), what(theirs) - what(ours))
    return different | ({} if commands(spanish) == commands(english) else {"commands": (commands(spanish), commands(english))})


def test_the_spanish_readme_gives_the_same_commands_and_states_the_same_numbers():
    english, spanish = TEXTS["README.md"], TEXTS["README.es.md"]
    assert sum(numbers(sections(spanish)["Con las imágenes reales"]).values()) > 60 and len(commands(spanish)) >= 8
    assert in_step(english, spanish) == {}


@pytest.mark.parametrize(("old", "new"), [(r"Se usan \d+", "Se usan 1957"), (r"de \d+ pasos", "de 46 pasos"), (r"n = \d+", "n = 7777"), (r"`landmarks`", "`landmark`"), (r"--n_workers \d", "--n_workers 8")])
def test_a_spanish_readme_out_of_step_is_seen(old, new):
    spoilt, found = re.subn(old, new, TEXTS["README.es.md"], count=1)
    assert found == 1 and in_step(TEXTS["README.md"], spoilt) != {}


def test_the_glossary_says_what_the_figures_say():
    from landmark_thesis.figures import WORDS

    glossary = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", TEXTS["README.es.md"].split("## Glosario")[1].split("\n## ")[0], re.M))
    assert len(glossary) > 25
    shared = {english: spanish for english, spanish in WORDS.values() if english in glossary}
    assert len(shared) >= 3, "no word in common: the test sees nothing"
    for english, spanish in shared.items():
        assert spanish.split(" (")[0] in glossary[english], english


def test_the_trainings_on_a_card_that_end_alike_are_on_record():
    told = [json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "figures" / "bench" / "repeats").glob("*.json")]
    assert len(told) == 5 and len({one["best"]["val_error_px"] for one in told}) == 1
    assert {one["device"] for one in told} == {"cuda (NVIDIA H200)"}
    for readme, said in (("README.md", "[five trainings](figures/bench/repeats)"), ("README.es.md", "[cinco entrenamientos](figures/bench/repeats)")):
        assert said in (ROOT / readme).read_text(encoding="utf-8")
