"""Phase 1 on stored features: bit for bit the plain loop, whatever the head, the order or the interruption."""

import pytest
import torch

from landmark_thesis.augment import THESIS_AUGMENTATION, Augmentation, flip
from landmark_thesis.callbacks import Callback
from landmark_thesis.data import batches, phantom_data
from landmark_thesis.landmarks import FLIP_PERMUTATION
from landmark_thesis.losses import DenseLoss, WingLoss
from landmark_thesis.model import create_model
from landmark_thesis.trainer import Compute, LandmarkTrainer, Phase, cache_features, view_loaders

DATA, HELD_OUT = phantom_data(19, seed=1, size=64), phantom_data(7, seed=2, size=64)
HEADS = {
    "pooled": (WingLoss, {"head": "regression", "attention": False, "hidden": 32}),
    "attention": (WingLoss, {"head": "regression", "hidden": 32}),
    "dense": (DenseLoss, {"head": "dense", "channels": 16}),
}


def _train(head="pooled", views=0, folder=None, callbacks=(), resume=False, augmentation=None, epochs=3, backbone="tiny", precision="fp32",
           val=True, budget=2**31, **settings):
    criterion, options = HEADS[head]
    torch.manual_seed(0)
    model = create_model(backbone, weights="none", **options)
    trainer = LandmarkTrainer(
        model, "cpu", folder, callbacks=callbacks, precision=precision, quiet=True, seed=3, cache_budget=budget)
    phase = Phase("phase1", epochs, {"head": 1e-3}, trainable="head", cache_views=views, **settings)
    train = batches(DATA, 8, shuffle=True, seed=5, augmentation=augmentation)
    trainer.fit([phase], train, batches(HELD_OUT, 4) if val else None, criterion(), resume=resume)
    return trainer


def _same(a, b):
    """The same run: history, best epoch, every weight, bit for bit."""
    ours, theirs = a.model.state_dict(), b.model.state_dict()
    assert a.history == b.history and (a.best_epoch, a.best_error_px) == (b.best_epoch, b.best_error_px)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.fixture
def backbone_calls(monkeypatch):
    """Counts the pictures that go through a backbone."""
    from landmark_thesis.model import LandmarkRegressor

    seen, real = [], LandmarkRegressor.features

    def features(self, images):
        seen.append(len(images))
        return real(self, images)

    monkeypatch.setattr(LandmarkRegressor, "features", features)
    return seen


@pytest.mark.parametrize("head", HEADS)
def test_one_view_is_the_plain_loop_to_the_bit(head):
    _same(_train(head, 1), _train(head))


def test_resnet18_too():
    _same(_train("pooled", 1, backbone="resnet18", epochs=2), _train("pooled", backbone="resnet18", epochs=2))


def test_bfloat16_too():
    _same(_train("dense", 1, precision="bf16"), _train("dense", precision="bf16"))


@pytest.mark.parametrize("settings", [{"average": 0.9}, {"schedule": "cosine"}, {"clip_norm": 0.1, "optimizer": "adamw", "weight_decay": 0.1}])
def test_average_schedule_and_clipping_do_not_notice(settings):
    _same(_train("pooled", 1, **settings), _train("pooled", **settings))


def test_without_validation():
    _same(_train("pooled", 1, val=False, select="last"), _train("pooled", val=False, select="last"))


def test_the_backbone_sees_each_view_once(backbone_calls):
    _train("pooled", 3, epochs=5, augmentation=THESIS_AUGMENTATION)
    assert sum(backbone_calls) == 3 * 2 + 3 * len(DATA) + len(HELD_OUT)  # three looks at two pictures, the views, the validation


def test_views_are_as_they_are_mirrored_and_drawn():
    loader = batches(DATA, 8, shuffle=True, seed=5, augmentation=THESIS_AUGMENTATION)
    whole = [tuple(torch.cat(parts) for parts in zip(*((i, p) for i, p, _ in view), strict=True)) for view in view_loaders(loader, 4)]
    images, points = DATA.images.unsqueeze(1).float() / 255, DATA.points
    assert torch.equal(whole[0][0], images) and torch.equal(whole[0][1], points.flatten(1))
    mirrored, renamed = flip(images, points, FLIP_PERMUTATION)
    assert torch.equal(whole[1][0], mirrored) and torch.equal(whole[1][1], renamed.flatten(1))
    assert not torch.equal(whole[2][0], whole[3][0])
    again = [torch.cat([i for i, _, _ in view]) for view in view_loaders(loader, 4)]
    assert all(torch.equal(a, b) for a, (b, _) in zip(again, whole, strict=True))


def test_epochs_draw_their_views_from_seed_and_number():
    model = create_model("tiny", weights="none", head="regression", attention=False).eval()
    loader = batches(DATA, 8, shuffle=True, seed=5, augmentation=THESIS_AUGMENTATION)
    cache = cache_features(model, loader, Compute(torch.device("cpu")), views=4)

    def epoch(number):
        cache.epoch = number
        return [(features, points, meta["image_name"]) for features, points, meta in cache]

    row = {name: number for number, name in enumerate(DATA.names)}
    drawn = set()
    for features, points, names in epoch(0):
        for feature, point, name in zip(features, points, names, strict=True):
            candidates = [row[name] + view * len(DATA) for view in range(4)]
            (chosen,) = [k for k in candidates if torch.equal(cache.features[k], feature)]  # a view of that picture, with its own points
            assert torch.equal(cache.points[chosen], point)
            drawn.add(chosen // len(DATA))
    assert drawn == {0, 1, 2, 3}
    loader.epoch = 7
    order = [name for _, _, meta in loader for name in meta["image_name"]]
    assert [name for _, _, names in epoch(7) for name in names] == order
    assert all(torch.equal(a[0], b[0]) for a, b in zip(epoch(2), epoch(2), strict=True))
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(epoch(2), epoch(3), strict=True))


class _Stop(Callback):
    def on_epoch_start(self, trainer, phase, epoch):
        if epoch == 3:
            raise KeyboardInterrupt


def test_a_run_that_was_killed_goes_on_to_the_bit(tmp_path):
    settings = {"head": "pooled", "views": 4, "augmentation": THESIS_AUGMENTATION, "epochs": 4}
    with pytest.raises(KeyboardInterrupt):
        _train(folder=tmp_path / "killed", callbacks=[_Stop()], **settings)
    resumed = _train(folder=tmp_path / "killed", resume=True, **settings)
    assert len(resumed.history["phase1"]["train_loss"]) == 4
    _same(resumed, _train(folder=tmp_path / "whole", **settings))
    with pytest.raises(ValueError, match="cache_views: 4 then, 2 now"):
        _train(folder=tmp_path / "killed", resume=True, **{**settings, "views": 2})


def test_a_file_from_before_this_setting_can_be_resumed(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        _train(folder=tmp_path, callbacks=[_Stop()])
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    del saved["settings"]["phase1"]["cache_views"]
    torch.save(saved, tmp_path / "last.pt")
    _same(_train(folder=tmp_path, resume=True), _train())


def test_what_cannot_be_stored_runs_plain_and_says_why(capsys):
    def said(model=None, train=None, budget=2**31):
        torch.manual_seed(0)
        model = model or create_model("tiny", weights="none", head="dense", channels=16)
        trainer = LandmarkTrainer(model, "cpu", None, precision="fp32", seed=3, cache_budget=budget)
        trainer.fit([Phase("phase1", 1, {"head": 1e-3}, trainable="head", cache_views=1)], train or batches(DATA, 8), batches(HELD_OUT, 4), DenseLoss())
        return capsys.readouterr().out

    assert "the plain loop, for a loader is not one of data.batches" in said(train=list(batches(DATA, 8)))
    assert "more than cache_budget, 0 MB" in said(budget=1000)
    assert "stored features of 19 pictures, 1 view(s) each: 0.4 MB" in said()
    model = create_model("tiny", weights="none", head="dense", channels=16)
    real = type(model).forward
    model.forward = lambda images: real(model, images * 0.5)
    assert "forward is not its head on its features" in said(model)
    noisy = create_model("tiny", weights="none", head="dense", channels=16)
    features = noisy.features
    noisy.features = lambda images: features(images + torch.rand(()))
    assert "not the same twice" in said(noisy)


def test_the_fallback_is_the_plain_loop_to_the_bit():
    _same(_train("dense", 1, budget=1000), _train("dense"))


def test_wrong_settings_say_so():
    with pytest.raises(ValueError, match="cache_views stores what a frozen backbone sees"):
        Phase("phase2", 1, {"head": 1e-3, "backbone": 1e-3}, cache_views=1)
    with pytest.raises(ValueError, match="cache_views must be a whole number"):
        Phase("phase1", 1, {"head": 1e-3}, trainable="head", cache_views=-1)
    for augmentation in (None, Augmentation(flip=0.0, permutation=None)):
        with pytest.raises(ValueError, match="cache_views=2 needs an augmentation"):
            _train("pooled", 2, augmentation=augmentation)


@pytest.mark.parametrize("whole", [False, True], ids=["train_phase1", "train_full"])
def test_the_calls_of_the_thesis_take_stored_features_too(whole, backbone_calls):
    def run(**settings):
        backbone_calls.clear()
        torch.manual_seed(0)
        trainer = LandmarkTrainer(create_model("tiny", weights="none", **HEADS["pooled"][1]), "cpu", None, precision="fp32", quiet=True, seed=3)
        loaders = batches(DATA, 8, shuffle=True, seed=5), batches(HELD_OUT, 4), WingLoss()
        trainer.train_full(*loaders, 2, 1, **settings) if whole else trainer.train_phase1(*loaders, epochs=2, **settings)
        return trainer, sum(backbone_calls)

    (plain, many), (stored, few) = run(), run(cache_views=1)
    _same(stored, plain)
    assert many == (3 if whole else 2) * 26 and few < many  # each of the 19 + 7 pictures once for phase 1, and a look at two of them
    assert [settings["cache_views"] for settings in stored.settings.values()] == ([1, 0] if whole else [1])
