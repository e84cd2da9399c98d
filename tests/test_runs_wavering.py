"""How a model's answers waver, measured without a label after the training, kept with the run, and used where its answers are read."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from landmark_thesis import runs
from landmark_thesis.augment import Augmentation
from landmark_thesis.data import phantom_data
from landmark_thesis.evaluate import evaluate_runs, predict, predict_points, run_points
from landmark_thesis.landmarks import LEVELS, likeliest_shape, project_to_shape
from landmark_thesis.runs import WAVERING, Run, RunError, Source, answer_covariance, save_record, train, tyler_form

SMALL = replace(runs.changed(runs.SMOKE, image_size=32, phase2_epochs=1), likeliest=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(SMALL, Source(phantoms=40), tmp_path_factory.mktemp("wavering") / "run", quiet=True)


@pytest.fixture()
def copy(run, tmp_path):
    out = tmp_path / "copy"
    out.mkdir()
    for file in run.path.iterdir():
        if file.name != "lock":
            (out / file.name).write_bytes(file.read_bytes())
    return out


def test_tylers_form_does_not_see_how_long_a_difference_is():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(5, 5))
    rows = rng.normal(size=(4000, 5)) @ factor
    form, truth = tyler_form(rows), factor.T @ factor
    assert np.trace(form) == pytest.approx(5)
    assert form == pytest.approx(5 * truth / np.trace(truth), abs=0.15)
    assert tyler_form(rows * rng.lognormal(0, 3, (4000, 1))) == pytest.approx(form, abs=1e-7)
    assert tyler_form(np.vstack([rows, np.zeros((9, 5))])) == pytest.approx(form, abs=1e-12)


@pytest.mark.parametrize("rows", [np.ones((3, 5)), np.zeros((40, 5)), np.full((40, 5), np.nan), np.tile(np.eye(5)[:4], (10, 1)), np.random.default_rng(0).normal(size=(700, 25)) @ np.random.default_rng(1).normal(size=(25, 30))])
def test_too_few_differences_make_no_form(rows):
    with pytest.raises(ValueError, match="directions"):
        tyler_form(rows)


class Doubtful(nn.Module):
    """Sees a bright column move exactly, and adds to each point a noise of its own, along the upright axis and across it."""

    def __init__(self, along, across):
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)
        self.scatter = torch.stack([across, along], -1)

    def forward(self, images):
        points = torch.tensor([[0.5, 0.1 + 0.8 * level] for level in LEVELS]).expand(len(images), 15, 2)
        return (points + self.scatter * torch.randn(len(images), 15, 2, generator=self.generator)).flatten(1)


def test_the_wavering_of_each_point_is_found_up_to_its_size():
    along, across = torch.full((15,), 0.004), torch.full((15,), 0.002)
    along[1] = 0.02
    still = Augmentation(flip=0, rotation=0, brightness=0, contrast=0)
    form = answer_covariance(Doubtful(along, across), torch.zeros(600, 8, 8, dtype=torch.uint8), moves=still)
    expected = torch.stack([along, across], -1).flatten().double().square().numpy()
    # the axis runs through L1 and L2 as they were answered, so a little of across goes into along and back
    assert form.diagonal() == pytest.approx(30 * expected / expected.sum(), rel=0.35)
    assert np.trace(form) == pytest.approx(30)


def test_the_form_repeats_by_seed_and_needs_a_picture(run):
    images = phantom_data(24, seed=3, size=32).images
    first, again, other = (answer_covariance(run.model(), images, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    with pytest.raises(ValueError, match="no pictures"):
        answer_covariance(run.model(), images[:0])


def test_a_run_keeps_its_form_and_reads_its_answers_by_it(run):
    images = phantom_data(6, seed=5, size=32).images
    raw = predict_points(run.model(), images)
    assert np.array_equal(run_points(run, images), likeliest_shape(raw, run.covariance))
    assert np.abs(run_points(run, images) - project_to_shape(raw)).max() > 1e-5
    assert np.allclose(run_points(run, images), project_to_shape(run_points(run, images)), atol=1e-6)
    pictures = [picture.numpy() for picture in images]
    assert predict(run, pictures).shape == (6, 15, 2)


def test_the_score_of_a_run_is_of_the_likeliest_shape(run, copy):
    """The same weights read as the nearest shape score otherwise: nothing but the reading differs."""
    told = json.loads((copy / "recipe.json").read_text())
    told["recipe"]["likeliest"] = False
    (copy / "recipe.json").write_text(json.dumps(told))
    weights = torch.load(copy / "best.pt", weights_only=True)
    weights["extra"]["recipe"]["likeliest"] = False
    torch.save(weights, copy / "best.pt")
    nearest = Run(copy)
    assert nearest.covariance is None and nearest.weights_hash == run.weights_hash
    likely, near = (evaluate_runs(model, part="val", device="cpu")["val"]["mre_px"] for model in (run, nearest))
    data = run.source.load(run.recipe.preprocessing).subset(run.part("val"))
    for model, error in ((run, likely), (nearest, near)):
        moved = (run_points(model, data.images) - data.points.numpy()) * 224
        assert np.linalg.norm(moved, axis=-1).mean() == pytest.approx(error, abs=1e-4)
    assert likely != near


def test_the_nearest_shape_needs_no_form(tmp_path):
    plain = train(replace(SMALL, likeliest=False), Source(phantoms=40), tmp_path / "run", quiet=True)
    assert plain.covariance is None and not (plain.path / WAVERING).exists()
    with pytest.raises(ValueError, match="likeliest"):
        replace(SMALL, project=False)
    with pytest.raises(ValueError, match="likeliest"):
        replace(SMALL, likeliest="yes")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, WAVERING),
        ("[]", WAVERING),
        ('{"weights": "0", "covariance": [[1]]}', "no covariance"),
        ('{"covariance": 3}', "no covariance"),
        ("negative", "positive definite"),
        ("nan", "finite"),
        ("words", "no covariance"),
        ("other weights", "other weights"),
    ],
)
def test_a_damaged_form_is_named(copy, content, said):
    told = json.loads((copy / WAVERING).read_text())
    form = np.array(told["covariance"])
    changes = {
        "negative": {"covariance": (-form).tolist()},
        "nan": {"covariance": (form * np.nan).tolist()},
        "words": {"covariance": [["a"] * 30] * 30},
        "other weights": {"weights": "0" * 16},
    }
    (copy / WAVERING).unlink()
    if content is not None:
        (copy / WAVERING).write_text(json.dumps({**told, **changes[content]}) if content in changes else content)
    with pytest.raises(RunError, match=said):
        predict(copy, [np.zeros((40, 40), np.uint8)])


def test_a_resumed_finished_run_and_a_record_keep_it(run, tmp_path):
    again = train(SMALL, Source(phantoms=40), run.path, resume=True, quiet=True)
    assert np.array_equal(again.covariance, run.covariance)
    record = save_record(run, tmp_path / "record")
    assert (record.path / WAVERING).read_bytes() == (run.path / WAVERING).read_bytes()


def test_a_run_whose_form_was_never_written_measures_it_when_it_is_resumed(run, copy):
    before = (copy / WAVERING).read_bytes()
    (copy / WAVERING).unlink()
    notes = json.loads((copy / "environment.json").read_text())
    del notes["seconds"]  # as a kill between the last epoch and the form leaves it
    (copy / "environment.json").write_text(json.dumps(notes))
    train(SMALL, Source(phantoms=40), copy, resume=True, quiet=True)
    assert (copy / WAVERING).read_bytes() == before
