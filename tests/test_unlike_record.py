"""Unlike models compared: what they share is found, and what the chapter says of the record holds."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parents[1] / "figures"
sys.path.insert(0, str(HERE))
import experiments  # noqa: E402
import unlike  # noqa: E402

from landmark_thesis.data import read_rows  # noqa: E402
from landmark_thesis.landmarks import project_to_shape  # noqa: E402
from landmark_thesis.phantom import sample_shapes  # noqa: E402

RECORD = HERE / "records" / "unlike"


@pytest.fixture(scope="module")
def answers():
    """Three models that are off by half of one shared error and half of their own, all of them shapes."""
    rng = np.random.default_rng(0)
    target = project_to_shape(sample_shapes(300, seed=0).astype(float))
    shared = rng.normal(0, 0.01, target.shape)
    return {name: project_to_shape(target + shared + rng.normal(0, 0.01, target.shape)) for name in "abc"}, target


def test_models_that_share_half_their_errors_gain_together_what_halving_the_other_half_makes(answers):
    found = unlike.compared(*answers, unlike.columns_of(*answers))
    assert [pair["runs"] for pair in found["pairs"]] == [["a", "b"], ["a", "c"], ["b", "c"]]
    alone = {run["run"]: run["mre_px"] for run in found["runs"]}
    for pair in found["pairs"]:
        assert pair["correlation"] == pytest.approx(0.5, abs=0.05)
        assert pair["together_px"] == pytest.approx(0.75**0.5 * np.mean([alone[name] for name in pair["runs"]]), rel=0.03)  # variance 1 + 1 falls to 1 + 1/2
        assert pair["gain"]["difference_px"] == pytest.approx(np.mean([alone[name] for name in pair["runs"]]) - pair["together_px"])
    assert found["mre_px"] == pytest.approx((2 / 3) ** 0.5 * np.mean(list(alone.values())), rel=0.03)
    assert found["gain_over_the_best"]["difference_px"] == pytest.approx(min(alone.values()) - found["mre_px"])


def test_a_run_that_saw_the_pictures_or_was_scored_on_others_is_refused(tmp_path, monkeypatch):
    class Scored:
        def __init__(self, name, names, contaminated):
            self.name, self.path, self.names = name, tmp_path / name, names
            self.path.mkdir()
            (self.path / "results.json").write_text(json.dumps({"contaminated": contaminated}))

        def part(self, part):
            return ("x", "y")

    monkeypatch.setattr(unlike, "load_data", lambda *_: None)
    monkeypatch.setattr(experiments, "recorded_answers", lambda run, data: (run.names, np.zeros((2, 15, 2)), np.zeros((2, 15, 2))))
    first = Scored("first", ["y", "x"], False)
    with pytest.raises(SystemExit, match="seen: was scored on pictures that it had seen"):
        unlike.judge(tmp_path, [first, Scored("seen", ["x", "y"], True)])
    with pytest.raises(SystemExit, match="other: was scored on other pictures than .*first"):
        unlike.judge(tmp_path, [first, Scored("other", ["x", "z"], False)])


def test_the_record_says_what_the_chapter_says():
    if not RECORD.exists():
        pytest.skip("no record: python figures/unlike.py")
    content = json.loads((RECORD / "unlike.json").read_text(encoding="utf-8"))
    rows = read_rows(RECORD / "errors.csv")
    assert len(rows) == content["n"] == 144 and content["split_fingerprint"] == "d0c23795be920b05"
    alone = {run["run"]: run["mre_px"] for run in content["runs"]}
    (thesis,) = [pair for pair in content["pairs"] if pair["runs"] == ["dense", "thesis-resnet18-random"]]
    assert thesis["apart_px"] > alone["dense"] and thesis["correlation_L2_along"] > thesis["correlation"] > 0.5
    best = min(pair["together_px"] for pair in content["pairs"])
    assert -0.05 < min(alone.values()) - best < 0.1  # hardly better than the best alone
    for pair in content["pairs"]:
        one, two = pair["runs"]
        ends = np.corrcoef([float(row[f"L2 along {one}"]) for row in rows], [float(row[f"L2 along {two}"]) for row in rows])[0, 1]
        assert pair["correlation_L2_along"] == pytest.approx(ends, abs=1e-3)
        assert pair["together_px"] == pytest.approx(np.mean([float(row[f"{one} + {two}"]) for row in rows]), abs=1e-3)
