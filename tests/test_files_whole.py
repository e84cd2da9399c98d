"""Files that are whole or not there: the order of the system's calls, a disk that is full, a folder that vanishes or may not be written to."""

import errno
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from landmark_thesis import cli, runs
from landmark_thesis.callbacks import Callback, CSVLogger, ModelCheckpoint, read_checkpoint
from landmark_thesis.data import batches, phantom_data, remove_leftovers, write_whole
from landmark_thesis.losses import WingLoss
from landmark_thesis.model import create_model
from landmark_thesis.trainer import LandmarkTrainer, Phase

TWO = replace(
    runs.changed(runs.SMOKE, image_size=32, precision="fp32"),
    head="regression", loss="wing", head_options={"attention": False, "deep": False, "hidden": 8}, batch_size=8,
    phases=(Phase("phase1", 3, {"head": 3e-3}, trainable="head"), Phase("phase2", 1, {"backbone": 1e-3, "head": 3e-3})),
)


def trained(out, **options):
    return runs.train(TWO, runs.Source(phantoms=26), out, quiet=True, **options)


def at_the_end_of_epoch(monkeypatch, number, action):
    """Do something when epoch `number` of phase 1 is over, before its last.pt is written."""

    def on_epoch_end(self, trainer, phase, epoch, metrics):
        if (phase.name, epoch) == ("phase1", number):
            action()

    monkeypatch.setattr(runs.Progress, "on_epoch_end", on_epoch_end)


def interrupted(out, monkeypatch):
    """The folder of a run that Ctrl+C stopped in phase 1, after its first epoch was saved."""

    def stop():
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        at_the_end_of_epoch(patched, 2, stop)
        trained(out)
    return out


def test_a_write_reaches_the_disk_in_this_order(tmp_path, monkeypatch):
    calls, sync, move = [], os.fsync, os.replace

    def synced(handle):
        calls.append("folder" if os.path.samestat(os.fstat(handle), tmp_path.stat()) else "file")
        sync(handle)

    def moved(temporary, path):
        assert Path(temporary).parent == tmp_path and Path(temporary).read_bytes() == b"new"
        calls.append("rename")
        move(temporary, path)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved)
    write_whole(tmp_path / "a.txt", b"new")
    assert calls == (["file", "rename"] if os.name == "nt" else ["file", "rename", "folder"])


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch, call):
    path = write_whole(tmp_path / "best.pt", b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError) as caught:
        write_whole(path, b"new")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["best.pt"]


def test_a_folder_that_vanished_is_made_again_only_where_asked(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(tmp_path / "gone" / "a.txt", b"a", make_folders=False)
    assert caught.value.filename == str(tmp_path / "gone" / "a.txt") and not (tmp_path / "gone").exists()
    assert write_whole(tmp_path / "gone" / "a.txt", b"a").read_bytes() == b"a"


def test_only_our_own_leftovers_are_swept_away(tmp_path):
    stay = ["best.pt", ".best.pt.tmp", ".other.txt.12.0a1b2c3d.tmp", ".best.pt.12.0a1b2c3d.tmp.txt", "best.pt.12.0a1b2c3d.tmp", ".bestXpt.12.0a1b2c3d.tmp"]
    for name in [*stay, ".best.pt.12.0a1b2c3d.tmp", ".last.pt.99999.ffffffff.tmp"]:
        (tmp_path / name).touch()
    assert remove_leftovers(tmp_path, ("best.pt", "last.pt")) == [".best.pt.12.0a1b2c3d.tmp", ".last.pt.99999.ffffffff.tmp"]
    assert sorted(os.listdir(tmp_path)) == sorted(stay)


def test_a_name_as_long_as_a_disk_takes_is_written_and_its_leftovers_found(tmp_path):
    for name in ("x" * 251 + ".csv", "ñ" * 125 + ".csv"):
        assert write_whole(tmp_path / name, b"1").read_bytes() == b"1"
        left = tmp_path / f".{name.encode()[:200].decode()}.12.0a1b2c3d.tmp"
        left.touch()
        assert remove_leftovers(tmp_path, [name]) == [left.name]


def test_a_trainer_sweeps_its_folder_and_keeps_best_and_last(tmp_path):
    for name in (".best.pt.12.0a1b2c3d.tmp", ".last.pt.12.0a1b2c3d.tmp"):
        (tmp_path / name).touch()
    data = phantom_data(6, size=32)
    trainer = LandmarkTrainer(create_model("tiny", weights="none", hidden=8), "cpu", tmp_path, quiet=True)
    trainer.train_full(batches(data, 6), batches(data, 6), WingLoss(), 2, 2)
    assert sorted(os.listdir(tmp_path)) == ["best.pt", "last.pt"]


@pytest.mark.parametrize("listener", [lambda place: CSVLogger(place / "history.csv"), lambda place: ModelCheckpoint(place, save_best_only=False)])
def test_a_callback_does_not_make_a_vanished_folder_again(tmp_path, listener):
    place = tmp_path / "place"

    class Vanish(Callback):
        def on_epoch_start(self, trainer, phase, epoch):
            if epoch == 2:
                shutil.rmtree(place)

    data = phantom_data(6, size=32)
    trainer = LandmarkTrainer(create_model("tiny", weights="none", hidden=8), "cpu", tmp_path / "run", callbacks=[listener(place), Vanish()], quiet=True)
    with pytest.raises(FileNotFoundError):
        trainer.train_phase1(batches(data, 6), batches(data, 6), WingLoss(), epochs=3)
    assert not place.exists() and read_checkpoint(tmp_path / "run" / "last.pt")["running"]["epoch"] == 1
    assert all(torch.equal(value, trainer.best_state[name]) for name, value in trainer.model.state_dict().items())


def test_a_run_folder_that_vanishes_ends_the_run_with_one_sentence(tmp_path, monkeypatch, few_pictures):
    out = tmp_path / "run"
    at_the_end_of_epoch(monkeypatch, 2, lambda: shutil.rmtree(out))
    with pytest.raises(runs.TrainingBroke, match="the folder is gone") as caught:
        trained(out)
    assert caught.value.exit_code == 1 and not out.exists()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EIO, errno.EDQUOT], ids=errno.errorcode.get)
def test_a_folder_that_may_no_longer_be_written_to_keeps_the_last_good_state(tmp_path, monkeypatch, few_pictures, code):
    out, replace_file, lasts = tmp_path / "run", os.replace, []

    def refused(temporary, path):
        lasts.append(Path(path).name)
        if lasts.count("last.pt") == 2:
            raise OSError(code, os.strerror(code))
        replace_file(temporary, path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refused)
        with pytest.raises(runs.TrainingBroke, match=f"{os.strerror(code)}: .*last.pt.; what was saved before is whole, and --resume goes on"):
            trained(out)
    assert read_checkpoint(out / "last.pt")["running"]["epoch"] == 1 and not list(out.glob(".*"))
    assert not runs.Run(out).model().training


def test_a_cell_that_trains_a_run_can_be_stopped_and_run_again(tmp_path, monkeypatch, few_pictures):
    """The stop button in the middle of an epoch: the best so far is there, the same cell never overwrites it, and resume=True goes on."""
    out, whole = tmp_path / "run", trained(tmp_path / "whole")

    def stop(self, trainer, phase, epoch, batch):
        if (phase.name, epoch, batch) == ("phase1", 2, 2):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(runs.Progress, "on_batch_end", stop)
        trained(out)
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    assert len(runs.Run(out).history) == 1 and not runs.Run(out).finished and not runs.Run(out).model().training
    with pytest.raises(runs.RunError, match="holds files already"):
        trained(out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == files
    for _ in range(2):  # and once more, when it is done
        run = trained(out, resume=True)
        assert run.weights_hash == whole.weights_hash and len(runs._read_json(out / "environment.json")["sessions"]) == 2


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "run/last.pt"), r"\(No space left on device: run/last.pt\)"),
        (runs.NonFiniteLossError("the loss is not finite at batch 3 (pictures: a)"), r"\(the loss is not finite at batch 3 \(pictures: a\)\)"),
        (runs.NoFiniteEpochError("no epoch of phase1 had a finite validation error"), "no epoch of phase1"),
        (torch.OutOfMemoryError("out of memory on cuda; try a smaller batch size"), "try a smaller batch size.; begin anew in another folder with a smaller --batch-size"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_breaks_a_training_is_one_line_and_exit_1(tmp_path, monkeypatch, few_pictures, capsys, error, words):
    def broken(self, *_, **__):
        raise error

    monkeypatch.setattr(runs.LandmarkTrainer, "fit", broken)
    with pytest.raises(runs.TrainingBroke, match=words) as caught:
        trained(tmp_path / "run")
    assert ("no epoch was completed yet" in str(caught.value)) != isinstance(error, torch.OutOfMemoryError)
    arguments = ["train-landmarks", "--data", "phantom", "--recipe", "smoke", "--image-size", "32", "--out", str(tmp_path / "other")]
    assert cli.main(arguments) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and shown.startswith("landmark-thesis: ") and "Traceback" not in shown


def test_damaged_checkpoints_are_one_line_and_exit_2(tmp_path, monkeypatch, few_pictures, capsys):
    out = interrupted(tmp_path / "run", monkeypatch)
    whole = (out / "last.pt").read_bytes()
    (out / "last.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(runs.RunError, match="last.pt is no checkpoint of ours or is damaged.*remove it to begin anew") as caught:
        trained(out, resume=True)
    assert caught.value.exit_code == 2
    (out / "best.pt").write_bytes(b"not weights")
    assert cli.main(["evaluate", str(out)]) == 2
    assert "best.pt is no checkpoint" in capsys.readouterr().err
    (out / "last.pt").unlink()
    assert trained(out, resume=True).finished


def test_labels_or_pictures_changed_under_a_run_are_refused_by_name(tmp_path, monkeypatch, few_pictures):
    out = interrupted(tmp_path / "run", monkeypatch)
    judged = runs.Run(out).part("val")[0]
    pictures = few_pictures
    where = pictures.names.index(judged)
    original = pictures.points[where].clone()
    pictures.points[where, 0, 0] += 0.01  # no mean shape of the training labels tells this
    with pytest.raises(runs.RunError, match="labels_sha256: '[0-9a-f]{16}' then"):
        trained(out, resume=True)
    pictures.points[where] = original
    digest = pictures.pixel_hash[judged]
    pictures.pixel_hash[judged] = "0" * len(digest)
    with pytest.raises(runs.RunError, match=f"split_fingerprint.*other pixels under the name of {judged}"):
        trained(out, resume=True)
    pictures.pixel_hash[judged] = digest
    with pytest.raises(runs.RunError, match=r"split_seed: 42 then, 7 now.*train lost \d+ pictures \(phantom-.*val gained"):
        trained(out, resume=True, split_seed=7)
    assert trained(out, resume=True).finished


def test_a_run_resumed_under_other_conditions_says_so_and_keeps_it(tmp_path, monkeypatch, few_pictures, capsys):
    out = tmp_path / "run"

    with monkeypatch.context() as patched:
        patched.setattr(torch, "get_num_threads", lambda: 7)
        interrupted(out, patched)
    run = runs.train(TWO, runs.Source(phantoms=26), out, resume=True)
    said = f"threads: 7 then, {torch.get_num_threads()} now"
    assert f"not to the last bit as it would have there ({said})" in capsys.readouterr().out
    assert runs._read_json(run.path / "environment.json")["moved"] == [said]


@pytest.fixture
def disk(tmp_path):
    """`disk(options)`: a small file system of its own, mounted (or mounted again) with these options."""
    place, mounted = tmp_path / "disk", []
    place.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", f"remount,{options}" if mounted else options, "tmpfs", str(place)]
        try:
            done = subprocess.run(command, capture_output=True)
        except FileNotFoundError:
            pytest.skip("needs the program mount")
        if done.returncode:
            pytest.skip("needs the right to mount a small file system")
        mounted.append(place)
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_keeps_the_last_good_state_and_the_run_goes_on_when_there_is_room(tmp_path, disk, few_pictures):
    whole = trained(tmp_path / "whole")
    last, best = ((tmp_path / "whole" / name).stat().st_size for name in ("last.pt", "best.pt"))
    place = disk(f"size={best + last + last // 2}")  # best.pt and a last.pt, but no second one beside it
    with pytest.raises(runs.TrainingBroke, match="No space left on device: .*run.(best|last).pt.; what was saved before is whole"):
        trained(place / "run")
    saved = read_checkpoint(place / "run" / "last.pt")
    assert saved["running"]["name"] == "phase1" and saved["running"]["epoch"] >= 1 and not list((place / "run").glob("*.tmp"))
    disk("size=64m")
    assert trained(place / "run", resume=True).weights_hash == whole.weights_hash
    assert (place / "run" / "history.csv").read_bytes() == (tmp_path / "whole" / "history.csv").read_bytes()


def test_a_folder_that_may_not_be_written_to_is_refused_before_anything_is_computed(disk, monkeypatch, capsys):
    place = disk("size=1m")
    disk("ro")
    monkeypatch.setattr(runs.LandmarkTrainer, "fit", None)
    with pytest.raises(runs.RunError, match="cannot be written to .Read-only file system.; choose another folder") as caught:
        trained(place)
    assert caught.value.exit_code == 2
