"""Every word of `landmark-thesis` that can be wrong, and what it says: exit 2, one line that names what and where, nothing written."""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from landmark_thesis import bench, cli, runs

TRAIN = "train-landmarks --data phantom --recipe smoke --out new"
DEFEND = "defend --out new"
FIGURES = "figures {run} --out new"
COMMANDS = ["defend", "train-landmarks", "evaluate", "predict", "check-data", "figures", "bench", "notebooks"]


def numbers(start: str, option: str, *wrong: str) -> list[tuple[str, str]]:
    """A whole number's wrong forms, each with what is said of it."""
    return [(f"{start} {option} {shlex.quote(value)}", f"argument {option}: ") for value in ("-1", "nan", "1.5", "1e3", "many", "", "9" * 5000, *wrong)]


WRONG = [
    ("", "COMMAND"), ("fly", "invalid choice: 'fly'"), ("--data x", "'x'"),
    *((f"{command} --frobnicate", "") for command in COMMANDS), ("notebooks new --frobnicate", "unknown word --frobnicate; landmark-thesis notebooks --help"),
    # half a word is no word: it would change its meaning with the next option that begins alike
    (f"{TRAIN} --split-see 1", "unknown word --split-see; did you mean --split-seed?"), (f"{TRAIN} --epochs 3", "did you mean --phase"), ("evaluate {run} --js x.json", "did you mean --json?"),
    ("evaluate {run} --jsn=x.json", "did you mean --json?"), ("notebooks new more", "unknown word more"),
    # numbers
    *numbers(TRAIN, "--seed", "4294967296"), *numbers(TRAIN, "--split-seed"), *numbers(TRAIN, "--phase1-epochs", "10001"),
    *numbers(TRAIN, "--phase2-epochs"), *numbers(TRAIN, "--cache-views", "101"), *numbers(TRAIN, "--batch-size", "0", "1025"), *numbers(TRAIN, "--image-size", "0", "15", "2049"),
    *numbers(TRAIN, "--phantoms", "0", "100001"), ("train-landmarks --data {pictures} --recipe smoke --out new --phantoms 100", "--phantoms: says how many are drawn; give --data phantom"),
    *numbers("train-landmarks --data {pictures} --recipe smoke --out new", "--label-size", "100001"),
    *numbers("evaluate {run} --data {pictures}", "--label-size"), *numbers("check-data {pictures}", "--label-size"), *numbers(DEFEND, "--seeds"),
    *((f"{TRAIN} --fold {fold}", "argument --fold: ") for fold in ("0/5", "6/5", "5", "a/b", "1/1", "1/0", "1/5/5", "1.5/5", "-1/5", "''", "/", "1/99999")),
    *((f"evaluate {{run}} --mm-per-px {value}", "argument --mm-per-px: ") for value in ("0", "-1", "nan", "inf", "mm", "1,4")),
    # words
    (f"{TRAIN} --recipe best", "choose one of thesis, dense, steady, phantom, smoke"), (f"{TRAIN} --precision fp64", "invalid choice: 'fp64'"),
    (f"{TRAIN} --backbone resnet19", "resnet19"), (f"{TRAIN} --backbone ''", "backbone"), (f"{TRAIN} --fold 1/5 --fold-of test", "invalid choice: 'test'"),
    ("evaluate {run} --split train", "invalid choice: 'train'"), ("evaluate {run} --ensemble best", "invalid choice"), (f"{DEFEND} --recipe best", "choose one of"),
    (f"{DEFEND} --split all", "invalid choice"), (f"{DEFEND} --lang fr", "invalid choice: 'fr'"), (f"{FIGURES} --format gif", "invalid choice: 'gif'"),
    (f"{FIGURES} --for wall", "invalid choice"), (f"{FIGURES} --lang de", "invalid choice"), (f"{FIGURES} --split test", "test"),
    *((f"{command} --device {device}", "cannot be used here") for device in ("warp:9", "cuda:99", "''", "meta")
      for command in (TRAIN, "evaluate {run}", "predict {run} {picture}", DEFEND, "bench --small")),
    # what is missing, and a file where a folder is meant, or the other way round
    ("train-landmarks --data phantom", "--out"), ("train-landmarks --out new", "--data"), ("evaluate", "RUN"), ("predict {run}", "IMAGE"), ("check-data", "DIR"),
    ("figures {run}", "--out"), ("notebooks", "DIR"),
    ("train-landmarks --data gone --recipe smoke --out new", "gone"), ("train-landmarks --data file --recipe smoke --out new", "file"),
    ("train-landmarks --data empty --recipe smoke --out new", "empty"), (f"{TRAIN} --weights gone.pt", "gone.pt"), (f"{TRAIN} --weights empty", "empty"),
    (f"{TRAIN} --weights file", "file"), (f"{TRAIN} --weights ''", "weights"),
    *((f"{command} {place}", place) for command in ("evaluate", "figures --out new") for place in ("gone", "file", "empty", "{pictures}")),
    ("predict gone {picture}", "gone"), ("predict file {picture}", "file"), ("predict empty {picture}", "empty"), ("predict {run} gone.png", "gone.png: no such picture"),
    ("predict {run} empty", "no pictures in this folder itself"), ("predict {run} file", "file"), ("evaluate {run} --data gone", "gone"),
    ("evaluate {run} --data file", "file"), ("evaluate {run} --against gone", "gone"), ("evaluate {run} gone", "gone"), ("check-data gone", "gone"),
    ("check-data file", "file"), (f"{DEFEND} --data gone", "gone"), (f"{DEFEND} --records gone", "gone"), (f"{DEFEND} --records empty", "empty"),
    (f"{DEFEND} --records file", "file"), (f"{DEFEND} --claims gone.toml", "gone.toml"), (f"{DEFEND} --claims empty", "empty"), (f"{DEFEND} --claims file", "file"),
    (f"{DEFEND} --records {{run}} --main other", "other"),
    # nothing where a place is meant: a variable of the shell that is not set
    *((f"{command} ''", "must name a file or folder") for command in (
        "evaluate", "predict {run}", "check-data", "notebooks", "figures --out new", f"{TRAIN} --data", f"{TRAIN} --out", "evaluate {run} --json",
        "evaluate {run} --data", "evaluate {run} --against", "predict {run} {picture} --csv", "predict {run} {picture} --overlay", "bench --json",
        f"{DEFEND} --data", f"{DEFEND} --records", f"{DEFEND} --claims", "defend --out", f"{FIGURES} --out",
    )),
    # words that contradict each other
    (f"{TRAIN} --fold-of all", "--fold-of: "), (f"{TRAIN} --label-size 299", "--label-size: phantoms"), ("evaluate {run} --label-size 0", "--label-size: "),
    ("evaluate {run} --data phantom --label-size 0", "--label-size: phantoms"), (f"{DEFEND} --label-size 0", "--label-size: phantoms"),
    (f"{DEFEND} --data phantom --records {{run}}", "not allowed with"), (f"{DEFEND} --records {{run}} --seeds 1", "--seeds: of a training"),
    (f"{DEFEND} --main seed-0", "--main: "), (f"{DEFEND} --seeds 1 1", "each seed given once"), (f"{TRAIN} --phase1-epochs 0 --phase2-epochs 0", "nothing would be trained"),
    ("predict {run} {picture} --csv same --overlay same", "give two places"), ("predict {run} {picture} {picture}", "by more than one IMAGE"),
    ("evaluate {run} --split oof", "oof"), ("evaluate {run} --split all", "has seen"), ("evaluate {run} {run}", "is given twice"), ("evaluate {run} --against {run}/../first", "is given twice"),
    ("evaluate {run} --ensemble median", "--ensemble: "), (f"{TRAIN} --cache-views 2 --phase1-epochs 0", "--cache-views: "), ("figures {run} {run}/../first --out new", "is given twice"),
    # a place that is taken, or cannot be
    ("train-landmarks --data phantom --recipe smoke --out full", "holds files already"), ("train-landmarks --data phantom --recipe smoke --out full --resume", "no run to resume"),
    ("train-landmarks --data phantom --recipe smoke --out file", "is a file"), ("train-landmarks --data phantom --recipe smoke --out file/new", "is a file"),
    ("train-landmarks --data phantom --recipe smoke --out file --resume", "is a file"), (f"train-landmarks --data phantom --recipe smoke --out {'x' * 300}", "xxx"),
    ("evaluate {run} --json empty", "is a folder"), ("evaluate {run} --json file/x", "is a file"), ("predict {run} {picture} --csv empty", "is a folder"),
    ("predict {run} {picture} --overlay file", "is a file"), ("predict {run} {picture} --csv file/x.csv", "is a file"), ("figures {run} --out file", "is a file"),
    ("bench --small --json empty", "is a folder"), ("defend --out file", "is a file"), ("defend --out file/new", "is a file"), ("notebooks file", "is a file"),
    ("notebooks taken", "already holds"),
]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"folder" for path in sorted(folder.rglob("*"))}


def changes(folder: Path) -> list[tuple[str, int]]:
    return sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())


@pytest.fixture
def place(tmp_path, monkeypatch, trained_run, picture_folder):
    """An empty folder to work in, beside a file, a folder without and two with content; nothing may be trained or measured."""
    (tmp_path / "file").write_text("a letter")
    (tmp_path / "empty").mkdir()
    for folder, file in (("full", "letter.txt"), ("taken", "00_landmarks.ipynb")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text("here before")
    monkeypatch.chdir(tmp_path)

    def forbidden(*_, **__):
        raise AssertionError("was accepted")

    monkeypatch.setattr(runs.LandmarkTrainer, "fit", forbidden)
    monkeypatch.setattr(bench, "_phase1", forbidden)
    return {"run": trained_run, "pictures": picture_folder, "picture": picture_folder / "phantom-000000.png"}


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[words[:70] for words, _ in WRONG])
def test_a_wrong_word_is_one_line_and_nothing_is_written(words, said, place, tmp_path, capsys):
    before = tree(tmp_path), changes(place["run"])
    try:
        code = cli.main(shlex.split(words.format(**place)))
    except SystemExit as stop:  # argparse's way
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2, error
    assert error.count("\n") == 1 and error.startswith("landmark-thesis: ") and 30 < len(error) < 600 and error[:-1].isprintable(), error
    assert said.format(**place) in error, error
    assert (tree(tmp_path), changes(place["run"])) == before


def test_the_program_and_the_package_allow_the_same():
    assert cli._BATCH(str(runs.MAX_BATCH)) == runs.MAX_BATCH
    with pytest.raises(ValueError, match="batch_size"):
        runs.changed(runs.SMOKE, batch_size=runs.MAX_BATCH + 1)


def test_a_reader_that_has_seen_enough_is_no_failure(tmp_path):
    """As in `landmark-thesis ... | head`."""
    command = [sys.executable, "-m", "landmark_thesis", "notebooks", str(tmp_path / "new")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")])
def test_want_of_memory_is_one_line(error, monkeypatch, capsys, trained_run, picture_folder):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("landmark_thesis.evaluate.predict", fail)
    assert cli.main(["predict", str(trained_run), str(picture_folder)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("landmark-thesis: out of memory") and said.count("\n") == 1 and "fewer pictures" in said


SPOKEN = {
    "train-landmarks --data /there/set --fold 1/5 --fold-of all --out=/there/runs/new --weights /there/a/best.pt":
        "train-landmarks --data set --fold 1/5 --fold-of all --out=new --weights best.pt",
    "train-landmarks --data=/there/set/ --recipe dense --fold=2/5 --out ../runs/new": "train-landmarks --data=set --recipe dense --fold=2/5 --out new",
    "evaluate --allow-contaminated /there/one ./two --data=/there/set --against /there/three --no-tta --json=/there/r.json":
        "evaluate --allow-contaminated one two --data=set --against three --no-tta --json=r.json",
    "evaluate --device cpu /there/one --data ./": "evaluate --device cpu one --data .",
    "predict /there/one /there/a.png /there/-b.png --csv=/there/p.csv --overlay /there/drawn": "predict one a.png ./-b.png --csv=p.csv --overlay drawn",
    "check-data /there/set --label-size 0": "check-data set --label-size 0",
    "defend --data /there/set --seeds 0 1 --out=/there/new": "defend --data set --seeds 0 1 --out=new",
    "defend --records=/there/records --main a/b --claims /there/claims.toml": "defend --records=records --main a/b --claims claims.toml",
    "figures /there/one /there/two --format svg pdf --out /there/new": "figures one two --format svg pdf --out new",
    "bench --small --json=/there/b.json": "bench --small --json=b.json",
    "notebooks /there/new": "notebooks new",
}


@pytest.mark.parametrize(("words", "said"), SPOKEN.items(), ids=[words[:60] for words in SPOKEN])
def test_a_recorded_command_names_no_folder_above_and_can_be_given_again(words, said):
    spoken = cli._command(cli.parser().parse_args(words.split(), argparse.Namespace(words=words.split())))
    assert spoken == f"landmark-thesis {said}"
    again, given = (vars(cli.parser().parse_args(text.split())) for text in (said, words))
    assert {key: value for key, value in again.items() if "/there" not in str(given[key]) and "./" not in str(given[key])}.items() <= given.items()


def test_every_command_is_among_them():
    assert {words.split()[0] for words in SPOKEN} == set(COMMANDS)


def test_a_drive_that_is_not_there_is_one_line(monkeypatch):
    for asked in ("exists", "is_symlink", "is_dir"):
        monkeypatch.setattr(Path, asked, lambda self: False)  # as on Windows, where the root itself may be missing
    with pytest.raises(cli._Mistake, match="--csv .*: there is no such drive; choose another place"):
        cli._can_write("--csv", Path("/Z/points.csv"))
