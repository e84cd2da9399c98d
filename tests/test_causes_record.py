"""The error taken apart: each measure finds what is put in, and the record is whole."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parents[1] / "figures"
sys.path.insert(0, str(HERE))
import causes  # noqa: E402


def test_a_share_is_that_of_pictures_that_the_line_did_not_see():
    rng = np.random.default_rng(0)
    features, noise = rng.normal(size=(4000, 3)), rng.normal(size=4000)
    assert causes.share_explained(features, 2 * features[:, 1] + noise) == pytest.approx(0.8, abs=0.02)
    assert abs(causes.share_explained(features, noise)) < 0.01
    assert causes.share_explained(rng.normal(size=(60, 30)), noise[:60]) < 0  # thirty chances to be wrong explain nothing


def test_errors_in_the_axis_frame_lead_back_to_the_answers():
    from landmark_thesis.phantom import sample_shapes
    from landmark_thesis.pixel_error import along_across

    labels = sample_shapes(6).astype(float)
    answers = labels + np.random.default_rng(0).normal(0, 0.03, labels.shape)
    assert np.allclose(causes.answers_of(labels, along_across(answers, labels, 224)), answers)


def test_two_runs_that_share_half_their_errors_correlate_by_half():
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=(500, 15, 2)), rng.normal(size=(2, 500, 15, 2))
    (pair,) = causes.alike({"a": shared + own[0], "b": shared + own[1]})
    assert pair["correlation"] == pytest.approx(0.5, abs=0.02) and pair["correlation_L2_along"] == pytest.approx(0.5, abs=0.1)
    assert pair["apart_px"] == pytest.approx(np.pi**0.5, rel=0.02)  # the mean length of a plane Gaussian of variance 2 an axis


def test_the_record_says_what_the_chapter_says():
    path = HERE / "records" / "causes" / "causes.json"
    if not path.exists():
        pytest.skip("no record: python figures/causes.py")
    content = json.loads(path.read_text(encoding="utf-8"))
    explained = content["explained_L2_along"]
    assert explained["row of the table"] > 0.15 > 0.03 > explained["all three"]
    twins = [pair for pair in content["together"] if "thesis-lite0-30" not in pair["runs"]]
    assert len(twins) == 6 and all(pair["correlation"] > 0.95 and pair["apart_px"] < 1.5 for pair in twins)  # one recipe, or nearly
    assert set(content["runs"]) == {name for pair in content["together"] for name in pair["runs"]}
    assert content["split_fingerprint"] == "d0c23795be920b05" and (content["n_train"], content["n_val"]) == (716, 144)
