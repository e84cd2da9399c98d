"""Phantoms in the search for a recipe: what begins with them, or trains on them too, is scored like every other run."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch

from landmark_thesis import runs
from landmark_thesis.data import DataError
from landmark_thesis.evaluate import LeakageError, evaluate_runs
from landmark_thesis.phantom import phantoms
from landmark_thesis.trainer import Phase

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "figures"))
import research
import sources

TINY = replace(
    runs.changed(runs.DENSE, backbone="tiny", image_size=32, precision="fp32"),
    phases=(Phase("phase1", 0, {"head": 3e-3}, trainable="head"), Phase("phase2", 2, {"backbone": 1e-3, "head": 3e-3}, average=0.9, select="last")),
)

VARIANTS = ("dense", *sources.START_OF, *sources.PREPARE)


def write_pictures(place, seed, size, name="{}-{}"):
    """Sixty phantoms as files, named like two classes of real pictures."""
    place.mkdir()
    images, points, _ = phantoms(60, seed=seed, size=size)
    with open(place / "labels.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "file_width", "file_height", *(f"{axis}{k}" for k in range(1, 16) for axis in "xy")])
        for k, (image, shape) in enumerate(zip(images, points, strict=True)):
            title = name.format(("COVID", "Normal")[k % 2], k)
            cv2.imwrite(str(place / f"{title}.png"), image)
            table.writerow([title, size, size, *(f"{value:.3f}" for value in (shape * size - 0.5).flatten())])
    return place


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Variant -> (run, results on the validation part, state of its backbone before training) of a search with a tiny model; and its folders."""
    out, seen, begun = tmp_path_factory.mktemp("search"), {}, []
    data = write_pictures(out / "data", seed=5, size=120)
    fit = runs._fit

    def spied(model, *arguments):
        begun.append({name: value.clone() for name, value in model.backbone.state_dict().items()})
        return fit(model, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_fit", spied)
        patch.setattr(research, "note", lambda run, variant, results, likeliest: seen.setdefault(variant, (run, results, begun[-1])))
        patch.setattr(sources.Start, "recipe", lambda self, name: replace(TINY, name=name))
        patch.setattr(sources, "STARTS", {name: sources.Start(40, 2) for name in sources.STARTS})
        patch.setattr(sources, "MIXED_PHANTOMS", 25)
        for variant in VARIANTS:
            recipe = replace(TINY, head_options=research.VARIANTS[variant][0].head_options)
            patch.setitem(research.VARIANTS, variant, (recipe, ""))
            research.run(variant, data, out, [0])
        trained = len(begun)
        research.run("phantom-weights", data, out, [0])
        assert len(begun) == trained == len(VARIANTS) + len(sources.STARTS)  # once what several begin with; finished ones are not trained again
    return seen, data, out


def weights_of(run):
    return {name.removeprefix("backbone."): value for name, value in run.checkpoint["model_state_dict"].items() if name.startswith("backbone.")}


def statistics(state):
    """Running means and variances, and how many batches they have seen."""
    found = {name: value for name, value in state.items() if name.rsplit(".", 1)[-1] in ("running_mean", "running_var", "num_batches_tracked")}
    assert len(found) > 5
    return found


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_mixed_training_part_is_the_real_one_and_the_phantoms_and_no_other_part_changes(searched):
    seen, _, _ = searched
    plain, (mixed, results, _) = seen["dense"][0], seen["phantoms-mixed"]
    drawn = tuple(f"phantom-{k:06d}" for k in range(25))
    assert mixed.part("train") == (*plain.part("train"), *drawn) and len(plain.part("train")) == 45
    assert {name: mixed.part(name) for name in ("val", "test")} == {name: plain.part(name) for name in ("val", "test")}
    assert mixed.split.fingerprint != plain.split.fingerprint
    assert mixed.split.fingerprint_of("val", "test") == plain.split.fingerprint_of("val", "test")  # names and pixels
    assert mixed.split.pixel_hash == {**plain.split.pixel_hash, **runs.phantom_data(25, size=32).pixel_hash}
    assert "70 pictures to train on, 9 to validate on" in (mixed.path / "train.log").read_text()
    assert results["n_val"] == seen["dense"][1]["n_val"] == 9 and not results["contaminated"] and not results["unverified"]


def test_a_mixed_run_keeps_the_folder_as_its_source_and_answers_for_its_phantoms(searched):
    seen, data, _ = searched
    run = seen["phantoms-mixed"][0]
    assert type(run.source) is runs.Source and run.source == runs.Source(str(data), phantoms=25)
    assert not any(name.startswith("phantom") for name in run.source.load(TINY.preprocessing).names)
    assert set(run.provenance["trained_on"]) == set(run.part("train")) and not run.provenance["selected_on"]
    assert set(run.part("train")) <= set(run.signatures.names)
    with pytest.raises(LeakageError, match="phantom-0000"):
        evaluate_runs(run, part="all", source=runs.Source(phantoms=20))


def test_a_phantom_that_shows_a_validation_or_test_picture_leaves_the_training_part(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MIXED_PHANTOMS", 60)
    data = write_pictures(tmp_path / "data", seed=0, size=224)  # the very pictures that are mixed in
    _, _, split = sources.prepare("phantoms-mixed", runs.DENSE, data, tmp_path)
    held = {int(name.split("-")[1]) for part in ("val", "test") for name in split.parts[part]}
    assert len(held) == 15
    left = {f"phantom-{k:06d}" for k in held}
    assert set(split.dropped) == left
    assert {name for name in split.parts["train"] if name.startswith("phantom")} == {f"phantom-{k:06d}" for k in range(60)} - left


def test_a_picture_with_the_name_of_a_phantom_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MIXED_PHANTOMS", 5)
    data = write_pictures(tmp_path / "data", seed=5, size=64, name="phantom-{1:06d}")
    with pytest.raises(DataError, match=r"phantom-000000 is the name of a phantom, too \(5 such names\)"):
        sources.prepare("phantoms-mixed", TINY, data, tmp_path)


@pytest.mark.parametrize("variant", sources.START_OF)
def test_it_begins_with_the_backbone_of_the_run_on_phantoms_and_inherits_what_that_has_seen(searched, variant):
    seen, _, out = searched
    run, results, before = seen[variant]
    begin = runs.Run(out / sources.START_OF[variant])
    assert begin.source == runs.Source(phantoms=40) and begin.seed == 1000 and len(begin.part("train")) == 30
    assert same(before, weights_of(begin))
    assert not torch.equal(before["network.features.0.0.weight"], weights_of(run)["network.features.0.0.weight"])  # and goes on learning
    phantoms_seen = set(begin.part("train"))
    assert set(run.provenance["trained_on"]) == phantoms_seen | set(run.part("train")) and phantoms_seen.isdisjoint(run.part("train"))
    assert run.split == seen["dense"][0].split
    assert results["n_val"] == 9 and not results["contaminated"] and not results["unverified"]
    with pytest.raises(LeakageError, match="phantom-0000"):
        evaluate_runs(run, part="all", source=runs.Source(phantoms=40))


def test_batch_norm_in_eval_keeps_its_statistics_and_the_checkpoint_says_so(searched):
    seen, _, _ = searched
    (moving, _, before), (still, _, begun) = seen["phantom-weights"], seen["phantom-weights-bn-eval"]
    assert same(statistics(begun), statistics(weights_of(still)))
    assert not same(statistics(before), statistics(weights_of(moving)))
    assert [run.checkpoint["extra"]["model"]["stays_eval"] for run in (still, moving)] == [True, False]
    assert [run.model().backbone.stays_eval for run in (still, moving)] == [True, False]
    assert not still.model().train().backbone.network.training
    assert still.recipe.head_options == {"backbone_eval": True} and moving.recipe.head_options == {}


def test_the_rows_of_the_search_change_one_thing_each():
    assert research.VARIANTS["phantom-weights"][0] == research.VARIANTS["phantom-weights-more"][0] == research.VARIANTS["phantoms-mixed"][0] == runs.DENSE
    assert research.VARIANTS["phantom-weights-bn-eval"][0] == replace(runs.DENSE, head_options={"backbone_eval": True})
    for name, start in sources.STARTS.items():
        assert start.recipe(name).phases[1] == replace(runs.DENSE.phases[1], epochs=start.epochs)
        assert replace(start.recipe(name), name="dense", phases=runs.DENSE.phases) == runs.DENSE


def test_more_phantoms_are_what_the_search_says_they_are():
    first, more = (sources.STARTS[sources.START_OF[name]] for name in ("phantom-weights", "phantom-weights-more"))
    assert (more.phantoms, more.phantoms * more.epochs) == (2 * first.phantoms, 4 * first.phantoms * first.epochs)


def test_what_others_begin_with_is_no_variant_and_each_is_begun_with():
    assert set(sources.START_OF.values()) == sources.STARTS.keys() and sources.STARTS.keys().isdisjoint(research.VARIANTS)
    assert sources.START_OF.keys() <= research.VARIANTS.keys()
