"""More views of a picture: what was moved is moved back, and the record follows from its errors."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

HERE = Path(__file__).resolve().parents[1] / "figures"
sys.path.insert(0, str(HERE))
import views  # noqa: E402

from landmark_thesis.data import read_rows  # noqa: E402
from landmark_thesis.phantom import sample_shapes  # noqa: E402

RECORD = HERE / "records" / "views"


def test_points_of_a_moved_picture_go_back_to_where_they_were():
    points = torch.from_numpy(sample_shapes(20, seed=0)).float()
    both = torch.cat([points, views.PLACES.expand(20, 3, 2)], 1)
    _, moved = views.SMALL(torch.zeros(20, 1, 32, 32), both, torch.Generator().manual_seed(0))
    assert (moved - both).abs().mean() * 224 > 3  # they did move
    back = views.moved_back(moved[:, :-3].double().numpy(), moved[:, -3:].double().numpy())
    assert np.abs(back - points.numpy()).max() * 224 < 0.01


def test_a_model_that_moves_with_its_picture_answers_alike_in_all_views(monkeypatch):
    """Three bright spots lie where the phantom's places are: a finder of their positions must be led back to them."""
    run = type("Run", (), {"seed": 0, "model": lambda self: None, "recipe": type("Recipe", (), {"precision": "fp32"})})()
    image = torch.zeros(2, 64, 64)
    for x, y in views.PLACES:
        image[:, int(y * 64) - 2 : int(y * 64) + 2, int(x * 64) - 2 : int(x * 64) + 2] = 255

    def found(model, images, precision):
        grid = (torch.arange(64) + 0.5) / 64
        weight = images.float()
        total = weight.sum((1, 2))
        return torch.stack([(weight.sum(1) * grid).sum(1) / total, (weight.sum(2) * grid).sum(1) / total], -1)[:, None].numpy()

    monkeypatch.setattr(views, "predict_points", found)
    answers = views.seen_often(run, image.to(torch.uint8))
    assert np.abs(answers - views.PLACES.mean(0).numpy()).max() * 224 < 0.6  # their centre; a pixel here is 3.5


def test_the_record_follows_from_its_errors():
    if not RECORD.exists():
        pytest.skip("no record: python figures/views.py")
    content = json.loads((RECORD / "views.json").read_text(encoding="utf-8"))
    rows = read_rows(RECORD / "errors.csv")
    assert len(rows) == content["n"] == 144 and content["n_views"] == 16 and content["split_fingerprint"] == "d0c23795be920b05"
    mean = {arm: np.mean([[float(row[name]) for row in rows] for name in rows[0] if name.startswith(f"{arm} ")]) for arm in ("mirrored", "many")}
    assert content["gain_of_more_views"]["difference_px"] == pytest.approx(mean["mirrored"] - mean["many"], abs=1e-3)
    for one in content["results"]:
        assert one["mre_px"] == pytest.approx(np.mean([float(row[f"{one['arm']} {one['run']}"]) for row in rows]), abs=1e-3)
