"""Tests of nbs/13_leakage.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


# cell 01910401
from landmark_thesis.data import thesis_split
from landmark_thesis.evaluate import LeakageError, Provenance, refuse_leakage

THESIS_CLASSES = ["COVID"] * 306 + ["Normal"] * 468 + ["Viral Pneumonia"] * 183
THESIS_SEEDS = (123, 321, 111, 666)


def lies(categories, seed):
    """How many of split 42's 96 test pictures lie in each part of another split; and which were trained on."""
    names = [str(i) for i in range(len(categories))]
    scored = set(thesis_split(names, categories, 42).parts["test"])
    parts = thesis_split(names, categories, seed).parts
    return [len(scored & set(parts[part])) for part in ("train", "val", "test")], scored & set(parts["train"])


def test_the_counts_of_the_thesis_follow_from_its_seeds():
    assert [lies(THESIS_CLASSES, seed)[0] for seed in THESIS_SEEDS] == [[68, 16, 12], [71, 11, 14], [77, 15, 4], [72, 11, 13]]
    assert lies(THESIS_CLASSES, 42)[0] == [0, 0, 96]
    trained = [lies(THESIS_CLASSES, seed)[1] for seed in THESIS_SEEDS]
    assert len(set.union(*trained)) == 96 and len(set.intersection(*trained)) == 34
    assert sum(map(len, trained)) == 288  # three of four members for the average picture


def test_the_order_of_the_table_does_not_matter_but_that_of_the_class_names_does():
    assert lies(THESIS_CLASSES[::-1], 123)[0] == lies(THESIS_CLASSES[::2] + THESIS_CLASSES[1::2], 123)[0] == [68, 16, 12]
    assert lies([name.replace("COVID", "SARS-CoV-2") for name in THESIS_CLASSES], 123)[0] != [68, 16, 12]


# cell 2d3abac6
import numpy as np
import pytest

from landmark_thesis.data import Split


def test_the_guard_refuses_the_thesis_ensemble_and_names_each_member():
    names = [f"p{i}" for i in range(957)]
    evaluation = thesis_split(names, THESIS_CLASSES, 42)
    hashes = dict.fromkeys(names, "")
    scored = {name: "" for name in evaluation.parts["test"]}

    def provenance(split):
        return Provenance({name: hashes[name] for name in split.parts["train"]}, {name: hashes[name] for name in split.parts["val"]})

    leaky = {f"seed-{seed}": provenance(thesis_split(names, THESIS_CLASSES, seed)) for seed in THESIS_SEEDS}
    with pytest.raises(LeakageError) as refusal:
        refuse_leakage(scored, leaky, "test")
    for member, seen in zip(leaky, (68 + 16, 71 + 11, 77 + 15, 72 + 11), strict=True):
        assert f"{member} has seen {seen} of 96" in str(refusal.value)
    refuse_leakage(scored, {f"seed-{seed}": provenance(evaluation) for seed in THESIS_SEEDS}, "test")  # four clean members pass


def test_a_leaky_run_is_refused_and_the_override_is_stamped(tmp_path):
    from dataclasses import replace

    from landmark_thesis.data import PreprocessSettings, phantom_data
    from landmark_thesis.evaluate import evaluate_runs, report
    from landmark_thesis.runs import SMOKE, Source, changed, train

    recipe = changed(replace(SMOKE, preprocessing=PreprocessSettings(size=48)), phase1_epochs=0, phase2_epochs=1)
    source, data = Source(phantoms=24), phantom_data(24, size=48)
    parts = {seed: np.random.default_rng(seed).permutation(data.names).tolist() for seed in (42, 123)}
    splits = {seed: Split({"train": tuple(n[:16]), "val": tuple(n[16:18]), "test": tuple(n[18:])}, dict(data.pixel_hash), seed) for seed, n in parts.items()}
    clean, leaky = (train(recipe, source, tmp_path / str(seed), seed=0, split=splits[seed], split_seed=seed, quiet=True) for seed in (42, 123))
    overlap = len(set(splits[42].parts["test"]) & set(splits[123].parts["train"]))
    assert 0 < overlap < 6
    with pytest.raises(LeakageError, match="123 has seen") as refusal:
        evaluate_runs([clean, leaky], part="test", split=splits[42])
    assert "42 has seen" not in str(refusal.value)
    stamped = evaluate_runs([clean, leaky], part="test", split=splits[42], allow_contaminated=True)
    assert stamped["contaminated"] and "CONTAMINATED" in report(stamped)
    assert evaluate_runs(clean, part="test", split=splits[42])["contaminated"] is False
