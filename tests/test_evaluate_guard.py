"""The guard and the ledger, attacked: altered copies, edited folders, inherited weights, two processes at once."""

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from landmark_thesis.callbacks import read_checkpoint, save_checkpoint
from landmark_thesis.data import (
    THESIS_TEST_FINGERPRINT,
    DataError,
    Signatures,
    Split,
    check_data,
    find_copies,
    find_dataset,
    near_duplicates,
    phantom_data,
    preprocess,
    read_image,
    thesis_split,
)
from landmark_thesis.evaluate import (
    LEDGER,
    TORN,
    LeakageError,
    combine,
    evaluate_runs,
    ledger_entries,
    log_opening,
    mean_shape_errors,
    opened_parts,
    openings,
    refuse_seen,
    report,
    write_results,
)
from landmark_thesis.model import file_hash
from landmark_thesis.phantom import phantoms, sample_shapes
from landmark_thesis.pixel_error import bootstrap_interval, mean_radial_error
from landmark_thesis.runs import SMOKE, Run, RunError, Source, changed, train

SMALL = changed(SMOKE, phase1_epochs=0, phase2_epochs=1, image_size=64)


def _warp(picture, degrees=0.0, scale=1.0):
    height, width = picture.shape
    return cv2.warpAffine(picture, cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale), (width, height))


def _grey(picture, gain=1.0, shift=0.0, gamma=1.0):
    return np.clip(255 * (np.clip(gain * picture / 255 + shift, 0, 1) ** gamma), 0, 255).astype(np.uint8)


def _jpeg(picture, quality):
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


def _cut(picture, pixels=25):
    border = pixels * len(picture) // 299
    return np.ascontiguousarray(picture[border:-border, border:-border])


ATTACKS = {
    "jpeg 50": lambda p: _jpeg(p, 50),
    "jpeg 90": lambda p: _jpeg(p, 90),
    "to 512": lambda p: cv2.resize(p, (512, 512), interpolation=cv2.INTER_CUBIC),
    "to 180": lambda p: cv2.resize(p, (180, 180), interpolation=cv2.INTER_AREA),
    "cropped 25": _cut,
    "cropped 25 on one side": lambda p: np.ascontiguousarray(p[:, 25 * len(p) // 299 :]),
    "turned 5": lambda p: _warp(p, 5),
    "clahe again": lambda p: cv2.createCLAHE(2.0, (4, 4)).apply(p),
    "contrast up": lambda p: _grey(p, 1.4, -0.2),
    "contrast down": lambda p: _grey(p, 0.6, 0.2),
    "brighter": lambda p: _grey(p, 1.2, 0.05),
    "gamma 0.7": lambda p: _grey(p, gamma=0.7),
    "mirrored": lambda p: np.ascontiguousarray(p[:, ::-1]),
    "mirrored, cropped": lambda p: _cut(np.ascontiguousarray(p[:, ::-1]), 15),
    "turned, jpeg 60": lambda p: _jpeg(_warp(p, -4), 60),
}


def _recall(pictures, attack, known):
    changed = np.stack([preprocess(attack(picture)) for picture in pictures])
    names = [f"copy-{k}" for k in range(len(pictures))]
    found = {(name, like) for name, like, _ in find_copies(changed, names, known)}
    return sum((f"copy-{k}", str(k)) in found for k in range(len(pictures))) / len(pictures)


def test_each_attack_on_phantoms_is_caught_and_no_stranger_is_accused():
    pictures = phantoms(12, seed=3, size=299)[0]
    known = Signatures.of(np.stack([preprocess(p) for p in pictures]))
    assert {name: _recall(pictures, attack, known) for name, attack in ATTACKS.items()} == dict.fromkeys(ATTACKS, 1.0)
    strangers = np.stack([preprocess(p) for p in phantoms(40, seed=4, size=299)[0]])
    assert find_copies(strangers, [f"s{k}" for k in range(40)], known) == []


def _spoiled(run, change):
    lines = (run / LEDGER).read_text().splitlines(keepends=True)
    (run / LEDGER).write_text("".join(change(lines)))


@pytest.mark.parametrize(
    "change, line",
    [
        (lambda lines: [lines[0], lines[1].replace('"f1"', '"f9"'), lines[2]], 3),
        (lambda lines: [lines[0], lines[2]], 2),
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[0], lines[2], lines[1]], 2),
    ],
    ids=["changed", "removed", "beheaded", "swapped"],
)
def test_a_ledger_that_was_touched_is_found(tmp_path, change, line):
    for number in range(3):
        log_opening([tmp_path], {"fingerprint": f"f{number}"})
    _spoiled(tmp_path, change)
    with pytest.raises(ValueError, match=f"line {line}: does not follow"):
        ledger_entries(tmp_path)


def test_two_processes_write_one_unbroken_chain(tmp_path):
    code = f"from landmark_thesis.evaluate import log_opening\nfor k in range(50): log_opening([{str(tmp_path)!r}], {{'fingerprint': 'f', 'k': k}})"
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    entries = ledger_entries(tmp_path)
    assert len(entries) == len({entry["id"] for entry in entries}) == 100


def test_a_ledger_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / LEDGER).mkdir()
    with pytest.raises(RunError, match="cannot be logged"):
        log_opening([tmp_path], {"fingerprint": "f"})


def test_half_a_line_is_set_aside_and_a_missing_end_of_line_is_none(tmp_path):
    log_opening([tmp_path], {"fingerprint": "f"})
    whole = (tmp_path / LEDGER).read_bytes()
    (tmp_path / LEDGER).write_bytes(whole + b'{"id": "abc", "wh')
    assert len(ledger_entries(tmp_path)) == 1
    log_opening([tmp_path], {"fingerprint": "f"})
    assert len(ledger_entries(tmp_path)) == 2 and (tmp_path / TORN).read_bytes() == b'{"id": "abc", "wh\n'
    (tmp_path / LEDGER).write_bytes((tmp_path / LEDGER).read_bytes().rstrip())  # as some editors leave it
    assert len(ledger_entries(tmp_path)) == 2
    log_opening([tmp_path], {"fingerprint": "f"})
    assert openings([tmp_path], "f") == 3 and len((tmp_path / TORN).read_bytes().splitlines()) == 1


def test_a_full_disk_leaves_the_ledger_as_it_was(tmp_path, monkeypatch):
    log_opening([tmp_path], {"fingerprint": "f"})
    before = (tmp_path / LEDGER).read_bytes()

    class Full(io.FileIO):
        def write(self, text):
            return super().write(text[:20])

    monkeypatch.setattr("builtins.open", lambda path, mode, buffering: Full(path, mode))
    with pytest.raises(RunError, match="cannot be logged .No space left"):
        log_opening([tmp_path], {"fingerprint": "f"})
    monkeypatch.undo()
    assert (tmp_path / LEDGER).read_bytes() == before


def test_merged_ledgers_are_several_chains_and_each_is_still_looked_at(tmp_path):
    one, two, both = (tmp_path / name for name in ("one", "two", "both"))
    for place in (one, two, both):
        place.mkdir()
    log_opening([two], {"fingerprint": "f"})
    log_opening([one, two], {"fingerprint": "f"})  # scored together: one id
    shutil.copy(one / LEDGER, both / LEDGER)  # a copy of the folder, which goes its own way
    for place in (one, two, both):
        log_opening([place], {"fingerprint": "f"})
    first, second, third = ((place / LEDGER).read_bytes().splitlines(keepends=True) for place in (one, two, both))
    for merged, count in ([*first, *second], 4), ([*first, third[1]], 3):
        (both / LEDGER).write_bytes(b"".join(merged))
        assert openings([both], "f") == count
    (both / LEDGER).write_bytes(b"".join([*first, *second[1:]]))
    with pytest.raises(ValueError, match="line 3: does not follow"):
        ledger_entries(both)
    (both / LEDGER).write_bytes(b"".join([*first, *second]).replace(b'"f"', b'"g"', 1))
    with pytest.raises(ValueError, match="line 2: does not follow"):
        ledger_entries(both)


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Run:
    return train(SMALL, Source(phantoms=60), tmp_path_factory.mktemp("guard") / "parent", seed=1, quiet=True)


@pytest.fixture(scope="module")
def drawn(parent):
    return parent.source.load(SMALL.preprocessing)


def test_a_childs_past_is_its_parents(parent, tmp_path):
    recipe = replace(SMALL, weights=str(parent.path / "best.pt"))
    child = train(recipe, Source(phantoms=60), tmp_path / "renamed", seed=2, split_seed=5, quiet=True)
    assert child.provenance["trained_on"].keys() >= set(parent.part("train")) | set(parent.part("val"))
    assert child.unverified == "" and parent.unverified == ""
    for part in ("test", "val"):  # of the child's own split: its parent trained on some of them
        with pytest.raises(LeakageError, match="renamed has seen"):
            evaluate_runs(child, part=part)
    with pytest.raises(LeakageError, match="renamed has seen"):
        evaluate_runs([parent, child], part="val")
    grandchild = train(replace(SMALL, weights=str(child.path / "best.pt")), Source(phantoms=60), tmp_path / "third", seed=3, quiet=True)
    assert grandchild.provenance["trained_on"].keys() >= set(parent.part("train"))
    assert not (child.path / "errors.csv").exists() and not (child.path / LEDGER).exists()


def test_a_mirrored_copy_among_the_pictures_never_stops_the_scoring_of_a_run(tmp_path, monkeypatch):
    drawn = Source(phantoms=40).load(SMALL.preprocessing)
    copies = tuple(f"copy-{k}" for k in range(12))  # whatever the draw, some of them are parted from their originals
    twice = replace(
        drawn, images=torch.cat([drawn.images, drawn.images[:12].flip(2)]), points=torch.cat([drawn.points, drawn.points[:12]]),
        names=drawn.names + copies, categories=drawn.categories + drawn.categories[:12], frames=drawn.frames + drawn.frames[:12],
        pixel_hash={**drawn.pixel_hash, **{name: f"{name:0>64}" for name in copies}},
    )
    monkeypatch.setattr(Source, "load", lambda source, preprocessing: twice)
    run = train(SMALL, Source(phantoms=52), tmp_path / "run", quiet=True, split_seed=1, fold=(2, 3), fold_of="all")
    assert all("near-duplicate of" in why for why in run.split.dropped.values()) and run.split.dropped
    for part in ("val", "oof"):
        assert evaluate_runs(run, part=part, device="cpu")[f"n_{part}"] == len(run.part(part))


def test_the_mean_shape_is_scored_with_an_interval_over_pictures(parent):
    results, data = evaluate_runs(parent, part="val", device="cpu"), Source(phantoms=60).load(parent.recipe.preprocessing).subset(parent.part("val"))
    errors = 224 * np.linalg.norm(data.points.numpy() - parent.mean_shape, axis=-1).mean(1)
    assert results["baselines"]["mean_shape_px"] == pytest.approx(errors.mean())
    assert results["baselines"]["mean_shape_px_ci95"] == pytest.approx(bootstrap_interval(errors))
    low, high = results["baselines"]["mean_shape_px_ci95"]
    assert f"mean shape            {errors.mean():.2f} [{low:.2f}, {high:.2f}]" in report(results)


def test_a_missing_landmark_says_nothing_of_the_mean_shape_and_neither_does_a_picture_without_any():
    target = sample_shapes(5).astype(float)
    shape = target.mean(0)
    whole = mean_shape_errors(shape, target)
    target[1, 3], target[4] = np.nan, np.nan
    errors = mean_shape_errors(shape, target)
    assert len(errors) == 4 and np.array_equal(errors[[0, 2, 3]], whole[[0, 2, 3]])
    assert errors[1] == pytest.approx(224 * np.linalg.norm(np.delete(target[1] - shape, 3, 0), axis=-1).mean())
    assert errors.mean() == pytest.approx(mean_radial_error(np.broadcast_to(shape, target.shape), target, 224))


def test_signatures_of_fewer_pictures_than_were_seen_are_refused(parent, tmp_path):
    run = Path(shutil.copytree(parent.path, tmp_path / "run"))
    known = parent.signatures
    known.subset([name for name in known.names if name != parent.part("val")[0]]).save(run / "signatures.npz")
    contents = read_checkpoint(run / "best.pt")
    contents["extra"]["signatures_sha256"] = file_hash(run / "signatures.npz")
    save_checkpoint(run / "best.pt", contents)
    with pytest.raises(RunError, match=f"signatures.npz: knows nothing of {parent.part('val')[0]}, which best.pt has seen"):
        evaluate_runs(run, part="test")


def test_whoever_scores_by_hand_can_ask_the_same_guard(parent):
    data = Source(phantoms=60).load(parent.recipe.preprocessing)
    refuse_seen([parent], data.subset(parent.part("val")))  # trained on none of these
    with pytest.raises(LeakageError, match="selected on"):
        refuse_seen([parent], data.subset(parent.part("val")), "all")
    seen = data.subset([*parent.part("val")[:3], parent.part("train")[0]])
    with pytest.raises(LeakageError, match=f"has seen 1 of 4 pictures .{seen.names[3]}."):
        refuse_seen([parent], seen)
    renamed = replace(seen, names=("a", "b", "c", "d"), pixel_hash=dict(zip("abcd", seen.pixel_hash.values(), strict=True)))
    with pytest.raises(LeakageError, match="has seen 1 of 4 pictures .d."):
        refuse_seen([parent], renamed)


def test_weights_without_a_past_make_the_result_unverified(parent, tmp_path):
    from landmark_thesis.model import save_backbone

    save_backbone(parent.model().backbone, "tiny", tmp_path / "trunk.pt")
    child = train(replace(SMALL, weights=str(tmp_path / "trunk.pt")), Source(phantoms=60), tmp_path / "child", seed=2, quiet=True)
    assert evaluate_runs(child)["unverified"] == ["child: begun from trunk.pt, and nobody knows what that was trained on"]


def test_an_edited_folder_is_refused_and_a_missing_file_said(parent, tmp_path):
    shutil.copytree(parent.path, tmp_path / "copy")
    (tmp_path / "copy" / "signatures.npz").unlink()
    assert evaluate_runs(tmp_path / "copy")["unverified"] == ["copy: near-duplicates not checked: signatures.npz is missing"]
    Signatures.of(np.zeros((1, 64, 64), np.uint8), ["x"]).save(tmp_path / "copy" / "signatures.npz")
    with pytest.raises(RunError, match="is not the file that best.pt was made with"):
        evaluate_runs(tmp_path / "copy")
    split = parent.split
    parts = {**split.parts, "train": split.parts["test"], "test": split.parts["train"]}
    (tmp_path / "copy" / "signatures.npz").unlink()  # the split is looked at with signatures or without
    replace(split, parts=parts).save(tmp_path / "copy" / "split.json")
    with pytest.raises(RunError, match="is not the split that best.pt was trained on"):
        evaluate_runs(tmp_path / "copy", part="test")


def _without(checkpoint, out, *keys):
    """The run folder with a checkpoint as older versions wrote it."""
    shutil.copytree(checkpoint.path, out)
    content = torch.load(out / "best.pt", weights_only=True)
    torch.save({**content, "extra": {key: value for key, value in content["extra"].items() if key not in keys}}, out / "best.pt")
    return Run(out)


def test_a_checkpoint_of_before_signatures_is_guarded_by_names_and_hashes_and_says_so(parent, tmp_path):
    old = _without(parent, tmp_path / "old", "signatures_sha256", "split_fingerprint")
    assert evaluate_runs(old)["unverified"] == ["old: near-duplicates not checked: no signatures recorded"]
    with pytest.raises(LeakageError, match="old has seen 45 of 45"):
        evaluate_runs(old, part="test", split=replace(old.split, parts={"test": old.part("train")}))
    split = old.split
    parts = {**split.parts, "train": split.parts["test"], "test": split.parts["train"]}
    replace(split, parts=parts).save(old.path / "split.json")  # no fingerprint in the checkpoint: the names tell
    with pytest.raises(RunError, match="is not the split that best.pt was trained on"):
        evaluate_runs(old.path, part="test")


def test_a_child_of_a_checkpoint_without_signatures_inherits_its_names(parent, tmp_path):
    old = _without(parent, tmp_path / "old", "signatures_sha256")
    recipe = replace(SMALL, weights=str(old.path / "best.pt"))
    child = train(recipe, Source(phantoms=60, phantom_seed=9), tmp_path / "child", seed=2, quiet=True)
    assert child.unverified == "begun from best.pt, beside which its signatures are missing"
    with pytest.raises(LeakageError, match="child has seen"):
        evaluate_runs(child, part="test", split=parent.split, source=parent.source)


def _as_seed(run, out):
    """A copy of a run that nobody has scored, as another seed of the same fold."""
    shutil.copytree(run.path, out, ignore=shutil.ignore_patterns("errors.csv", LEDGER))
    return Run(out)


def test_folds_over_all_pictures_open_the_test_part(drawn, tmp_path, monkeypatch):
    source = Source(phantoms=60)
    monkeypatch.setattr(Source, "load", lambda *_: drawn)
    folds = [train(SMALL, source, tmp_path / f"{i}", fold=(i, 2), fold_of="all", quiet=True) for i in (1, 2)]
    data = source.load(SMALL.preprocessing)
    opened = thesis_split(data.names, data.categories, pixel_hash=data.pixel_hash).fingerprint_of("test")
    results = evaluate_runs(folds, part="oof")
    assert results["test_fingerprint"] == opened and results["test_ledger"]["opened"] == 1
    assert [entry["fingerprint"] for fold in folds for entry in ledger_entries(fold.path)] == [opened] * 2
    rulers = np.concatenate([mean_shape_errors(fold.mean_shape, data.subset(fold.part("oof")).points.numpy()) for fold in folds])
    assert not np.array_equal(folds[0].mean_shape, folds[1].mean_shape) and results["baselines"]["mean_shape_px"] == pytest.approx(rulers.mean())
    seeds = [_as_seed(fold, tmp_path / f"seed-{number}") for number, fold in enumerate(folds)]
    four = evaluate_runs([*folds, *seeds], part="oof", ensemble="median")
    assert four["n_oof"] == 60 and four["ensemble"] == "median" and four["oof"]["mre_px"] == pytest.approx(results["oof"]["mre_px"])
    assert four["oof"]["conformal"] == results["oof"]["conformal"] and not (seeds[0].path / "errors.csv").exists()
    assert evaluate_runs([folds[0], seeds[0]], part="oof")["n_oof"] == len(folds[0].part("oof"))
    with pytest.raises(DataError, match="needs as many: here 2 for that of 1; 1 for that of 2"):
        evaluate_runs([*folds, seeds[0]], part="oof")
    with pytest.raises(DataError, match="seed-0 cannot be compared on the pictures of several folds"):
        evaluate_runs(folds, part="oof", against=seeds[0])
    few = data.subset([name for name in thesis_split(data.names, data.categories).parts["test"] if name in folds[0].part("oof")])
    assert opened_parts(folds[:1], few, "oof") == {opened: len(few)}  # a folder that holds only these
    inside = train(SMALL, source, tmp_path / "development", fold=(1, 2), quiet=True)
    with pytest.raises(DataError, match="1 and development leave out other folds, yet both phantom-0000.* would count twice"):
        evaluate_runs([folds[0], inside], part="oof")
    assert evaluate_runs(inside, part="oof")["test_ledger"]["opened"] == 0 and ledger_entries(inside.path) == []


def _renamed(data, names, pixel_hash=None, images=None):
    hashes = data.pixel_hash if pixel_hash is None else pixel_hash
    return replace(data, names=tuple(names), pixel_hash=dict(zip(names, hashes.values(), strict=True)), images=data.images if images is None else images)


def _other_hashes(data):
    return {name: f"other {name}" for name in data.names}


@pytest.mark.parametrize(
    "disguise, scored",
    [
        (lambda data: data, 6),
        (lambda data: data.subset(data.names[:2]), 2),
        (lambda data: _renamed(data, "abcdef"), 6),
        (lambda data: _renamed(data, data.names, _other_hashes(data)), 6),
        (lambda data: _renamed(data, "abcdef", _other_hashes(data), images=data.images // 2 + 60), 6),
    ],
    ids=["a folder of them", "two of them", "renamed", "other pixels", "renamed, less contrast"],
)
def test_whoever_scores_pictures_of_the_test_part_opens_it(parent, drawn, disguise, scored):
    assert opened_parts([parent], disguise(drawn.subset(parent.part("test")))) == {parent.split.fingerprint_of("test"): scored}


def test_a_folder_of_test_pictures_leaves_a_line_and_one_of_strangers_none(parent, drawn, tmp_path, monkeypatch):
    shutil.copytree(parent.path, tmp_path / "run")
    opened, data = parent.split.fingerprint_of("test"), drawn.subset(parent.part("test"))
    monkeypatch.setattr(Source, "load", lambda *_: data.subset(data.names[:3]))
    results = evaluate_runs(tmp_path / "run", part="all")
    assert results["test_parts_opened"] == {opened: 3} and results["test_fingerprint"] == opened
    assert f"3 of these pictures are of the test part {opened}" in report(results)
    monkeypatch.setattr(Source, "load", lambda *_: data)
    assert evaluate_runs(tmp_path / "run", part="test")["test_ledger"] == {"opened": 2, "planned": 1, "known_before": 0}
    assert [entry["part"] for entry in ledger_entries(tmp_path / "run")] == ["all", "test"]
    strangers = phantom_data(24, seed=9, start=100, size=64)  # enough for a draw of their own, which nobody made
    monkeypatch.setattr(Source, "load", lambda *_: strangers)
    results = evaluate_runs(tmp_path / "run", part="all")
    assert results["test_parts_opened"] == {} and "opened" not in report(results) and len(ledger_entries(tmp_path / "run")) == 2


def test_the_thesis_test_part_is_known_to_the_package(parent):
    thesis = Split.load(Path(__file__).parent.parent / "figures" / "records" / "dense" / "split.json")
    known, pictures = thesis.parts["test"], phantom_data(4, seed=9, start=100, size=64)
    names = ("a", known[1], thesis.parts["val"][0], thesis.parts["train"][0])
    pictures = _renamed(pictures, names, dict(zip(names, (thesis.pixel_hash[known[0]], "1", "2", "3"), strict=True)))
    assert opened_parts([parent], pictures, "oof") == {THESIS_TEST_FINGERPRINT: 2} and opened_parts([parent], pictures, "val") == {}


def test_a_part_that_is_another_runs_test_part_is_opened_too(parent, drawn, tmp_path):
    shutil.copytree(parent.path, tmp_path / "run")
    other = replace(parent.split, parts={"test": parent.part("val")[:4]})
    other.save(tmp_path / "run" / "split.json")
    assert opened_parts([parent, Run(tmp_path / "run")], drawn.subset(parent.part("val")), "val") == {other.fingerprint_of("test"): 4}


def test_a_damaged_ledger_spends_no_opening_and_stops_no_validation(parent, drawn, tmp_path, monkeypatch):
    shutil.copytree(parent.path, tmp_path / "run")
    monkeypatch.setattr(Source, "load", lambda *_: drawn)
    (tmp_path / "run" / LEDGER).write_text("{broken\n")
    with pytest.raises(ValueError, match="line 1: not an entry"):
        evaluate_runs(tmp_path / "run", part="test")
    assert (tmp_path / "run" / LEDGER).read_text() == "{broken\n"
    assert evaluate_runs(tmp_path / "run", part="val")["test_ledger"]["opened"] is None


def test_missing_landmarks_leave_finite_numbers(parent, drawn, tmp_path, monkeypatch):
    shutil.copytree(parent.path, tmp_path / "run")
    points = drawn.points.clone()
    scored = {name: drawn.names.index(name) for name in parent.part("val")}
    first, *others = scored.values()
    unlabelled = [place for place in others if drawn.categories[place] != drawn.categories[first]][:1]
    unlabelled += [place for place in others if drawn.categories[place] == drawn.categories[unlabelled[0]]]
    points[first, 3], points[unlabelled] = torch.nan, torch.nan  # one landmark of one picture, all of a class
    monkeypatch.setattr(Source, "load", lambda *_: replace(drawn, points=points))
    settings = json.loads((tmp_path / "run" / "recipe.json").read_text())
    (tmp_path / "run" / "recipe.json").write_text(json.dumps({name: value for name, value in settings.items() if name != "labels_sha256"}))  # as if trained on these labels
    found = evaluate_runs(tmp_path / "run")["val"]["mre_px"]
    assert Run(tmp_path / "run").validation_error() == pytest.approx(found, abs=1e-3)
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    both = evaluate_runs([tmp_path / "run", tmp_path / "again"])
    write_results(both, tmp_path / "results.json")
    assert f"{drawn.categories[unlabelled[0]]} -" in report(both)
    assert both["val"]["mre_px"] == pytest.approx(found) and both["models"][0]["val_mre_px"] == pytest.approx(found, abs=1e-3)


def test_weights_by_validation_errors_are_not_scored_on_them(parent, tmp_path):
    evaluate_runs(parent)
    shutil.copytree(parent.path, tmp_path / "again")
    with pytest.raises(DataError, match="takes its weights from the validation errors, so it cannot be scored on part 'val'"):
        evaluate_runs([parent.path, tmp_path / "again"], ensemble="weighted")
    shutil.copytree(parent.path, tmp_path / "first")
    both, alone = (evaluate_runs(runs, part="test", ensemble="weighted") for runs in ([tmp_path / "first", tmp_path / "again"], tmp_path / "first"))
    assert both["test"]["mre_px"] == pytest.approx(alone["test"]["mre_px"]) and both["models"][0]["val_mre_px"] == parent.validation_error()


def test_a_run_that_has_not_ended_opens_nothing_keeps_no_errors_and_says_so(parent, tmp_path):
    shutil.copytree(parent.path, tmp_path / "begun")
    told = json.loads((tmp_path / "begun" / "environment.json").read_text())
    (tmp_path / "begun" / "environment.json").write_text(json.dumps({name: value for name, value in told.items() if name != "seconds"}))
    for file in ("errors.csv", LEDGER):
        (tmp_path / "begun" / file).unlink(missing_ok=True)
    with pytest.raises(DataError, match="begun: the training has not ended, and an opening of the test part is not spent on it"):
        evaluate_runs([parent.path, tmp_path / "begun"], part="test")
    found = evaluate_runs(tmp_path / "begun", part="val")
    assert found["unverified"] == ["begun: its training has not ended"] and "UNVERIFIED: begun: its training has not ended" in report(found)
    assert not (tmp_path / "begun" / "errors.csv").exists() and ledger_entries(tmp_path / "begun") == []


@pytest.mark.parametrize("weights", [[1.0, np.nan], [1.0, np.inf], [1.0, 0.0], [1.0]])
def test_weights_that_are_none_are_refused_by_name(weights):
    with pytest.raises(DataError, match="positive, finite weights, got"):
        combine(np.zeros((2, 1, 15, 2), np.float32), "weighted", weights)


def test_two_or_more_pictures_are_needed(parent, drawn, monkeypatch):
    monkeypatch.setattr(Source, "load", lambda *_: drawn.subset(parent.part("test")[:1]))
    with pytest.raises(DataError, match="holds 1 picture, 1 of them with a label; an interval needs two or more"):
        evaluate_runs(parent, part="all")
    assert ledger_entries(parent.path) == []


def test_a_run_begun_before_a_setting_existed_goes_on(parent, tmp_path):
    shutil.copytree(parent.path, tmp_path / "old")
    settings = json.loads((tmp_path / "old" / "recipe.json").read_text())
    for phase in settings["recipe"]["phases"]:
        del phase["cache_views"]
    (tmp_path / "old" / "recipe.json").write_text(json.dumps(settings))
    assert train(SMALL, Source(phantoms=60), tmp_path / "old", seed=1, resume=True, quiet=True).finished
    with pytest.raises(RunError, match="batch_size: 16 then, 8 now"):
        train(replace(SMALL, batch_size=8), Source(phantoms=60), tmp_path / "old", seed=1, resume=True, quiet=True)


def test_altered_real_pictures_are_caught(real_data):
    files = find_dataset(real_data)
    names = sorted(files.images)[::24][:40]
    pictures = [read_image(files.images[name]) for name in names]
    known = Signatures.of(np.stack([preprocess(p) for p in pictures]))
    assert {name: _recall(pictures, attack, known) for name, attack in ATTACKS.items()} == dict.fromkeys(ATTACKS, 1.0)


@pytest.mark.slow
def test_no_real_picture_is_accused_but_the_known_pairs(real_data):
    """Each of the 957 against the others: two halves suffice, taken by each bit of its number, for then any two are parted once."""
    report = check_data(real_data)
    data, names = report.data, np.array(report.data.names)
    pairs = set()
    for bit in range(10):
        half = (np.arange(len(names)) >> bit) % 2 == 1
        known = report.signatures.subset(names[~half])
        pairs |= {frozenset(pair[:2]) for pair in find_copies(data.images[torch.from_numpy(half)], names[half], known)}
    assert pairs == {frozenset(("COVID-192", "COVID-334")), frozenset(("COVID-57", "COVID-1054"))}


@pytest.fixture(scope="module")
def folder_with_a_cut_copy(tmp_path_factory):
    """Twelve phantoms as files, and one of them once more, cut: near at 224 pixels, but no longer at 64."""
    pictures, points, categories = phantoms(12, seed=5, size=224)
    folder = tmp_path_factory.mktemp("pictures")
    rows = ["image,class," + ",".join(f"x{k},y{k}" for k in range(1, 16))]
    shown = [*zip(pictures, points, categories, strict=True), (pictures[1][18:-18, 18:-18], (points[1] * 224 - 18) / 188, categories[1])]
    for k, (picture, xy, category) in enumerate(shown):
        cv2.imwrite(str(folder / f"p-{k}.png"), picture)
        rows.append(f"p-{k},{category}," + ",".join(f"{value:.2f}" for value in (np.clip(xy, 0, 1) * len(picture) - 0.5).ravel()))
    (folder / "points.csv").write_text("\n".join(rows))
    return folder


def test_copies_are_found_whatever_the_network_sees(folder_with_a_cut_copy):
    settings = replace(SMALL.preprocessing, size=64)
    source = Source.of(folder_with_a_cut_copy, 0)
    data, duplicates, signatures = source.check(settings)
    assert data.images.shape[1:] == (64, 64) and [pair[:2] for pair in duplicates] == [("p-1", "p-12")] and near_duplicates(data.images, data.names) == []
    small, large = (source.check(replace(settings, size=size))[1:] for size in (48, 224))
    assert small[0] == large[0] == duplicates and (small[1].digests == large[1].digests).all()
    known = signatures.subset(["p-1"])
    compared = source.compared(data, settings)
    assert [pair[:2] for pair in find_copies(compared.subset(["p-12", "p-3"]).images, ["p-12", "p-3"], known)] == [("p-12", "p-1")]


def test_the_guard_looks_at_the_pictures_at_224_whatever_the_run_sees(folder_with_a_cut_copy, tmp_path):
    source = Source.of(folder_with_a_cut_copy, 0)
    data = source.load(SMALL.preprocessing)
    others = [name for name in data.names if name not in ("p-1", "p-12")]
    torn = Split({"train": ("p-1", *others[:5]), "val": tuple(others[5:8]), "test": ("p-12", *others[8:])}, data.pixel_hash)
    run = train(SMALL, source, tmp_path / "run", split=torn, quiet=True)
    with pytest.raises(LeakageError, match=r"a near-duplicate of p-12 \(p-1\)"):
        evaluate_runs(run, part="test", device="cpu")


def test_a_split_that_was_given_without_pixels_gets_those_of_its_pictures(drawn, tmp_path):
    bare = thesis_split(drawn.names, drawn.categories)
    assert bare.pixel_hash == {}
    run = train(SMALL, Source(phantoms=len(drawn), phantom_seed=0), tmp_path / "run", split=bare, quiet=True)
    assert set(run.provenance["trained_on"].values()) <= set(drawn.pixel_hash.values()) and run.split.fingerprint != bare.fingerprint
    assert Run(run.path).split.pixel_hash.keys() == {name for names in bare.parts.values() for name in names}


@pytest.mark.parametrize(("parts", "lacking"), [({"train": (), "val": ("a",)}, "train"), ({"train": ("a",), "val": ()}, "val")])
def test_a_split_with_an_empty_part_is_refused_before_a_file_is_written(drawn, tmp_path, parts, lacking):
    names = {part: tuple(drawn.names[k] for k, _ in enumerate(given)) for part, given in parts.items()}
    selecting = replace(SMALL, phases=tuple(replace(phase, select="best") for phase in SMALL.phases))
    with pytest.raises(DataError, match=f"no pictures in its part {lacking}; to train by recipe"):
        train(selecting, Source(phantoms=len(drawn), phantom_seed=0), tmp_path / "run", split=Split(names), quiet=True)
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def test_test_pictures_in_disguise_are_known_whatever_the_network_sees(folder_with_a_cut_copy, tmp_path):
    source = Source.of(folder_with_a_cut_copy, 0)
    data = source.load(SMALL.preprocessing)
    others = [name for name in data.names if name not in ("p-1", "p-12")]
    run = train(SMALL, source, tmp_path / "run", split=Split({"train": tuple(others[:5]), "val": tuple(others[5:8]), "test": ("p-1", *others[8:])}), quiet=True)
    head, *lines = (folder_with_a_cut_copy / "points.csv").read_text().splitlines()
    strangers = tmp_path / "strangers"
    strangers.mkdir()
    cv2.imwrite(str(strangers / "q-0.png"), cv2.imread(str(folder_with_a_cut_copy / "p-12.png"), 0))
    cv2.imwrite(str(strangers / "q-1.png"), phantoms(1, seed=77, size=224)[0][0])
    (strangers / "points.csv").write_text("\n".join([head, lines[12].replace("p-12,", "q-0,"), lines[3].replace("p-3,", "q-1,")]))
    results = evaluate_runs(run, part="all", source=Source.of(strangers, 0), device="cpu")
    assert results["test_parts_opened"] == {run.split.fingerprint_of("test"): 1}


def test_points_without_an_axis_are_refused_whatever_they_are_read_as():
    class Collapsed(torch.nn.Module):
        def forward(self, views):
            return torch.full((len(views), 30), 0.5)

    from landmark_thesis.evaluate import predict_points

    images = torch.zeros(2, 32, 32, dtype=torch.uint8)
    assert (predict_points(Collapsed(), images) == 0.5).all()
    with pytest.raises(DataError, match="L1 and L2 of a picture into one place"):
        predict_points(Collapsed(), images, project=True)
