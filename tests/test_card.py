"""What figures/card.py tells of a training on a card, computed where there is none."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from landmark_thesis.bench import FULL, step_flops
from landmark_thesis.runs import DENSE, SMOKE, Source, changed, train

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "figures"))
import card


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(changed(SMOKE, image_size=32), Source(phantoms=60), tmp_path_factory.mktemp("card") / "smoke-0", quiet=True)


def test_the_cost_counts_the_steps_that_were_made(run):
    told, steps = card.cost(run, 1e12), 3 * math.ceil(len(run.part("train")) / 16)
    stored = json.loads((run.path / "environment.json").read_text())
    assert (told["run"], told["recipe"], told["epochs"], told["steps"]) == ("smoke-0", "smoke", 3, steps)
    assert told["seconds"] == stored["seconds"] and told["ms_per_step"] == pytest.approx(1000 * stored["seconds"] / steps)
    assert told["share_of_stated_bf16_peak"] is None  # its steps are of two kinds, and of another network


def test_the_share_of_the_peak_is_that_of_dense_steps_over_the_whole_time(run):
    whole = replace(DENSE, phases=run.recipe.phases)
    object.__setattr__(run, "recipe", whole)
    told = card.cost(run, 2e15)
    assert told["share_of_stated_bf16_peak"] == pytest.approx(told["steps"] * step_flops(FULL) / told["seconds"] / 2e15)
    assert card.cost(run, None)["share_of_stated_bf16_peak"] is None  # a card whose peak nobody states


def test_repeats_lie_apart_by_mean_and_largest_distance_over_all_pairs():
    one = np.zeros((2, 15, 2))
    other, third = one.copy(), one.copy()
    other[0, 3] = (3 / 224, 4 / 224)
    third[1, 0, 1] = 1 / 224
    assert card.apart([one, one]) == {"mean_px": 0.0, "most_px": 0.0}
    found = card.apart([one, other, third])
    assert found["most_px"] == pytest.approx(5.0) and found["mean_px"] == pytest.approx((5 + 1 + 5 + 1) / (3 * 2 * 15))


def test_each_name_is_trained_once_and_the_repeats_are_of_one_seed():
    assert card.NAMES == ("dense-0", "thesis-0", "dense-0-again", "dense-0-once-more") and set(card.REPEATS) <= set(card.NAMES)
