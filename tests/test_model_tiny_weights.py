"""The weights that travel with the package: what they are, and that the command makes such a file."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from landmark_thesis import weights as package
from landmark_thesis.data import phantom_data
from landmark_thesis.model import WeightsError, build_backbone, create_model, file_hash, read_weights, resolve_weights
from landmark_thesis.weights import make_tiny

FOLDER = Path(package.__file__).parent
FILE = FOLDER / "tiny.pt"


def test_the_file_is_small_and_the_one_its_readme_describes():
    assert 500_000 < FILE.stat().st_size < 1_000_000
    stated = re.findall(r"\b[0-9a-f]{64}\b", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert stated == [file_hash(FILE)]
    assert read_weights(FILE)["backbone"] == "tiny"


@pytest.mark.parametrize("head", ["regression", "dense"])
def test_auto_takes_it_without_a_warning_and_says_so(head):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = create_model("tiny", head)
    assert model.weights_used == f"tiny: weights of package tiny.pt (sha256 {file_hash(FILE)[:8]})"
    stored = read_weights(FILE)["state_dict"]
    assert all(torch.equal(value, stored[name]) for name, value in model.backbone.network.state_dict().items())


def test_none_stays_random_and_imagenet_an_error():
    assert resolve_weights("tiny", "none") == (None, "tiny: random weights, as asked")
    with pytest.raises(WeightsError, match="tiny has no ImageNet weights to download"):
        resolve_weights("tiny", "imagenet")


@pytest.mark.parametrize("size", [96, 224])
def test_its_frozen_features_know_where_the_lungs_are(size):
    """A linear fit from the mean of the last map, on 60 chapter phantoms, halves the mean shape's error on 60 others; a random one's doesn't."""
    seen, unseen = phantom_data(60, size=size), phantom_data(60, start=60, size=size)

    def error(backbone) -> float:
        with torch.no_grad():
            x, y = (backbone.eval()(data.images[:, None].float() / 255)[-1].mean((2, 3)) for data in (seen, unseen))
        mean, scale = x.mean(0), x.std(0) + 1e-6
        x, y = (x - mean) / scale, (y - mean) / scale
        shape = seen.points.flatten(1).mean(0)
        fit = torch.linalg.solve(x.T @ x + 10 * torch.eye(x.shape[1]), x.T @ (seen.points.flatten(1) - shape))
        return 224 * (y @ fit + shape - unseen.points.flatten(1)).view(60, -1, 2).norm(dim=-1).mean().item()

    mean_shape = 224 * (seen.points.mean(0) - unseen.points).norm(dim=-1).mean().item()
    pretrained = build_backbone("tiny")
    pretrained.network.load_state_dict(read_weights(FILE)["state_dict"])
    assert error(pretrained) < 0.5 * mean_shape < error(build_backbone("tiny"))


def test_no_picture_of_the_pretraining_is_a_chapters():
    assert make_tiny.PRETRAIN_SEED == 1_000_003
    drawn = make_tiny.draw_tissues(3, side=64)
    assert drawn.images.shape == (3, 64, 64) and drawn.layers.shape == (3, len(make_tiny.TISSUES), 8, 8)
    assert drawn.kinds.tolist() == [0, 1, 2]
    assert torch.allclose(drawn.layers.square().mean((0, 2, 3)), torch.ones(len(make_tiny.TISSUES)))
    assert not any(torch.equal(mine, theirs) for mine, theirs in zip(drawn.images, phantom_data(3, size=64).images, strict=True))


def test_a_view_moves_picture_and_tissues_together():
    """A picture that is its own tissue stays so, within a cell, through mirror, turn, scale and shift."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    blob = torch.exp(-((x - 0.35) ** 2 + (y - 0.6) ** 2) / 0.02).expand(8, 1, 64, 64)
    cells = torch.nn.functional.avg_pool2d(blob, 8)
    images, layers = make_tiny.view(blob, cells, 64, torch.Generator().manual_seed(0))

    def centres(maps):
        places = (torch.arange(maps.shape[-1]) + 0.5) / maps.shape[-1]
        mass = maps.sum((1, 2, 3))
        return torch.stack([(maps.sum((1, 2)) * places).sum(-1) / mass, (maps.sum((1, 3)) * places).sum(-1) / mass], -1)

    before, after = centres(cells), centres(layers)
    assert (after - before).norm(dim=-1).min() > 0.01
    assert torch.allclose(after, centres(images), atol=0.02)


@pytest.mark.slow
def test_the_command_makes_such_a_file_and_the_same_one_twice(tmp_path):
    def made(name: str, *more: str) -> str:
        command = [sys.executable, "-m", "landmark_thesis.weights.make_tiny", "--out", str(tmp_path / name), "--phantoms", "48", "--epochs", "1", *more]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "epoch 1/1" in done.stdout and f"sha256 {file_hash(tmp_path / name)}" in done.stdout
        return file_hash(tmp_path / name)

    first = made("first.pt")
    assert made("second.pt") == first != made("other.pt", "--seed", "1")
    assert create_model("tiny", weights=tmp_path / "first.pt").weights_used.startswith("tiny: weights of file first.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.pt", "other.pt", "second.pt"]
