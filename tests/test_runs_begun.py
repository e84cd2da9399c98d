"""Runs that begin with a file of weights, interrupted: what the file had seen was settled then, whatever becomes of it; and bf16 runs, interrupted."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from landmark_thesis import runs
from landmark_thesis.callbacks import read_checkpoint, save_checkpoint
from landmark_thesis.model import create_model, save_backbone
from landmark_thesis.trainer import LandmarkTrainer, Phase

ONE = replace(
    runs.changed(runs.SMOKE, image_size=32, precision="fp32"),
    batch_size=13,
    phases=(Phase("phase1", 1, {"head": 3e-3}, trainable="head"), Phase("phase2", 2, {"backbone": 1e-3, "head": 3e-3}, average=0.9)),
)


class BreaksOff(runs.CSVLogger):
    """Ctrl+C when the first epoch of phase 2 is over, and saved."""

    def on_epoch_start(self, trainer, phase, epoch):
        if (phase.name, epoch) == ("phase2", 2):
            raise KeyboardInterrupt


def go(recipe, out, resume=False):
    return runs.train(recipe, runs.Source(phantoms=26), out, seed=5, resume=resume, quiet=True)


def interrupted(recipe, out, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(runs, "CSVLogger", BreaksOff)
        go(recipe, out)
    return out


@pytest.fixture(scope="module")
def once():
    """What the first test made, for the others."""
    return {}


@pytest.fixture
def begun(once, few_pictures, tmp_path, tmp_path_factory, monkeypatch):
    """A checkpoint that has seen pictures of its own, and a run begun with it, interrupted: (the checkpoint, the run's recipe and folder)."""
    if not once:
        place = tmp_path_factory.mktemp("begun")
        model = create_model("tiny", "dense", weights="none")
        extra = {"provenance": {"trained_on": {"theirs-1": "a", "theirs-2": "b"}, "selected_on": {}}, "model": model.config}
        file = save_checkpoint(place / "best.pt", {"model_state_dict": model.state_dict(), "extra": extra})
        recipe = replace(ONE, weights=str(file))
        once.update(file=file, content=file.read_bytes(), recipe=recipe, run=interrupted(recipe, place / "run", monkeypatch))
    once["file"].write_bytes(once["content"])
    return once["file"], once["recipe"], shutil.copytree(once["run"], tmp_path / "run")


def told(run):
    return run.provenance["trained_on"].keys() >= {"theirs-1", "theirs-2"} and run.unverified != ""


def test_another_file_under_the_name_of_the_first_is_refused_with_the_difference(begun):
    file, recipe, out = begun
    before = (out / "best.pt").read_bytes(), (out / "recipe.json").read_bytes()
    save_backbone(create_model("tiny", "dense", weights="none").backbone, "tiny", file)
    with pytest.raises(runs.RunError, match="weights_sha256: '[0-9a-f]{16}' then, '[0-9a-f]{16}' now"):
        go(recipe, out, resume=True)
    assert before == ((out / "best.pt").read_bytes(), (out / "recipe.json").read_bytes())


def test_the_file_is_not_needed_to_go_on(begun, tmp_path):
    file, recipe, out = begun
    settings = (out / "recipe.json").read_text()
    whole = go(recipe, shutil.copytree(out, tmp_path / "whole"), resume=True)
    file.unlink()
    run = go(recipe, out, resume=True)
    assert told(whole) and told(run) and run.unverified == whole.unverified and run.weights_hash == whole.weights_hash
    assert (out / "recipe.json").read_text() == settings and "best.pt" in run.checkpoint["extra"]["weights_used"]
    assert read_checkpoint(out / "best.pt")["extra"] == read_checkpoint(whole.path / "best.pt")["extra"]


def test_a_run_older_than_that_line_goes_on_too_and_forgets_nothing(begun):
    """Its recipe.json holds no sha256: whatever lies there now, what it has seen stands in last.pt."""
    file, recipe, out = begun
    settings = json.loads((out / "recipe.json").read_text())
    del settings["weights_sha256"]
    (out / "recipe.json").write_text(json.dumps(settings))
    save_backbone(create_model("tiny", "dense", weights="none").backbone, "tiny", file)
    assert told(go(recipe, out, resume=True))


def test_signatures_of_others_are_refused(begun):
    file, recipe, out = begun
    file.unlink()
    (out / "signatures.npz").unlink()
    with pytest.raises(runs.RunError, match="signatures.npz: is not the file that last.pt was made with"):
        go(recipe, out, resume=True)
    assert not (out / "signatures.npz").exists()


def test_without_anything_saved_the_file_is_missed(begun):
    file, recipe, out = begun
    file.unlink()
    (out / "last.pt").unlink()
    with pytest.raises(ValueError, match="not found"):
        go(recipe, out, resume=True)


def test_a_bf16_run_goes_on_to_the_bit(few_pictures, tmp_path, monkeypatch):
    recipe = replace(ONE, precision="bf16")
    whole = go(recipe, tmp_path / "whole")
    run = go(recipe, interrupted(recipe, tmp_path / "broken", monkeypatch), resume=True)
    files = [torch.load(path / "best.pt", weights_only=True) for path in (whole.path, run.path)]
    assert files[0]["precision"] == files[1]["precision"] == "bf16" and files[0]["history"] == files[1]["history"]
    assert all(torch.equal(value, files[1]["model_state_dict"][name]) for name, value in files[0]["model_state_dict"].items())


def test_a_best_file_whose_state_was_never_saved_leaves_nothing_behind(tmp_path, monkeypatch):
    """A kill between both files of the first epoch: the run begins anew, and its folder is that of one which nobody disturbed."""
    whole = runs.train(ONE, runs.Source(phantoms=40), tmp_path / "whole", quiet=True)

    def dies(*_):
        raise SystemExit

    with monkeypatch.context() as dying:
        dying.setattr(LandmarkTrainer, "save_state", dies)
        with pytest.raises(SystemExit):
            runs.train(ONE, runs.Source(phantoms=40), tmp_path / "killed", quiet=True)
    (tmp_path / "killed" / "last.pt").unlink(missing_ok=True)
    assert (tmp_path / "killed" / "best.pt").is_file()
    killed = runs.train(ONE, runs.Source(phantoms=40), tmp_path / "killed", quiet=True, resume=True)
    assert sorted(path.name for path in killed.path.iterdir()) == sorted(path.name for path in whole.path.iterdir())
    assert killed.weights_hash == whole.weights_hash


def _epochs(first, second):
    return (Phase("phase1", first, {"head": 3e-3}, trainable="head"), Phase("phase2", second, {"backbone": 1e-3, "head": 3e-3}))


@pytest.mark.parametrize(("batch_size", "phases"), [(18, _epochs(0, 1)), (1, _epochs(0, 1))])
def test_a_last_batch_of_one_cell_is_told_before_any_epoch(batch_size, phases, few_pictures, tmp_path):
    told = rf"19 training pictures in batches of {batch_size} leave a last one of a single picture, and at 32 pixels .*--batch-size another value, or --image-size a larger"
    with pytest.raises(runs.RunError, match=told):
        go(replace(ONE, batch_size=batch_size, phases=phases), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("batch_size", "phases"), [(17, _epochs(0, 1)), (18, _epochs(1, 0))])  # two pictures are left; batch norm does not learn
def test_other_last_batches_train(batch_size, phases, few_pictures, tmp_path):
    assert go(replace(ONE, batch_size=batch_size, phases=phases), tmp_path / "run").finished


def test_a_last_picture_of_several_cells_is_no_fault_and_draws_no_number():
    model, before = create_model("tiny", "dense", weights="none"), torch.random.get_rng_state()
    runs._check_last_batch(replace(runs.changed(ONE, image_size=64), batch_size=18), model, 19)
    assert torch.equal(torch.random.get_rng_state(), before)
