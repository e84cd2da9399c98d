"""Tests of nbs/20_limit.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


# cell c3354ffb
import numpy as np

from landmark_thesis.landmarks import AXIS, LEVELS


def slid(points, along_px):
    """Points (N, 15, 2) in fractions, each moved along its picture's axis by (N, 15) px@224."""
    axis = points[:, AXIS[1]] - points[:, AXIS[0]]
    unit = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    return points + along_px[..., None] / 224 * unit[:, None]


# cell 6d8d797b
def smooth(at, rows, values, bandwidth=20.0, shrink=5.0, apart=False):
    """Gaussian kernel mean of values (N, M) of `rows` at the rows `at`, as if `shrink` neighbours without error stood at each."""
    weights = np.exp(-0.5 * ((at[:, None] - rows) / bandwidth) ** 2)
    if apart:
        np.fill_diagonal(weights, 0)
    return weights @ values / (weights.sum(1, keepdims=True) + shrink)


# cell ed3c075b
import importlib
from pathlib import Path

import pytest


def test_a_slide_is_a_slide_along_the_axis():
    from landmark_thesis.phantom import sample_shapes
    from landmark_thesis.pixel_error import along_across

    points = sample_shapes(5).astype(float)
    moved = along_across(slid(points, np.outer([-8.0, 0, 1, 5, 9], LEVELS)), points, 224)
    assert np.allclose(moved[..., 0], np.outer([-8, 0, 1, 5, 9], LEVELS)) and np.allclose(moved[..., 1], 0)
    assert np.allclose(slid(slid(points, np.full((5, 15), 3.0)), np.full((5, 15), -3.0)), points)


def test_a_kernel_mean_is_exact_on_a_constant_and_never_shows_a_picture_itself():
    rows = np.arange(50.0)
    assert np.allclose(smooth(rows, rows, np.full((50, 2), 4.0), shrink=0), 4)
    assert np.allclose(smooth(np.array([1e6]), rows, np.full((50, 1), 4.0)), 0)  # nobody near: no correction
    alone = (rows == 20).astype(float)[:, None]
    assert smooth(rows, rows, alone, apart=True)[20] == 0 < smooth(rows, rows, alone)[20]


@pytest.mark.parametrize("height", [0.0, 9.0])
def test_told_the_row_a_perfect_reader_loses_the_drift_and_only_the_drift(height):
    from landmark_thesis.phantom import sample_shapes
    from landmark_thesis.pixel_error import along_across, mean_radial_error

    truth, rows = sample_shapes(300).astype(float), np.arange(300)
    rule = slid(truth, np.outer(height * np.sin(rows * 2 * np.pi / 300), LEVELS))
    labels = rule + np.random.default_rng(0).normal(0, 3 / 224, truth.shape)
    told = slid(truth, -smooth(rows, rows, along_across(truth, labels, 224)[..., 0], apart=True))
    alone, with_row, floor = (mean_radial_error(points, labels, 224) for points in (truth, told, rule))
    assert abs(with_row - floor) < 0.15 and (alone - with_row > 1) == (height > 0)


def test_the_script_behind_the_record_computes_the_same(monkeypatch):
    path = next((path for path in (Path("figures/drift.py"), Path("../figures/drift.py")) if path.exists()), None)
    if path is None:
        pytest.skip("needs a checkout of the repository: figures/drift.py")
    monkeypatch.syspath_prepend(str(path.parent.resolve()))
    script = importlib.import_module("drift")
    rng = np.random.default_rng(0)
    rows, shift, points = rng.permutation(60).astype(float), rng.normal(0, 5, (60, 15)), rng.random((60, 15, 2))
    theirs = script.smooth(rows, rows, shift, apart=True)
    assert np.allclose(theirs, smooth(rows, rows, shift, script.BANDWIDTH, script.SHRINK, apart=True))
    along = np.stack([shift, 0 * shift], -1)
    assert np.allclose(script.moved(points, points, along), slid(points, shift))
