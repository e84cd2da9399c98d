"""The recorded leakage experiment: its numbers follow from its stored errors, and its clean arm is clean."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from landmark_thesis.landmarks import LANDMARK_NAMES

RECORD = Path(__file__).resolve().parent.parent / "figures" / "records" / "leakage"
CONTENT = json.loads((RECORD / "leakage.json").read_text(encoding="utf-8"))
with open(RECORD / "errors.csv", encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file))


def rows(arm, model):
    return [row for row in ROWS if (row["arm"], row["model"]) == (arm, model)]


def errors(arm, model):
    return np.array([[float(row[name]) for name in LANDMARK_NAMES] for row in rows(arm, model)])


@pytest.mark.parametrize("arm", ["leaky", "clean"])
def test_every_mean_follows_from_the_stored_errors(arm):
    stated = {f"first {step['members']}": step["mre_px"] for step in CONTENT["ensembles"] if step["arm"] == arm}
    stated |= {f"seed {member['seed']}": member["mre_px"] for member in CONTENT["members"] if member["arm"] == arm}
    assert len(stated) == 2 * len(CONTENT["seeds"]) == 8
    for model, mean in stated.items():
        assert errors(arm, model).shape == (CONTENT["n"], 15)
        assert errors(arm, model).mean() == pytest.approx(mean, abs=2e-3)


def test_all_models_are_scored_on_the_same_pictures():
    pictures = {tuple(row["image"] for row in rows(arm, model)) for arm in ("leaky", "clean") for model in ("first 1", "first 4", "seed 666")}
    assert len(pictures) == 1 and len(set(*pictures)) == CONTENT["n"] == 96


def test_only_the_leaky_arm_has_seen_what_it_is_scored_on():
    seen = {arm: np.bincount([int(row["seen_by"]) for row in rows(arm, "first 4")], minlength=5).tolist() for arm in ("leaky", "clean")}
    assert seen == {arm: CONTENT["arms"][arm]["pictures_seen_by"] for arm in seen}
    assert seen["clean"] == [96, 0, 0, 0, 0] and seen["leaky"][0] < 5
    for member in CONTENT["members"]:
        assert member["trained_on_scored"] == sum(int(row["seen_by"]) for row in rows(member["arm"], f"seed {member['seed']}"))
        assert member["split_seed"] == (42 if member["arm"] == "clean" else member["seed"])
    assert CONTENT["arms"]["leaky"]["contaminated"] and not CONTENT["arms"]["clean"]["contaminated"]
    assert "has seen" in CONTENT["arms"]["leaky"]["refused"] and CONTENT["arms"]["clean"]["refused"] == ""


def test_the_gap_is_the_paired_difference_of_the_arms():
    for size, stated in enumerate(CONTENT["clean_minus_leaky"], 1):
        difference = errors("clean", f"first {size}") - errors("leaky", f"first {size}")
        low, high = stated["difference_px_ci95"]
        assert difference.mean() == pytest.approx(stated["difference_px"], abs=2e-3) and low < stated["difference_px"] < high
    assert low > 0  # the leaky four are flattered, beyond the luck of the pictures
