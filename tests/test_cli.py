"""The program as somebody at a terminal meets it: exit codes, one line for each mistake, nothing written on refusal."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from landmark_thesis import runs
from landmark_thesis.cli import main
from landmark_thesis.data import phantom_data
from landmark_thesis.evaluate import read_errors
from landmark_thesis.widgets import AnnotationSession

SMALL = ["train-landmarks", "--recipe", "smoke", "--image-size", "64", "--label-size", "0"]  # a training of seconds


@pytest.fixture
def folder(picture_folder):
    return picture_folder


@pytest.fixture
def run(trained_run):
    return trained_run


def refused(capsys, *arguments) -> str:
    """The one line that a mistake gets."""
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("landmark-thesis: ") and "Traceback" not in error, error
    return error


def test_a_training_leaves_a_whole_run_folder(run):
    assert sorted(path.name for path in run.iterdir()) == [
        "best.pt",
        "environment.json",
        "errors.csv",
        "history.csv",
        "last.pt",
        "recipe.json",
        "results.json",
        "signatures.npz",
        "split.json",
        "train.log",
    ]
    settings = json.loads((run / "recipe.json").read_text())
    assert settings["seed"] == 3 and settings["recipe"]["deviations"] == ["the network sees 64 pixels, not 224"]
    assert {row["part"] for row in read_errors(run / "errors.csv")} == {"val"}
    assert len(runs.Run(run).history) == sum(phase.epochs for phase in runs.SMOKE.phases)


def test_evaluate_writes_the_results_of_the_contract(run, tmp_path, capsys):
    assert main(["evaluate", str(run), "--json", str(tmp_path / "results.json")]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["unit"] == "px@224" and results["part"] == "val" and results["n_val"] == 9
    assert results["contaminated"] is False and results["selected_on_part"] is True and results["tta"] is True
    assert results["precision"] == json.loads((run / "environment.json").read_text())["precision"]
    assert set(results["val"]["sdr"]) == {"3", "5", "8", "10", "15"} and len(results["val"]["per_landmark"]) == 15
    low, high = results["val"]["mre_px_ci95"]
    assert low < results["val"]["mre_px"] < high
    assert results["models"][0]["val_mre_px"] == pytest.approx(results["val"]["mre_px"], abs=1e-3)
    assert f"{results['val']['mre_px']:.2f} [{low:.2f}, {high:.2f}]" in capsys.readouterr().out


def test_each_opening_of_the_test_part_is_logged_and_a_look_at_validation_is_not(run, tmp_path):
    run = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("test_ledger.jsonl"))
    for number in (1, 2):
        assert main(["evaluate", str(run), "--split", "test", "--json", str(tmp_path / "results.json")]) == 0
        assert main(["evaluate", str(run), "--split", "val"]) == 0
        lines = [json.loads(line) for line in (run / "test_ledger.jsonl").read_text().splitlines()]
        assert (
            len(lines) == number
            and lines[-1]["part"] == "test"
            and lines[-1]["weights"] == [runs.Run(run).weights_hash]
        )
        assert json.loads((tmp_path / "results.json").read_text())["test_ledger"]["opened"] == number


def test_pictures_that_were_trained_on_are_refused_and_the_override_stamps(run, folder, tmp_path, capsys):
    out = tmp_path / "results.json"
    arguments = ["evaluate", run, "--data", folder, "--split", "all", "--label-size", "0", "--json", out]
    assert "has seen 54 of 60 pictures" in refused(capsys, *arguments)
    assert not out.exists()
    errors = (run / "errors.csv").read_bytes()
    assert main([*map(str, arguments), "--allow-contaminated"]) == 0
    assert "CONTAMINATED" in capsys.readouterr().out
    assert json.loads(out.read_text())["contaminated"] is True
    assert (run / "errors.csv").read_bytes() == errors, "contaminated errors must not reach the figures"


def test_predictions_come_in_pixels_of_each_file(run, folder, tmp_path, capsys):
    picture = cv2.imread(str(folder / "phantom-000000.png"), cv2.IMREAD_GRAYSCALE)
    wide = cv2.copyMakeBorder(
        picture, 0, 0, 30, 30, cv2.BORDER_CONSTANT
    )  # the square that the model sees keeps its height
    cv2.imwrite(str(tmp_path / "twice.png"), cv2.resize(picture, (240, 240), interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(tmp_path / "wide.png"), wide)
    assert (
        main(
            [
                "predict",
                str(run),
                str(tmp_path),
                "--csv",
                str(tmp_path / "points.csv"),
                "--overlay",
                str(tmp_path / "drawn"),
            ]
        )
        == 0
    )
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["twice.png", "wide.png"]
    rows = list(csv.reader(open(tmp_path / "points.csv")))
    assert [row[0] for row in rows] == ["image", "twice.png", "wide.png"] and len(rows[1]) == 31
    capsys.readouterr()
    assert main(["predict", str(run), str(folder / "phantom-000000.png")]) == 0
    small = np.array(capsys.readouterr().out.splitlines()[1].split(",")[1:], float).reshape(15, 2)
    large = np.array(rows[1][1:], float).reshape(15, 2)
    assert np.abs((large + 0.5) / 2 - (small + 0.5)).max() < 6  # one picture at two sizes; the model is a poor one


@pytest.mark.parametrize(("words", "drawn"), [([], 400), (["--phantoms", "2000"], 2000)])
def test_a_training_on_phantoms_draws_as_many_as_it_is_told(words, drawn, tmp_path, monkeypatch):
    def train(recipe, source, *_, command, **others):
        assert source == runs.Source(phantoms=drawn) and command.endswith(" ".join(words))
        raise runs.RunError("enough")

    monkeypatch.setattr(runs, "train", train)
    assert main(["train-landmarks", "--data", "phantom", "--out", str(tmp_path / "new"), *words]) == 2


def test_resuming_a_finished_run_does_nothing(run, folder, capsys):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert main([*SMALL, "--data", str(folder), "--out", str(run), "--seed", "3", "--resume"]) == 0
    said = capsys.readouterr().out
    assert "finished" in said and "it was scored" in said and f"landmark-thesis evaluate {run} --split val" in said
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_resuming_with_other_settings_shows_the_difference(run, folder, capsys):
    common = [*SMALL, "--data", folder, "--out", run, "--resume"]
    assert "seed: 3 then, 4 now" in refused(capsys, *common, "--seed", "4")
    told = refused(capsys, *common, "--seed", "3", "--split-seed", "1", "--batch-size", "8")
    assert "split_seed: 42 then, 1 now" in told and "recipe.batch_size: 16 then, 8 now" in told and "deviations" not in told


def test_resuming_nothing_begins_anew_and_says_so(folder, tmp_path, capsys):
    arguments = [*SMALL, "--data", str(folder), "--out", str(tmp_path / "new"), "--resume"]
    assert main(arguments) == 0
    assert "nothing" in capsys.readouterr().out.lower()
    assert runs.Run(tmp_path / "new").finished


def test_folds_are_scored_by_the_run_that_left_them_out(folder, tmp_path, capsys):
    places = [tmp_path / f"fold-{i}" for i in (1, 2)]
    for number, place in enumerate(places, 1):
        assert (
            main([*SMALL, "--data", str(folder), "--fold", f"{number}/2", "--fold-of", "all", "--out", str(place)]) == 0
        )
        said = capsys.readouterr().out
        assert " of the test part " in said and f"when that is planned: landmark-thesis evaluate {place} --split oof" in said
        assert not {"results.json", "errors.csv", "test_ledger.jsonl"} & {path.name for path in place.iterdir()}
        command = json.loads((place / "environment.json").read_text())["command"]
        assert f"--fold {number}/2 --fold-of all --out fold-{number}" in command and str(tmp_path) not in command
    assert main(["evaluate", *map(str, places), "--split", "oof", "--json", str(tmp_path / "oof.json")]) == 0
    results = json.loads((tmp_path / "oof.json").read_text())
    assert results["n_oof"] == 60 and len(results["models"]) == 2
    assert results["oof"]["conformal"]["n"] == results["oof"]["agreement"]["width3_px"]["n"] == 60
    scored = [row["image"] for place in places for row in read_errors(place / "errors.csv", "oof")]
    assert sorted(scored) == sorted(phantom_data(60, seed=5, size=32).names)
    capsys.readouterr()
    assert "has seen" in refused(capsys, "evaluate", *places, "--split", "all", "--data", folder, "--label-size", "0")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"fold": (0, 3)}, "1 <= i <= k"),
        ({"fold": (7, 3)}, "1 <= i <= k"),
        ({"fold": (1, 1)}, "k >= 2"),
        ({"fold": (1, 2, 3)}, "must be .i, k."),
        ({"fold": 1}, "must be .i, k."),
        ({"fold": (1.0, 3)}, "must be .i, k."),
        ({"fold": (1, 3), "fold_of": "dve"}, "must be 'dev' or 'all', got 'dve'"),
        ({"fold_of": None}, "must be 'dev' or 'all'"),
    ],
)
def test_folds_that_do_not_exist_are_refused_from_python_too(words, said, tmp_path):
    with pytest.raises(runs.RunError, match=said):
        runs.train(runs.SMOKE, "phantom", tmp_path / "new", **words)
    assert not (tmp_path / "new").exists()


def test_a_fold_of_a_split_that_is_given_is_refused(run, tmp_path):
    with pytest.raises(runs.RunError, match="give one of them"):
        runs.train(runs.SMOKE, "phantom", tmp_path / "new", split=runs.Run(run).split, fold=(1, 2))


def test_a_record_names_no_folder(run, folder, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    settings = json.loads((run / "recipe.json").read_text())
    settings["recipe"]["weights"] = str(tmp_path / "parent" / "best.pt")
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(settings))
    record = runs.save_record(runs.Run(tmp_path / "run"), tmp_path / "record")
    assert record.recipe.weights == "best.pt" and record.source.folder == folder.name
    assert not [path.name for path in record.path.iterdir() if str(tmp_path.parent.parent) in path.read_text()]


def test_comparison_is_paired_and_with_itself_is_nothing(run, tmp_path):
    shutil.copytree(run, tmp_path / "again")
    assert main(["evaluate", str(run), "--against", str(tmp_path / "again"), "--json", str(tmp_path / "r.json")]) == 0
    against = json.loads((tmp_path / "r.json").read_text())["against"]
    assert against["difference_px"] == 0 and against["wilcoxon_p"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "nowhere"], "no run folder"),
        (["train-landmarks", "--data", "nowhere", "--out", "new"], "nowhere"),
        (
            ["train-landmarks", "--data", "phantom", "--recipe", "best", "--out", "new"],
            "choose one of thesis, dense, steady, phantom, smoke",
        ),
        (
            ["train-landmarks", "--data", "phantom", "--recipe", "smoke", "--weights", "none.pt", "--out", "new"],
            "none.pt",
        ),
        (
            ["train-landmarks", "--data", "phantom", "--recipe", "smoke", "--backbone", "resnet19", "--out", "new"],
            "resnet19",
        ),
        (["train-landmarks", "--data", "phantom", "--recipe", "smoke", "--device", "warp:9", "--out", "new"], "warp:9"),
        (["check-data", "nowhere"], "nowhere"),
    ],
)
def test_a_mistake_gets_one_line_and_writes_nothing(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert words in refused(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_predicting_what_is_no_picture(run, tmp_path, capsys):
    (tmp_path / "letter.png").write_text("dear")
    assert "letter.png" in refused(capsys, "predict", run, tmp_path / "letter.png", "--csv", tmp_path / "points.csv")
    assert "no such picture" in refused(capsys, "predict", run, tmp_path / "gone.png")
    assert not (tmp_path / "points.csv").exists()


SPARED = [
    ("predict {run} {pictures} --overlay {pictures}", "--overlay {pictures}: holds the pictures that are read"),
    ("predict {run} {pictures}/phantom-000000.png --overlay {pictures}", "holds the pictures that are read"),
    ("predict {run} {link}/phantom-000000.png --overlay {pictures}", "holds the pictures that are read"),
    ("predict {run} {pictures}/phantom-000000.png --csv {link}/phantom-000000.png", "is a file that is read here"),
    ("predict {run} {pictures}/phantom-000000.png --csv {pictures}/phantom-000001.png", "is a picture"),
    ("predict {run} {pictures}/phantom-000000.png --csv {pictures}/labels.csv", "is a table among the labelled pictures"),
    ("predict {run} {pictures}/phantom-000000.png --csv {run}/best.pt", "is a file of the run run"),
    ("predict {run} {pictures}/phantom-000000.png --csv {run}/results.json", "is a file of the run run"),
    ("predict {run} {new}/phantom-000001.png --overlay {pictures}", "lies among the labelled pictures of the run"),
    ("predict {run} {new}/phantom-000001.png --overlay {link}/drawn", "lies among the labelled pictures of the run"),
    ("predict {run} {new}/phantom-000001.png --overlay {others}", "{others}: holds the picture phantom-000000.png, which was not drawn here"),
    ("evaluate {run} --json {run}/best.pt", "is a file of the run run"),
    ("evaluate {run} --json {other}/results.json", "is a file of the run other"),
    ("evaluate {run} {other} --json {run}/results.json", "is a file of the run run"),
    ("evaluate {run} --json {run}/../run/recipe.json", "is a file of the run run"),
    ("evaluate {run} --json {pictures}/labels.csv", "is a table among the labelled pictures"),
    ("evaluate {run} --json {pictures}/phantom-000000.png", "is a picture"),
    ("bench --small --json {run}/last.pt", "is a file of the run run"),
    ("defend --out {run}", "holds a run, whose results would be replaced"),
    ("defend --data {pictures} --out {link}", "holds the pictures"),
    ("defend --records {run} --out {run}", "holds a run"),
]


def test_what_is_read_or_was_earned_is_never_written_over(run, folder, tmp_path, capsys):
    places = {name: tmp_path / name for name in ("run", "other", "pictures", "link", "new", "others")}
    shutil.copytree(run, places["run"])
    shutil.copytree(run, places["other"])
    for place in ("pictures", "new", "others"):
        places[place].mkdir()
        for name in ("phantom-000000.png", "phantom-000001.png", "labels.csv"):
            shutil.copy(folder / name, places[place])
    places["link"].symlink_to(places["pictures"])
    settings = json.loads((places["run"] / "recipe.json").read_text())
    settings["source"]["folder"] = str(places["pictures"])
    (places["run"] / "recipe.json").write_text(json.dumps(settings))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for words, said in SPARED:
        assert said.format(**places) in refused(capsys, *(word.format(**places) for word in words.split()))
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before, words


def test_drawings_are_drawn_again_and_nothing_else_is_lost_to_them(run, folder, tmp_path, capsys):
    words = ["predict", str(run), str(folder / "phantom-000000.png"), "--overlay", str(tmp_path / "drawn")]
    assert main(words) == 0
    first = (tmp_path / "drawn" / "phantom-000000.png").read_bytes()
    assert main(words) == 0 and (tmp_path / "drawn" / "phantom-000000.png").read_bytes() == first
    assert cv2.imdecode(np.frombuffer(first, np.uint8), cv2.IMREAD_COLOR).shape == (640, 640, 3)  # a PNG like any other
    (tmp_path / "drawn" / "mine.jpg").write_bytes(b"a picture of somebody's")
    assert "drawn: holds the picture mine.jpg, which was not drawn here" in refused(capsys, *words)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="needs names that are no UTF-8, which this system lacks")
def test_a_picture_whose_name_is_no_utf_8_cannot_stand_in_a_table(run, folder, tmp_path, capsys):
    place = os.fsencode(tmp_path) + b"/caf\xe9.png"
    shutil.copy(os.fsencode(folder / "phantom-000000.png"), place)
    for words in (["--csv", tmp_path / "o.csv"], []):
        assert "caf\\udce9.png: its name is no UTF-8" in refused(capsys, "predict", run, os.fsdecode(place), *words)
    assert [os.fsencode(path) for path in tmp_path.iterdir()] == [place]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes, which this system lacks")
def test_a_pipe_is_no_picture(run, tmp_path, capsys):
    os.mkfifo(tmp_path / "p.png")
    assert "p.png: is a pipe or a device" in refused(capsys, "predict", run, tmp_path / "p.png", "--csv", tmp_path / "o.csv")


def test_chapters_are_copied_all_or_none(tmp_path, monkeypatch, capsys):
    """The disk is full at the last thing: nothing is left that would refuse the next try."""
    copied = []

    def full(thing, place, **options):
        copied.append(place)
        raise OSError(28, "No space left on device", str(place))

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copy", full)
        patched.setattr(shutil, "copytree", full)
        assert "No space left" in refused(capsys, "notebooks", tmp_path / "new")
    assert copied and list(tmp_path.iterdir()) == []
    assert main(["notebooks", str(tmp_path / "new")]) == 0
    assert len(list((tmp_path / "new").glob("*.ipynb"))) > 20 and not list((tmp_path / "new").glob(".new-*"))


def test_an_occupied_folder_is_left_alone(run, folder, capsys):
    assert "holds files already" in refused(
        capsys, "train-landmarks", "--data", folder, "--recipe", "smoke", "--out", run
    )


def test_wrong_words_are_argparse_errors(capsys):
    for arguments in (
        ["train-landmarks"],
        ["evaluate", "x", "--split", "some"],
        ["train-landmarks", "--data", "x", "--out", "y", "--fold", "6/5"],
        [],
    ):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2


def test_help_needs_no_torch():
    code = "import sys\nfrom landmark_thesis.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("False\n") and "train-landmarks" in done.stdout


def test_the_module_runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "landmark_thesis", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("landmark_thesis ")


def test_interruption_saves_the_best_and_exits_130(folder, tmp_path, monkeypatch, capsys):
    from landmark_thesis.callbacks import Progress

    def interrupted(self, trainer, phase, epoch, metrics):
        if phase.name == "phase2":
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "on_epoch_end", interrupted)
    out = tmp_path / "run"
    assert main([*SMALL, "--data", str(folder), "--out", str(out)]) == 130
    assert capsys.readouterr().err.strip().count("\n") == 0
    assert runs.Run(out).provenance["trained_on"] and not runs.Run(out).finished
    monkeypatch.undo()
    assert main([*SMALL, "--data", str(folder), "--out", str(out), "--resume"]) == 0
    assert runs.Run(out).finished


def test_the_spread_over_seeds_stands_apart_from_the_spread_over_pictures(folder, run, tmp_path):
    other, single = tmp_path / "other", json.loads((run / "results.json").read_text())
    assert main([*SMALL, "--data", str(folder), "--seed", "1", "--out", str(other)]) == 0
    assert main(["evaluate", str(run), str(other), "--json", str(tmp_path / "both.json")]) == 0
    both = json.loads((tmp_path / "both.json").read_text())
    assert single["seeds"] is None and both["seeds"]["n_seeds"] == 2 and both["seeds"]["n_pictures"] == both["n_val"]
    assert both["seeds"]["seed_sd_px"] == pytest.approx(both["seed_sd_px"])
    assert both["seeds"]["mean_px"] == pytest.approx(np.mean([model["val_mre_px"] for model in both["models"]]), abs=1e-3)


def test_figures_takes_the_pictures_of_a_folder_for_the_examples(trained_run, picture_folder, tmp_path, monkeypatch, capsys):
    from landmark_thesis import figures
    from landmark_thesis.evaluate import evaluate_runs, read_errors
    from landmark_thesis.runs import Run

    given = {}
    monkeypatch.setattr(figures, "draw_all", lambda *words, **options: given.update(options) or [])
    words = ["figures", str(trained_run), "--out", str(tmp_path / "drawn")]
    assert main([*words, "--data", str(picture_folder), "--label-size", "0"]) == 0
    run = Run(trained_run)
    assert set(run.part("val")) <= set(given["data"].names) and given["data"].images.shape[-1] == run.recipe.preprocessing.size
    evaluate_runs(run, part="val")
    rows = read_errors(trained_run / "errors.csv", "val")
    figure = figures.prediction_examples(rows, given["data"])
    assert sorted(axes.get_title().split("\n")[1] for axes in figure.axes) == sorted(row["image"] for row in figures.example_rows(rows).values())
    assert main(words) == 0 and given["data"] is None
    (tmp_path / "leakage").mkdir()
    (tmp_path / "leakage" / "leakage.json").write_text("{}")
    assert main(["figures", str(tmp_path / "leakage"), "--out", str(tmp_path / "drawn"), "--data", str(picture_folder), "--label-size", "0"]) == 2
    assert "--data: shows what a run predicts" in capsys.readouterr().err


def test_defend_hands_the_decimal_comma_on(tmp_path, monkeypatch):
    from landmark_thesis import defense

    given = {}
    monkeypatch.setattr(defense, "defend_records", lambda *words, **options: given.update(options) or {"verdicts": {"FAIL": 0}})
    assert main(["defend", "--records", str(tmp_path), "--lang", "es", "--decimal-comma", "--out", str(tmp_path / "new")]) == 0
    assert given["decimal_comma"] is True and given["lang"] == "es"


@pytest.mark.parametrize("side", [160, 256])
def test_what_the_annotator_writes_is_ready_for_the_bare_command(side, tmp_path, capsys):
    for name, image in zip("abcdefghijklmnopqrst", phantom_data(20, seed=1, size=side).images, strict=True):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image.numpy())
    session = AnnotationSession([tmp_path], tmp_path / "mine.csv")
    for words in ("enter", "enter", "next") * 20:
        session.do({"do": words})
    assert main(["check-data", str(tmp_path)]) == 0
    assert "ready for training" in capsys.readouterr().out


def test_a_copy_of_the_chapters_lacks_nothing_that_they_show_or_read(tmp_path, capsys):
    copy = tmp_path / "chapters"
    assert main(["notebooks", str(copy)]) == 0
    texts = {path: path.read_text(encoding="utf-8") for path in (*copy.glob("*.ipynb"), copy / "DEFECTS.md")}
    assert len(texts) == 23 and main(["notebooks", str(copy)]) == 2
    links = {target for text in texts.values() for target in re.findall(r"\]\(([\w./-]+\.(?:ipynb|svg|md))\)", text)}
    paths = {name for text in texts.values() for name in re.findall(r'Path\(\\"((?:\.\./)?figures/[\w./]+)\\"\)', text) if not name.endswith(".py")}
    assert len(links) > 25 and len(paths) > 6
    assert [name for name in links | paths if not (copy / name).exists()] == []
