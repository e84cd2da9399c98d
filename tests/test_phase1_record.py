"""What phase 1 is worth: both arms get the same epochs, and the record follows from its errors."""

import csv
import json
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parents[1] / "figures"
sys.path.insert(0, str(HERE))
import phase1  # noqa: E402


def test_the_arms_differ_in_phase_1_alone():
    for start, head in product(phase1.STARTS.values(), phase1.HEADS):
        first, once = (phase1.recipe(start, head, arm) for arm in phase1.ARMS)
        assert [sum(phase.epochs for phase in recipe.phases) for recipe in (first, once)] == [phase1.ALL] * 2
        assert [recipe.phases[0].epochs for recipe in (first, once)] == [phase1.FIRST, 0]
        differ = {name for name, value in vars(first).items() if value != getattr(once, name)}
        assert differ == {"name", "phases"}


def test_the_record_follows_from_its_errors():
    path = phase1.RECORD / "phase1.json"
    if not path.exists():
        pytest.skip("no record: python figures/phase1.py")
    content = json.loads(path.read_text(encoding="utf-8"))
    with open(path.parent / "errors.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == content["n_val"] == 144
    for result in content["results"]:
        arms = {
            arm: np.array([[float(row[f"{result['start']}-{result['head']}-{arm}-{seed}"]) for row in rows] for seed in range(result["seeds"])])
            for arm in phase1.ARMS
        }
        for arm, errors in arms.items():
            assert errors.mean() == pytest.approx(result[f"{arm}_px"], abs=1e-3)
        assert result["gain"]["difference_px"] == pytest.approx(result["once_px"] - result["first_px"], abs=1e-6)
        assert result["gain_by_seed_px"] == pytest.approx((arms["once"] - arms["first"]).mean(1), abs=1e-3)
