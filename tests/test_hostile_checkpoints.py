"""Checkpoints and run folders that somebody damaged, or made to do harm: one line that names the file, nothing executed, no memory eaten."""

import copy
import functools
import io
import json
import os
import pickle
import random
import shutil
import struct
import tarfile
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from kept import keep

from landmark_thesis import figures, runs
from landmark_thesis.callbacks import (
    Callback,
    CheckpointError,
    EarlyStopping,
    LRSchedulerCallback,
    read_checkpoint,
    save_checkpoint,
)
from landmark_thesis.cli import main
from landmark_thesis.data import batches, phantom_data
from landmark_thesis.losses import WingLoss
from landmark_thesis.model import WeightsError, create_model, model_from_weights, read_weights
from landmark_thesis.runs import peak_memory
from landmark_thesis.trainer import LandmarkTrainer, Phase

RECIPE = runs.changed(runs.SMOKE, phase1_epochs=0, phase2_epochs=1, image_size=64)


@pytest.fixture(scope="module", autouse=True)
def _drawn_once():
    """The same forty phantoms for every command: drawing them takes longer than everything that is tested here."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runs, "phantom_data", functools.cache(runs.phantom_data))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A training of one epoch on phantoms, evaluated."""
    run = runs.train(RECIPE, runs.Source(phantoms=40), tmp_path_factory.mktemp("runs") / "good", quiet=True)
    assert main(["evaluate", str(run.path), "--json", str(run.path / "results.json")]) == 0
    return run.path


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """A copy of it to damage; the working folder is empty."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(finished, tmp_path / "run"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(capsys, tmp_path: Path, *words) -> str:
    """The one line that a command ends in; it must write nothing, and take no memory to speak of."""
    before, peak = contents(tmp_path), peak_memory(torch.device("cpu")) or 0  # not counted on Windows
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("landmark-thesis: ") and len(error) < 900, error
    assert contents(tmp_path) == before
    assert (peak_memory(torch.device("cpu")) or 0) - peak < 400e6  # bytes
    return error


class Exploit:
    """What a pickle of an attacker looks like: loading it makes a file."""

    def __init__(self, place: Path):
        self.place = place

    def __reduce__(self):
        return (os.system, (f"touch {self.place}",))


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rebuilt(path: Path, content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def exploit(path):
    torch.save({"model_state_dict": {}, "extra": Exploit(path.parent / "owned")}, path)


def exploit_in_legacy_format(path):
    torch.save({"model_state_dict": Exploit(path.parent / "owned")}, path, _use_new_zipfile_serialization=False)


def exploit_as_bare_pickle(path):
    path.write_bytes(pickle.dumps(Exploit(path.parent / "owned")))


def exploit_in_the_pickle_of_a_good_file(path):
    content = members(path)
    name = next(name for name in content if name.endswith("data.pkl"))
    content[name] = pickle.dumps(Exploit(path.parent / "owned"), protocol=2)
    rebuilt(path, content)


def exploit_behind_the_good_pickle(path):
    """A memo and a reduce spliced in before the pickle's end."""
    content = members(path)
    name = next(name for name in content if name.endswith("data.pkl"))
    content[name] = content[name][:-1] + pickle.dumps(Exploit(path.parent / "owned"), protocol=2)[2:]
    rebuilt(path, content)


def tar_of_torch_0_1(path):
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            data = pickle.dumps(Exploit(path.parent / "owned"))
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def legacy_that_claims_a_terabyte(path):
    buffer = io.BytesIO()
    torch.save({"model_state_dict": {"a": torch.zeros(3)}}, buffer, _use_new_zipfile_serialization=False)
    path.write_bytes(buffer.getvalue().replace(pickle.dumps(3, 2)[2:-1], pickle.dumps(2**31 - 1, 2)[2:-1]))


def compressed(path):
    rebuilt(path, members(path), zipfile.ZIP_DEFLATED)


def zip_bomb(path):
    content = members(path)
    big = max(content, key=lambda name: len(content[name]))
    content[big] = bytes(2**25)
    rebuilt(path, content, zipfile.ZIP_DEFLATED)


def padded(path):
    content = members(path)
    rebuilt(path, content)
    with zipfile.ZipFile(path, "a") as archive, archive.open(f"{next(iter(content)).partition('/')[0]}/data/more", "w", force_zip64=True) as more:
        more.write(bytes(5 * 2**24))


def overlapping_members(path):
    """Many entries of the table of contents that share one member: the quoted way to a bomb without compression."""
    content = members(path)
    rebuilt(path, content)
    data = path.read_bytes()
    at, count = struct.unpack("<L", data[-6:-2])[0], struct.unpack("<H", data[-12:-10])[0]
    entry_end = data.index(b"PK\1\2", at + 4)
    table, first = data[at:-22], data[at:entry_end]
    table += first * 200
    total = count + 200
    end = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, total, total, len(table), at, 0)
    path.write_bytes(data[:at] + table + end)


def a_number_too_many(path):
    """A pickle that claims more numbers than its member holds: torch would read on behind the end."""
    content = members(path)
    storage = next(name for name in content if name.endswith("/data/0"))
    content[storage] = content[storage][:-4]
    rebuilt(path, content)


def two_members_that_differ_in_case(path):
    content = members(path)
    name = next(name for name in content if name.endswith("/data/0"))
    rebuilt(path, {**content, name.replace("/data/", "/DATA/"): content[name][:4]})


def in_the_table_of_contents(path: Path, member: str, place: int, change: bytes) -> None:
    """Other bytes at `place` of a member's entry."""
    data = bytearray(path.read_bytes())
    name = next(name for name in members(path) if name.endswith(member)).encode()
    at = data.rindex(name) - 46 + place
    data[at : at + len(change)] = change
    path.write_bytes(data)


def a_member_that_is_called_a_folder(path):
    """One bit: torch then reads none of its numbers, and hands out what lay in memory."""
    in_the_table_of_contents(path, "/data/0", 38, b"\x10")


def a_member_that_is_called_empty(path):
    """No bytes in the archive, checksum of none, and as many numbers as ever: the same."""
    in_the_table_of_contents(path, "/data/0", 16, bytes(8))


def a_flipped_bit_of_a_weight(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def half_of_it(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def nothing(path):
    path.write_bytes(b"")


def a_folder(path):
    path.unlink()
    path.mkdir()


def changed(change):
    """The same file with `change` done to its content."""

    def write(path):
        content = read_checkpoint(path)
        change(content)
        save_checkpoint(path, content)

    write.__name__ = change.__name__
    return write


def first_weight(content):
    key = "model_state_dict" if "model_state_dict" in content else "model"
    return content[key], next(name for name, value in content[key].items() if value.ndim == 4)


@changed
def nan_weights(content):
    weights, name = first_weight(content)
    weights[name][0, 0, 0, 0] = float("nan")


@changed
def a_missing_weight(content):
    weights, name = first_weight(content)
    del weights[name]


@changed
def a_weight_too_many(content):
    weights, name = first_weight(content)
    weights["more"] = weights[name]


@changed
def another_shape(content):
    weights, name = first_weight(content)
    weights[name] = weights[name][:1].clone()


@changed
def a_view_of_a_petabyte(content):
    weights, name = first_weight(content)
    weights[name] = torch.zeros(1).expand(10**5, 10**5, 10**5)


@changed
def another_type(content):
    weights, name = first_weight(content)
    weights[name] = weights[name].to(torch.int64)


@changed
def weights_that_are_words(content):
    weights, name = first_weight(content)
    weights[name] = "many"


@changed
def no_weights(content):
    content["model_state_dict"] = [1, 2]
    content["model"] = None


@changed
def a_model_of_a_million_channels(content):
    content["extra"]["model"] = {**content["extra"]["model"], "channels": 2**20, "groups": 1}


@changed
def a_backbone_of_gigabytes(content):
    content["extra"]["model"] = {**content["extra"]["model"], "backbone": "regnet_y_128gf"}


@changed
def seven_landmarks(content):
    content["extra"]["model"] = {**content["extra"]["model"], "num_landmarks": 7}


@changed
def a_model_without_a_name(content):
    content["extra"]["model"] = {}


@changed
def extra_that_is_a_list(content):
    content["extra"] = [1]


@changed
def provenance_of_numbers(content):
    content["extra"]["provenance"]["trained_on"] = {1: 2}


@changed
def provenance_of_nothing(content):
    content["extra"]["provenance"] = {"trained_on": None}


FILES = [
    (exploit, "asks for"), (exploit_in_legacy_format, "no archive of torch.save"), (exploit_as_bare_pickle, "no archive"),
    (exploit_in_the_pickle_of_a_good_file, "system"), (exploit_behind_the_good_pickle, ""), (tar_of_torch_0_1, "no archive"),
    (legacy_that_claims_a_terabyte, "no archive"), (compressed, "compressed"), (zip_bomb, "compressed"), (padded, "MB"),
    (overlapping_members, ""), (a_number_too_many, "claims"), (two_members_that_differ_in_case, "table of contents"),
    (a_member_that_is_called_a_folder, "empty"), (a_member_that_is_called_empty, "empty"), (a_flipped_bit_of_a_weight, "damaged"), (half_of_it, ""), (nothing, ""), (a_folder, ""),
]
CONTENTS = [
    (nan_weights, "not finite"), (a_missing_weight, "1 missing"), (a_weight_too_many, "1 unknown"), (another_shape, "of another shape"),
    (a_view_of_a_petabyte, "of another shape"), (another_type, "of another type"), (weights_that_are_words, "no plain tensors"),
    (no_weights, "model_state_dict"), (a_model_of_a_million_channels, "of another shape"), (a_backbone_of_gigabytes, ""),
    (seven_landmarks, ""), (a_model_without_a_name, ""), (extra_that_is_a_list, "extra"), (provenance_of_numbers, "provenance"),
    (provenance_of_nothing, "provenance"),
]


def ids(cases):
    return [case[0] if isinstance(case[0], str) else case[0].__name__ for case in cases]


FEW = [case for case in FILES if case[0] in (exploit, exploit_in_legacy_format, zip_bomb, a_number_too_many, a_flipped_bit_of_a_weight, a_folder)]
BEST = [*(("evaluate", *case) for case in FILES + CONTENTS), *(("predict", *case) for case in [*FEW, CONTENTS[0], CONTENTS[8]])]


@pytest.mark.parametrize(("command", "spoil", "word"), BEST, ids=[f"{command}-{spoil.__name__}" for command, spoil, _ in BEST])
def test_a_hostile_best_pt(command, spoil, word, run, tmp_path, capsys):
    spoil(run / "best.pt")
    words = [command, run] if command == "evaluate" else [command, run, picture(tmp_path)]
    out = ["--json", tmp_path / "out.json"] if command == "evaluate" else ["--csv", tmp_path / "out.csv"]
    line = refused(capsys, tmp_path, *words, *out)
    assert "best.pt" in line and word in line, line
    assert not (run / "owned").exists()


def picture(folder: Path) -> Path:
    import cv2

    from landmark_thesis.phantom import phantoms

    cv2.imwrite(str(folder / "chest.png"), phantoms(1, size=64)[0][0])
    return folder / "chest.png"


@pytest.mark.parametrize(("spoil", "word"), FEW, ids=ids(FEW))
def test_hostile_weights_to_begin_with(spoil, word, run, tmp_path, capsys):
    spoil(run / "best.pt")
    words = ["train-landmarks", "--data", "phantom", "--recipe", "smoke", "--out", tmp_path / "new", "--weights", run / "best.pt"]
    line = refused(capsys, tmp_path, *words)
    assert "best.pt" in line and (word in line or spoil is a_folder), line
    assert not (run / "owned").exists()


@changed
def nothing_of_the_phase(content):
    content["finished"], content["running"] = [], {"name": "phase2"}


@changed
def random_states_of_words(content):
    content["random"] = {"python": "x"}


@changed
def callbacks_of_others(content):
    content["callbacks"] = {"Other": {}}


@changed
def no_history(content):
    content["history"] = None


LAST = [*FEW, (nan_weights, "not finite"), (a_missing_weight, "missing"), (another_shape, "another shape"), (no_weights, "model"),
        (a_view_of_a_petabyte, "another shape"), (nothing_of_the_phase, ""), (random_states_of_words, ""), (callbacks_of_others, "callbacks"), (no_history, "history")]


@pytest.mark.parametrize(("spoil", "word"), LAST, ids=ids(LAST))
def test_a_hostile_last_pt(spoil, word, run, tmp_path):
    spoil(run / "last.pt")
    (run / "environment.json").unlink()  # not finished
    weights = (run / "best.pt").read_bytes()
    with pytest.raises(runs.RunError) as caught:
        runs.train(RECIPE, runs.Source(phantoms=40), run, resume=True, quiet=True)
    assert "\n" not in str(caught.value) and word in str(caught.value), caught.value
    assert not (run / "owned").exists() and (run / "best.pt").read_bytes() == weights


# What only the trainer reads: the state of a phase in its middle, piece by piece.


class BreakOff(Callback):
    """Ctrl+C in the second epoch of phase 2."""

    def on_epoch_start(self, trainer, phase, epoch):
        if (phase.name, epoch) == ("phase2", 2):
            raise KeyboardInterrupt


@functools.cache
def drawn():
    return phantom_data(8, seed=1, size=32)


def trained(folder: Path, plateau: bool, broken_off: bool = False, resume: bool = False) -> LandmarkTrainer:
    """Two phases on phantoms: with a schedule and an average of ours, or with a plateau scheduler of torch's as a callback."""
    end = {} if plateau else {"schedule": "cosine", "average": 0.9}
    phases = Phase("phase1", 1, {"head": 3e-3}, trainable="head"), Phase("phase2", 3, {"backbone": 1e-3, "head": 3e-3}, patience=2, **end)
    callbacks = [EarlyStopping(9, monitor="train_loss")]
    if plateau:
        callbacks += [LRSchedulerCallback(torch.optim.lr_scheduler.ReduceLROnPlateau, monitor="train_loss")]
    torch.manual_seed(0)
    trainer = LandmarkTrainer(create_model("tiny", weights="none", hidden=8), "cpu", folder, callbacks=[*callbacks, *[BreakOff()] * broken_off], precision="fp32", quiet=True, seed=7)
    data = drawn()
    trainer.fit(phases, batches(data, 4, shuffle=True, seed=3), batches(data, 8), WingLoss(), resume=resume)
    return trainer


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory):
    """`broken_off(plateau)`: the folder of such a training after one epoch of phase 2, and what its last.pt holds; each once."""

    @functools.cache
    def made(plateau: bool) -> tuple[Path, dict]:
        place = tmp_path_factory.mktemp("broken-off") / "run"
        with pytest.raises(KeyboardInterrupt):
            trained(place, plateau, broken_off=True)
        return place, read_checkpoint(place / "last.pt")

    return made


def in_last(*path_and_value):
    """`content[a][b]... = value`; a function of the old value where `value` is one."""
    *path, last, value = path_and_value

    def change(content):
        for key in path:
            content = content[key] if not callable(key) else content[key(content)]
        for key in [last] if not callable(last) else [last(content)]:
            content[key] = value(content[key]) if callable(value) else value

    return change


def first(content):
    return next(iter(content))


def weight(content):
    return next(name for name, value in content.items() if value.ndim == 4)


def not_finite(value):
    return torch.full_like(value, float("nan"))


MOMENTS = ("running", "optimizer", "state", first)
GROUP = ("running", "optimizer", "param_groups", 0)
PLATEAU = ("callbacks", "LRSchedulerCallback")
PIECES = {
    "weights of whole numbers": (in_last("model", weight, lambda value: value.long()), "another type"),
    "weights of half the bits": (in_last("model", weight, lambda value: value.half()), "another type"),
    "a best of no weights": (in_last("best", "state", {}), "missing in the file"),
    "a best of NaN": (in_last("best", "state", weight, not_finite), "not finite"),
    "a best of another shape": (in_last("best", "state", weight, torch.zeros(2, 2)), "another shape"),
    "a best of another type": (in_last("best", "state", weight, lambda value: value.double()), "another type"),
    "a best of words": (in_last("best", "state", weight, "many"), "no plain tensors"),
    "a best that is a word": (in_last("best", "state", "x"), "no plain tensors"),
    "a best without its epoch": (lambda content: content["best"].pop("epoch"), "best"),
    "a best with more to say": (in_last("best", "save", 1), "best"),
    "a best of words for numbers": (in_last("best", "error_px", "small"), "best"),
    "a best error of NaN": (in_last("best", "error_px", float("nan")), "best"),
    "a best below nothing": (in_last("best", "error_px", -1.0), "best"),
    "a best of an epoch to come": (in_last("best", "epoch", 9), "best"),
    "a best of another phase": (in_last("best", "phase", "phase9"), "best"),
    "moments of another size": (in_last(*MOMENTS, "exp_avg", torch.zeros(3)), "moments"),
    "moments that share one number": (in_last(*MOMENTS, "exp_avg", lambda value: torch.zeros(1).expand(value.shape)), "moments"),
    "moments of another type": (in_last(*MOMENTS, "exp_avg_sq", lambda value: value.double()), "moments"),
    "moments of NaN": (in_last(*MOMENTS, "exp_avg", not_finite), "moments"),
    "squares below nothing": (in_last(*MOMENTS, "exp_avg_sq", lambda value: value - 1), "moments"),
    "a missing moment": (lambda content: content["running"]["optimizer"]["state"][0].pop("exp_avg"), "moments"),
    "a moment too many": (in_last(*MOMENTS, "more", torch.zeros(3)), "moments"),
    "moments of nobody": (in_last("running", "optimizer", "state", 999, {}), "moments"),
    "steps of NaN": (in_last(*MOMENTS, "step", torch.tensor(float("nan"))), "moments"),
    "steps of many": (in_last(*MOMENTS, "step", torch.zeros(3)), "moments"),
    "no moments at all": (in_last("running", "optimizer", {}), "no groups and moments"),
    "a group too few": (lambda content: content["running"]["optimizer"]["param_groups"].pop(), "other groups"),
    "a rate in words": (in_last(*GROUP, "lr", "x"), "other groups, or settings"),
    "a rate of NaN": (in_last(*GROUP, "lr", float("nan")), "other groups, or settings"),
    "a rate of 1e30": (in_last(*GROUP, "lr", 1e30), "other rates"),
    "betas of 5": (in_last(*GROUP, "betas", (5.0, 5.0)), "other groups, or settings"),
    "another switch": (in_last(*GROUP, "capturable", True), "other groups, or settings"),
    "parameters of others": (in_last(*GROUP, "params", [5, 6]), "other groups, or settings"),
    "a schedule of words": (in_last("running", "schedule", "base_lrs", "ab"), "base_lrs"),
    "a schedule of other rates": (in_last("running", "schedule", "base_lrs", [1.0, 1.0]), "other rates"),
    "a schedule before the beginning": (in_last("running", "schedule", "last_epoch", -9), "other rates or steps"),
    "a schedule with a method of its own": (in_last("running", "schedule", "get_lr", 4), "get_lr"),
    "no schedule": (in_last("running", "schedule", None), "LambdaLR"),
    "no average": (in_last("running", "average", None), "no plain tensors"),
    "an average of another shape": (in_last("running", "average", weight, torch.zeros(2, 2)), "another shape"),
    "an average of less than nothing": (in_last("running", "average", "n_averaged", torch.tensor(-10)), "less than nothing"),
    "a stopper of words": (in_last("running", "stopper", "best_score", "x"), "no best so far"),
    "a stopper that counts down": (in_last("running", "stopper", "counter", -5), "counter"),
    "a stopper that is no dict": (in_last("running", "stopper", 5), "last.pt"),
    "a callback's words": (in_last("callbacks", "EarlyStopping", "best_score", "x"), "no best so far"),
    "a callback that is a word": (in_last("callbacks", "EarlyStopping", "x"), "callbacks"),
    "an epoch before the first": (in_last("running", "epoch", -5), "running"),
    "an epoch of a billion": (in_last("running", "epoch", 10**9), "running"),
    "half an epoch": (in_last("running", "epoch", 1.0), "running"),
    "a reason of numbers": (in_last("running", "stop_reason", 5), "running"),
    "the phase that is finished": (in_last("finished", ["phase1", "phase2"]), "running"),
    "finished phases of nobody": (in_last("finished", ["phase1", "x"]), "finished"),
    "finished phases of lists": (in_last("finished", [["a"]]), "finished"),
    "phases of numbers": (in_last("phases_run", [5]), "phases_run"),
    "no settings": (in_last("settings", {}), "phases_run"),
    "settings of words": (in_last("settings", "phase1", "x"), "phases_run"),
    "a history of numbers": (in_last("history", "phase1", 5), "history"),
    "a history of words": (in_last("history", "phase1", "val_loss", ["x"]), "history"),
    "stops of words": (in_last("stopped", {"phase1": {"epoch": "x", "reason": 1, "rates": 2}}), "stopped"),
    "a precision of nobody": (in_last("precision", "fp8"), "precision"),
    "NumPy's numbers behind their end": (in_last("random", "numpy", 2, 10**9), "NumPy"),
    "Python's numbers in words": (in_last("random", "python", (3, ("x",), None)), "last.pt"),
    "too few of torch's numbers": (in_last("random", "torch", torch.zeros(3, dtype=torch.uint8)), "last.pt"),
    "a plateau of words": (in_last(*PLATEAU, "best", "x"), "best"),
    "a plateau with a step of its own": (in_last(*PLATEAU, "step", 3), "step"),
    "a plateau's rates in words": (in_last(*PLATEAU, "min_lrs", ["x", "y"]), "min_lrs"),
}


QUICK = ("whole numbers", "no weights", "a best of NaN", "an epoch to come", "another size", "share one number", "squares", "steps of NaN", "too few", "1e30", "betas",
         "a method of its own", "no average", "less than nothing", "a stopper of words", "callback's words", "billion", "finished", "no settings", "history of words",
         "precision", "NumPy", "plateau of words", "a step of its own")  # the others take as long again: .ci/slow


@pytest.mark.parametrize("case", [case if any(word in case for word in QUICK) else pytest.param(case, marks=pytest.mark.slow) for case in PIECES])
def test_a_hostile_piece_of_a_last_pt_is_refused_before_anything_is_written(case, broken_off, monkeypatch):
    """The file itself is read elsewhere (above): here what it held is handed over, changed, which is quicker."""
    change, word = PIECES[case]
    folder, content = broken_off("plateau" in case)
    content = copy.deepcopy(content)
    change(content)
    monkeypatch.setattr("landmark_thesis.trainer.read_checkpoint", lambda path, most=None: content if path.name == "last.pt" else read_checkpoint(path, most))
    before = contents(folder)
    with pytest.raises(CheckpointError) as caught:
        trained(folder, "plateau" in case, resume=True)
    said = str(caught.value)
    assert word in said and str(folder / "last.pt") in said and "\n" not in said and len(said) < 700, said
    assert contents(folder) == before


@pytest.mark.parametrize("plateau", [False, True])
def test_an_honest_last_pt_goes_on(plateau, broken_off, tmp_path):
    folder = Path(shutil.copytree(broken_off(plateau)[0], tmp_path / "run"))
    assert len(trained(folder, plateau, resume=True).history["phase2"]["val_loss"]) == 3


def edited(name: str, change) -> object:
    def write(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return write


def put(*keys_and_value):
    *keys, last, value = keys_and_value

    def change(content):
        for key in keys:
            content = content[key]
        content[last] = value

    return change


RUNS = {
    "a recipe that is no JSON": ("recipe.json", lambda folder: (folder / "recipe.json").write_text("{"), "cannot be read"),
    "a recipe that is deep": ("recipe.json", lambda folder: (folder / "recipe.json").write_text("[" * 100_000), "cannot be read"),
    "a recipe that is a list": ("recipe.json", lambda folder: (folder / "recipe.json").write_text("[1]"), "no values by name"),
    "a recipe with a number of 5000 digits": ("recipe.json", lambda folder: (folder / "recipe.json").write_text('{"seed": ' + "1" * 5000 + "}"), "cannot be read"),
    "a recipe in Latin-1": ("recipe.json", lambda folder: (folder / "recipe.json").write_bytes(b'{"a": "\xe9"}'), "cannot be read"),
    "a recipe without a recipe": ("recipe.json", edited("recipe.json", lambda content: content.pop("recipe")), "recipe missing"),
    "an unknown field": ("recipe.json", edited("recipe.json", put("recipe", "run_this", "rm -rf")), "unknown field run_this"),
    "a field of another kind": ("recipe.json", edited("recipe.json", put("recipe", "phases", 3)), "a field is missing, or not what it can be"),
    "pictures of a billion pixels": ("recipe.json", edited("recipe.json", put("recipe", "preprocessing", "size", 10**9)), "from 16 to 2048"),
    "pictures of half a pixel": ("recipe.json", edited("recipe.json", put("recipe", "preprocessing", "size", 0.5)), "from 16 to 2048"),
    "a billion CLAHE tiles": ("recipe.json", edited("recipe.json", put("recipe", "preprocessing", "clahe_tiles", 10**9)), "CLAHE"),
    "batches of a billion": ("recipe.json", edited("recipe.json", put("recipe", "batch_size", 10**9)), "batch_size"),
    "a billion phantoms": ("recipe.json", edited("recipe.json", put("source", "phantoms", 10**9)), "phantoms"),
    "a source with more to say": ("recipe.json", edited("recipe.json", put("source", "url", "http://x")), "url"),
    "another recipe than it was trained by": ("recipe.json", edited("recipe.json", put("recipe", "project", False)), "not the recipe"),
    "another picture size than it was trained with": ("recipe.json", edited("recipe.json", put("recipe", "preprocessing", "size", 96)), "not the recipe"),
    "a mean shape of words": ("recipe.json", edited("recipe.json", put("mean_shape", [["a"]])), "mean_shape"),
    "no recipe at all": ("run", lambda folder: (folder / "recipe.json").unlink(), "recipe.json is missing"),
    "a split that is no JSON": ("split.json", lambda folder: (folder / "split.json").write_text("{"), "not a split"),
    "a split that is deep": ("split.json", lambda folder: (folder / "split.json").write_text("[" * 100_000), "not a split"),
    "a split with another name": ("split.json", edited("split.json", lambda content: content["parts"]["test"].append("more")), "was changed"),
    "a split of numbers": ("split.json", edited("split.json", put("parts", "test", [1, 2])), "not a split"),
    "a split that is one word": ("split.json", edited("split.json", put("parts", "test", "abc")), "not a split"),
    "a huge split": ("split.json", lambda folder: (folder / "split.json").write_bytes(b" " * (2**26 + 1)), "64 MB"),
    "no split at all": ("split.json", lambda folder: (folder / "split.json").unlink(), "split.json"),
    "signatures of others": ("signatures.npz", lambda folder: (folder / "signatures.npz").write_bytes(b"PK"), "is not the file"),
}


def endless(name: str):
    def write(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to("/dev/zero")

    return write


def pipe(name: str):
    def write(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return write


READ_BY = {"history.csv": "figures", "errors.csv": "figures", "results.json": "figures", "environment.json": "figures", "recipe.json": "evaluate",
           "split.json": "evaluate", "best.pt": "evaluate", "signatures.npz": "evaluate", "test_ledger.jsonl": "evaluate"}


@pytest.mark.skipif(not (hasattr(os, "mkfifo") and Path("/dev/zero").exists()), reason="needs pipes and /dev/zero, which this system lacks")
@pytest.mark.parametrize("spoil", [endless, pipe])
def test_files_without_an_end_or_a_beginning(spoil, run, tmp_path, capsys):
    for name, command in READ_BY.items():
        held = (run / name).read_bytes() if (run / name).exists() else None
        spoil(name)(run)
        out = ["--out", tmp_path / "drawn"] if command == "figures" else ["--json", tmp_path / "out.json"]
        capsys.readouterr()
        assert main([command, str(run), *map(str, out)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and f"{name}: is a pipe or a device" in error, error
        (run / name).unlink()
        if held is not None:
            (run / name).write_bytes(held)
    assert not (tmp_path / "drawn").exists() and not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("name", ["recipe.json", "history.csv", "errors.csv"])
def test_no_more_is_read_than_makes_sense_whatever_a_size_claims(name, run, monkeypatch):
    """A size may say nothing (in /proc every file has 0 bytes) or grow meanwhile: what counts is what was read."""
    monkeypatch.setattr(runs.read_whole, "__defaults__", (100,))
    readers = {"recipe.json": lambda: runs.Run(run).settings, "history.csv": lambda: runs.Run(run).history, "errors.csv": lambda: runs.Run(run).validation_error()}
    with pytest.raises(runs.RunError, match=f"{name}.*has more than 0 MB"):
        readers[name]()


@pytest.mark.parametrize("case", RUNS)
def test_a_hostile_run_folder(case, run, tmp_path, capsys):
    name, spoil, word = RUNS[case]
    spoil(run)
    line = refused(capsys, tmp_path, "evaluate", run, "--json", tmp_path / "out.json")
    assert name in line and word in line, line


def test_a_recipe_that_names_files_of_others_reads_none_of_them(run, tmp_path, capsys):
    """`weights` and the folder of the pictures are told, not followed: evaluation takes its weights from best.pt alone."""
    outside = tmp_path / "outside.pt"
    exploit(outside)
    edited("recipe.json", put("recipe", "weights", "../outside.pt"))(run)
    assert "not the recipe" in refused(capsys, tmp_path, "evaluate", run)
    assert not (tmp_path / "owned").exists()


def text_in(name: str, text: str):
    return lambda folder: (folder / name).write_text(text)


FIGURES = {
    "a history of words": ("history.csv", text_in("history.csv", "phase,epoch,train_loss\nphase1,one,two\n"), "not a history"),
    "a history without its columns": ("history.csv", text_in("history.csv", "a,b\n1,2\n"), "not a history"),
    "a ragged history": ("history.csv", text_in("history.csv", "phase,epoch\nphase1,1,3,4\n"), "not a history"),
    "a history that is a picture": ("history.csv", lambda folder: (folder / "history.csv").write_bytes(bytes(range(256))), "not a history"),
    "results that are no JSON": ("results.json", text_in("results.json", "{"), "cannot be read"),
    "results that are a list": ("results.json", text_in("results.json", "[]"), "cannot be read"),
    "results without a number": ("results.json", text_in("results.json", '{"part": "val"}'), "cannot be read"),
    "results of words": ("results.json", edited("results.json", put("val", "mre_px", "small")), "cannot be read"),
    "results that are deep": ("results.json", text_in("results.json", "[" * 100_000), "cannot be read"),
    "an environment that is no JSON": ("environment.json", text_in("environment.json", "{"), "cannot be read"),
    "errors of words": ("errors.csv", text_in("errors.csv", "part,image,category,L1_radial\nval,a,b,small\n"), "not a table of errors"),
    "errors without their columns": ("errors.csv", text_in("errors.csv", "part,image,category,x\nval,a,b,1\n"), "errors.csv"),
    "an unknown recipe": ("recipe.json", edited("recipe.json", put("recipe", "loss", "magic")), "magic"),
    "an option that no head knows": ("recipe.json", edited("recipe.json", put("recipe", "head_options", {"magic": 1})), "magic"),
    "an option that cannot be": ("recipe.json", edited("recipe.json", put("recipe", "head_options", {"channels": "many"})), "channels"),
    "a backbone that nobody knows": ("recipe.json", edited("recipe.json", put("recipe", "backbone", "magic")), "magic"),
}


@pytest.mark.parametrize("case", FIGURES)
def test_figures_of_a_hostile_run(case, run, tmp_path, capsys):
    name, spoil, word = FIGURES[case]
    spoil(run)
    line = refused(capsys, tmp_path, "figures", run, "--out", tmp_path / "drawn")
    assert name in line and word in line, line


def test_a_model_of_a_trillion_numbers_is_drawn_without_them():
    """Some hidden units too many: a few would be a slow figure, more of them no memory left."""
    peak = peak_memory(torch.device("cpu")) or 0
    asked = replace(RECIPE, head_options={"channels": 2**18})
    assert "M" in " ".join(text.get_text() for text in figures.model_diagram(asked).axes[0].texts)
    assert (peak_memory(torch.device("cpu")) or 0) - peak < 400e6


# The fuzz of the loader itself: whatever is done to the bytes, the answer is one WeightsError or what was written; an archive that was put together
# anew, with checksums of its own, is another file, and read as what it holds.


@pytest.fixture(scope="module")
def small_file(tmp_path_factory) -> bytes:
    """A checkpoint of 20 kB with everything that ours hold."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    content = {"format": 1, "model_state_dict": model.state_dict(), "extra": {"provenance": {"trained_on": {"a": "b"}, "selected_on": {}}, "seed": 3},
               "history": {"phase1": {"train_loss": [1.5, None, True]}}, "random": (torch.get_rng_state()[:50], (1, 2**40))}
    return save_checkpoint(tmp_path_factory.mktemp("small") / "small.pt", content).read_bytes()


def mutated(data: bytes, rng: random.Random) -> tuple[bytes, bool]:
    """Bits flipped, bytes removed, doubled or put in, the file cut; or, and then True, members of the archive spliced."""
    data, kind = bytearray(data), rng.randrange(6)
    place = rng.randrange(len(data)) if rng.random() < 0.5 else rng.choice([rng.randrange(1500), len(data) - rng.randrange(1, 1500)])
    if kind == 0:
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[place] ^= 1 << rng.randrange(8)
    elif kind == 2:
        del data[place : place + rng.randint(1, 64)]
    elif kind == 3:
        data[place:place] = data[place : place + rng.randint(1, 64)] or b"x"
    elif kind == 4:
        del data[place:]
    else:
        return spliced(bytes(data), rng), True
    return bytes(data), False


def spliced(data: bytes, rng: random.Random) -> bytes:
    """A whole archive again, its checksums right, with one of its members exchanged, cut, or changed in a byte."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    names = sorted(content)
    one, other = rng.choice(names), rng.choice(names)
    way = rng.randrange(4)
    if way == 0:
        content[one], content[other] = content[other], content[one]
    elif way == 1:
        del content[one]
    else:
        pickled = next(name for name in names if name.endswith("data.pkl"))
        changed = bytearray(content[pickled if way == 2 else one])
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        content[pickled if way == 2 else one] = bytes(changed)
    buffer = io.BytesIO()
    rebuilt(buffer, content)
    return buffer.getvalue()


def fuzz(data: bytes, rounds: int, path: Path, seed: int) -> Counter[str]:
    """How many mutations were "refused", read "as they were", or as "another file"; all else is an error."""
    path.write_bytes(data)
    rng, wanted, found = random.Random(seed), read_weights(path), Counter()
    for _ in range(rounds):
        bad, anew = mutated(data, rng)
        path.write_bytes(bad)
        try:
            content = read_weights(path)
        except WeightsError as error:
            assert "\n" not in str(error) and str(path) in str(error)
            found["refused"] += 1
            continue
        walk(content)
        same = alike(content, wanted)
        assert same or anew, "damaged, and read as something else"
        found["as they were" if same else "another file"] += 1
    return found


def alike(a, b) -> bool:
    """Equal to the bit, through dicts, lists and tensors."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and a.contiguous().view(-1).view(torch.uint8).equal(b.contiguous().view(-1).view(torch.uint8))
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    return a == b


def walk(content, depth: int = 0) -> None:
    """Touch every number: what claims more than it holds would crash here."""
    if isinstance(content, torch.Tensor):
        assert content.numel() < 10**6 and content.untyped_storage().nbytes() < 10**6
        content.clone()
    elif isinstance(content, dict) and depth < 9:
        for value in content.values():
            walk(value, depth + 1)
    elif isinstance(content, list | tuple) and depth < 9:
        for value in content:
            walk(value, depth + 1)


def test_mutations_of_a_checkpoint(small_file, tmp_path):
    found = fuzz(small_file, 400, tmp_path / "m.pt", seed=0)
    assert 300 < found["refused"] < 400 and found["as they were"] > 0


def test_the_fuzz_would_see_a_loader_that_checks_nothing(small_file, tmp_path, monkeypatch):
    """One that ignores checksums reads other weights from a damaged file."""
    monkeypatch.setitem(fuzz.__globals__, "read_weights", unchecked)
    with pytest.raises(AssertionError, match="read as something else"):
        fuzz(small_file, 400, tmp_path / "m.pt", seed=0)


def unchecked(path):
    try:
        return torch.load(path, weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path}: " + str(error).replace("\n", " ")) from error


@pytest.mark.slow
def test_many_mutations_of_a_checkpoint(small_file, tmp_path, capsys, request):
    tried = int(os.environ.get("MUTATIONS", 10_000))
    found = fuzz(small_file, tried, tmp_path / "m.pt", seed=1)
    with capsys.disabled():
        print(f"\n{tried:,} mutations of a checkpoint: {dict(found)}")
    assert 0.75 * tried < found["refused"] < tried
    keep("mutations", request.config, {"tried": tried, "refused": found["refused"], "as_they_were": found["as they were"], "another_file": found["another file"]}, f"MUTATIONS={tried}")


def flips(data: bytes, places, path: Path) -> Counter[str]:
    """Every bit of these bytes flipped alone, as in `fuzz`."""
    path.write_bytes(data)
    wanted, found = read_weights(path), Counter()
    for place in places:
        for bit in range(8):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
            try:
                assert alike(read_weights(path), wanted), f"bit {bit} of byte {place}: read as something else"
                found["as they were"] += 1
            except WeightsError:
                found["refused"] += 1
    return found


def heads(data: bytes) -> list[range]:
    """Where an archive says of each member what it is: before its numbers, and in the table of contents, whose end comes last."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        before = [range(member.header_offset, member.header_offset + 30 + len(member.filename)) for member in archive.infolist()]
        return [*before, range(archive.start_dir, len(data))]


def test_no_bit_of_what_is_said_of_the_first_numbers_changes_them(small_file, tmp_path):
    table = heads(small_file)[-1]
    entry = small_file.index(b"archive/data/0", table.start) - 46
    found = flips(small_file, range(entry, entry + 60), tmp_path / "m.pt")
    assert found["refused"] > found["as they were"] > 0


@pytest.mark.slow
def test_no_bit_of_what_an_archive_says_of_its_members_changes_them(small_file, tmp_path):
    found = flips(small_file, [place for part in heads(small_file) for place in part], tmp_path / "m.pt")
    assert found["refused"] > 5000


def test_whatever_is_done_to_a_checkpoint_the_weights_are_the_same_or_refused(finished, tmp_path):
    """Of a real best.pt: no single flipped bit gives a model with other weights."""
    good, data, rng = read_checkpoint(finished / "best.pt"), (finished / "best.pt").read_bytes(), random.Random(3)
    config, wanted = good["extra"]["model"], good["model_state_dict"]
    for _ in range(25):
        bad = bytearray(data)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        (tmp_path / "best.pt").write_bytes(bad)
        try:
            content = read_checkpoint(tmp_path / "best.pt")
        except CheckpointError:
            continue
        assert all(torch.equal(wanted[name], value) for name, value in content["model_state_dict"].items())
        assert content["extra"]["model"] == config


def test_a_config_is_compared_before_it_costs_anything():
    small = create_model("tiny", "dense", weights="none")
    state = small.state_dict()
    again = model_from_weights(small.config, state)
    assert all(torch.equal(a, b) for a, b in zip(state.values(), again.state_dict().values(), strict=True))
    for change, word in (({"channels": 10**9, "groups": 1}, "not the weights of a model of ours"), ({"num_landmarks": 10**7}, "of another shape"), ({"backbone": ["tiny"]}, "unknown backbone")):
        with pytest.raises(WeightsError, match=word) as caught:
            model_from_weights({**small.config, **change}, state, "best.pt")
        assert str(caught.value).startswith("best.pt: ") and "\n" not in str(caught.value)
    sparse = copy.copy(state)
    sparse["head.logits.bias"] = torch.zeros(15).to_sparse()
    with pytest.raises(WeightsError, match="no plain tensors"):
        model_from_weights(small.config, sparse)
