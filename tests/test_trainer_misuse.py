"""Ordinary slips in using a trainer: each is one clear error before any training time is spent, or simply works; nothing earned is lost."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from landmark_thesis.augment import flip
from landmark_thesis.callbacks import Callback, CheckpointError, EarlyStopping, LRSchedulerCallback
from landmark_thesis.data import batches, phantom_data
from landmark_thesis.losses import CombinedLoss, WeightedWingLoss, WingLoss, loss_parts
from landmark_thesis.model import create_model, model_from_weights
from landmark_thesis.trainer import Compute, LandmarkTrainer, Phase, ResumeError, _like_weights, describe_criterion


def pictures(n=4, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(n, 1, 32, 32, generator=random), torch.rand(n, 8, generator=random), None


TRAIN, VAL = [pictures(), pictures(seed=1)], [pictures(seed=2)]


def a_model(head="regression"):
    torch.manual_seed(0)
    return create_model("tiny", head, weights="none", num_landmarks=4, **({"hidden": 8} if head == "regression" else {}))


def a_trainer(folder=None, callbacks=(), model=None, **settings):
    return LandmarkTrainer(model or a_model(), "cpu", folder, callbacks=callbacks, **{"precision": "fp32", "quiet": True, "seed": 3, **settings})


class CtrlC(Callback):
    """The stop button, at the first batch of an epoch of a phase."""

    def __init__(self, phase="phase1", epoch=1):
        self.at = (phase, epoch)

    def on_batch_end(self, trainer, phase, epoch, batch):
        if (phase.name, epoch) == self.at:
            raise KeyboardInterrupt


class Counts(Callback):
    """How many steps were made."""

    steps = 0

    def on_batch_end(self, trainer, phase, epoch, batch):
        self.steps += 1


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_whatever_hands_a_model_back_hands_it_back_for_prediction(tmp_path):
    first = a_trainer(tmp_path)
    first.train_full(TRAIN, VAL, WingLoss(), 1, 1)
    again = a_trainer(tmp_path)
    again.train_full(TRAIN, VAL, WingLoss(), 1, 1, resume=True)
    assert not any(part.training for part in again.model.modules()) and same(again.model.state_dict(), first.model.state_dict())
    loaded = a_trainer()
    loaded.model.train()
    loaded.load_model(tmp_path / "best.pt")
    assert not any(part.training for part in loaded.model.modules())
    built = model_from_weights(first.model.config, first.model.state_dict())
    assert not any(part.training for part in built.modules())


def test_a_new_training_in_an_occupied_folder_loses_nothing_and_nothing_old_passes_for_it(tmp_path, capsys):
    a_trainer(tmp_path).train_phase1(TRAIN, VAL, WingLoss(), epochs=2)
    files = {name: (tmp_path / name).read_bytes() for name in ("best.pt", "last.pt")}
    other = [pictures(seed=8)]
    with pytest.raises(KeyboardInterrupt):
        a_trainer(tmp_path, [CtrlC()], quiet=False).train_phase1(other, VAL, nn.MSELoss(), epochs=2)
    assert "earlier-1" in capsys.readouterr().out
    assert {name: (tmp_path / "earlier-1" / name).read_bytes() for name in files} == files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["earlier-1"]
    resumed = a_trainer(tmp_path)
    resumed.train_phase1(other, VAL, nn.MSELoss(), epochs=2, resume=True)
    fresh = a_trainer()
    fresh.train_phase1(other, VAL, nn.MSELoss(), epochs=2)
    assert resumed.history == fresh.history
    a_trainer(tmp_path).train_phase1(TRAIN, VAL, WingLoss(), epochs=1)  # the cell without resume, once more
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "earlier-1", "earlier-2", "last.pt"]
    kept = a_trainer(tmp_path / "earlier-1")  # a folder of its own: it can be gone on with
    kept.train_full(TRAIN, VAL, WingLoss(), 2, 1, resume=True)
    assert [len(kept.history[name]["val_loss"]) for name in ("phase1", "phase2")] == [2, 1]


def test_a_phase_run_again_by_the_same_trainer_keeps_the_files_of_its_first_time(tmp_path):
    trainer = a_trainer(tmp_path)
    trainer.train_full(TRAIN, VAL, WingLoss(), 1, 2)
    files = {name: (tmp_path / name).read_bytes() for name in ("best.pt", "last.pt")}
    trainer.callbacks.append(CtrlC("phase2"))
    with pytest.raises(KeyboardInterrupt):
        trainer.train_phase2(TRAIN, VAL, nn.MSELoss(), epochs=1)
    assert {name: (tmp_path / "earlier-1" / name).read_bytes() for name in files} == files
    trainer.callbacks.pop()
    assert trainer.train_phase2(TRAIN, VAL, nn.MSELoss(), epochs=1, resume=True)["val_loss"] != []
    assert trainer.finished == ["phase1", "phase2"] and len(trainer.history["phase2"]["val_loss"]) == 1


def test_phases_in_calls_of_their_own_stay_in_one_folder(tmp_path):
    trainer = a_trainer(tmp_path)
    trainer.train_phase1(TRAIN, VAL, WingLoss(), epochs=1)
    trainer.train_phase2(TRAIN, VAL, WingLoss(), epochs=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt"]


def test_a_best_file_alone_is_kept_too(tmp_path):
    a_trainer(tmp_path).train_phase1(TRAIN, VAL, WingLoss(), epochs=1)
    (tmp_path / "last.pt").unlink()
    best = (tmp_path / "best.pt").read_bytes()
    a_trainer(tmp_path).train_phase1(TRAIN, VAL, WingLoss(), epochs=1, resume=True)
    assert (tmp_path / "earlier-1" / "best.pt").read_bytes() == best


def test_a_resume_with_another_criterion_is_refused_and_the_same_one_is_known_again(tmp_path):
    a_trainer(tmp_path).train_phase1(TRAIN, VAL, WingLoss(), epochs=1)
    for other in (nn.MSELoss(), WingLoss(width_px=5)):
        with pytest.raises(ResumeError, match=r"criterion: 'WingLoss\(width=0.0446.*then, ['\"](MSELoss|WingLoss\(width=0.0223)"):
            a_trainer(tmp_path).train_phase1(TRAIN, VAL, other, epochs=1, resume=True)
    a_trainer(tmp_path).train_phase1(TRAIN, VAL, WingLoss(), epochs=1, resume=True)


def test_a_criterion_in_words_holds_its_options_and_nothing_that_changes():
    class Counting(nn.Module):
        def __init__(self, power=2):
            super().__init__()
            self.power, self.calls = power, 7

    assert describe_criterion(nn.MSELoss()) == "MSELoss(reduction='mean')"
    assert describe_criterion(Counting()) == "Counting(power=2)"
    assert describe_criterion(nn.functional.mse_loss) == "mse_loss"
    assert describe_criterion(CombinedLoss(0.25)) != describe_criterion(CombinedLoss(0.5))
    assert describe_criterion(WeightedWingLoss([1, 2])) != describe_criterion(WeightedWingLoss([1, 3]))


def test_wrong_use_and_damage_can_be_told_apart(tmp_path):
    a_trainer(tmp_path).train_phase1(TRAIN, VAL, WingLoss(), epochs=1)

    def resume(folder=tmp_path, lr=1e-3, callbacks=(), model=None):
        a_trainer(folder, callbacks, model).train_phase1(TRAIN, VAL, WingLoss(), epochs=1, lr=lr, resume=True)

    class Remembers(Callback):
        def state_dict(self):
            return {"x": 1}

    wide = create_model("tiny", weights="none", num_landmarks=4, hidden=16)
    for wrong, words in (({"lr": 0.5}, "other settings"), ({"folder": None}, "needs a save_dir"), ({"callbacks": [Remembers()]}, "new Remembers"), ({"model": wide}, "another arch")):
        with pytest.raises(ResumeError, match=words) as caught:
            resume(**wrong)
        assert not isinstance(caught.value, CheckpointError)
    content = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        resume()
    assert [path.name for path in (tmp_path).iterdir() if path.is_dir()] == []


# ---- what is wrong is told before the first step


def refused(error, words, *, train=TRAIN, val=VAL, criterion=None, callbacks=(), model=None, folder=None, **settings):
    """`train_full` fails with one line that holds `words`, and not one step was made."""
    counts = Counts()
    trainer = a_trainer(folder, [*callbacks, counts], model)
    with pytest.raises(error, match=words) as caught:
        trainer.train_full(train, val, criterion or WingLoss(), 1, 1, **settings)
    assert counts.steps == 0 and "\n" not in str(caught.value)


class NoLength:
    def __iter__(self):
        return iter(TRAIN)


def by_steps():
    return LRSchedulerCallback(lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1))


@pytest.mark.parametrize(
    ("error", "words", "wrong"),
    [
        (ValueError, "a rate for neck, but the model's groups are", {"rates": {"neck": 1e-3}}),
        (ValueError, "phase2: the schedule 'cosine' needs len", {"train": NoLength()}),
        (ValueError, r"phase2 has the schedule 'cosine'.*train_full\(..., phase2_schedule='constant'\)", {"callbacks": [by_steps()]}),
        (KeyError, "no metric 'val_mae'; there are: lr_head, train_error_px", {"callbacks": [EarlyStopping(monitor="val_mae")]}),
        (ValueError, "val_loader is empty after one pass: a generator.*give a list of batches", {"val": (batch for batch in VAL)}),
        (ValueError, "train_loader is empty after one pass: a map.*give a list of batches", {"train": map(tuple, TRAIN)}),
        (TypeError, r"criterion is the class WingLoss, not a loss made of it: add \(\)", {"criterion": WingLoss}),
        (TypeError, "criterion is a str, which cannot be called", {"criterion": "wing"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_about_any_phase_is_told_before_the_first(error, words, wrong):
    refused(error, words, **wrong)


def test_looking_ahead_changes_nothing():
    model = a_model()
    model.backbone.requires_grad_(False)
    before = [parameter.requires_grad for parameter in model.parameters()]
    refused(ValueError, "a rate for neck", model=model, rates={"neck": 1e-3})
    assert [parameter.requires_grad for parameter in model.parameters()] == before and not all(before)


def test_a_scheduler_of_ones_own_works_in_both_phases():
    trainer = a_trainer(callbacks=[by_steps()])
    trainer.train_full(TRAIN, VAL, WingLoss(), 2, 2, phase2_schedule="constant")
    assert trainer.history["phase2"]["lr_head"] == pytest.approx([2e-4, 2e-5]) and trainer.history["phase1"]["lr_head"] == pytest.approx([1e-3, 1e-4])
    trainer.train_phase2(TRAIN, VAL, WingLoss(), epochs=2, phase2_schedule="constant")
    assert trainer.history["phase2"]["lr_backbone"] == pytest.approx([2e-5, 2e-6])


class Keeps(Callback):
    def __init__(self, megabytes, grows=0):
        self.memory, self.grows = torch.zeros(megabytes, 2**20, dtype=torch.uint8), grows

    def on_epoch_end(self, trainer, phase, epoch, metrics):
        if epoch == self.grows:
            self.memory = torch.zeros(160, 2**20, dtype=torch.uint8)

    def state_dict(self):
        return {"seen": {"memory": self.memory}}

    def load_state_dict(self, state):
        self.memory = state["seen"]["memory"]


def test_a_memory_that_resume_would_refuse_is_never_written(tmp_path):
    refused(ValueError, r"callbacks.Keeps.seen.memory alone takes 168 MB", callbacks=[Keeps(160)], folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="callbacks.Keeps.seen.memory alone takes 168 MB"):
        a_trainer(tmp_path, [Keeps(1, grows=2)]).train_phase1(TRAIN, VAL, WingLoss(), epochs=2)
    again = a_trainer(tmp_path, [Keeps(1)])
    again.train_phase1(TRAIN, VAL, WingLoss(), epochs=2, resume=True)
    assert len(again.history["phase1"]["val_loss"]) == 2


class Learns(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, output, target):
        return (output - target).square().mean() * torch.exp(-self.scale) + self.scale


def test_a_loss_that_would_never_learn_is_refused_and_ones_own_optimiser_may_train_it():
    refused(ValueError, r"Learns has parameters of its own that nothing would train \(scale\)", criterion=Learns())
    refused(ValueError, "train_epoch", criterion=nn.Sequential(Learns()))
    trainer, loss = a_trainer(), Learns()
    with pytest.raises(ValueError, match="nothing would train"):
        trainer.train_epoch(TRAIN, torch.optim.SGD(trainer.model.parameters(), 0.1), loss)
    trainer.train_epoch(TRAIN, torch.optim.SGD([*trainer.model.parameters(), *loss.parameters()], 0.1), loss)
    assert loss.scale.item() != 0
    loss.requires_grad_(False)
    trainer.train_phase1(TRAIN, VAL, loss, epochs=1)


def changed(images=lambda x: x, landmarks=lambda x: x):
    return [(images(batch[0].clone()), landmarks(batch[1].clone()), None) for batch in TRAIN]


def one_is(value):
    def change(tensor):
        tensor.view(-1)[0] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ("error", "words", "change"),
    [
        (ValueError, "landmarks from .*, which look like pixels: wanted fractions", {"landmarks": lambda x: x * 224}),
        (ValueError, "landmarks from -3 to .*pixels_to_fractions", {"landmarks": one_is(-3.0)}),
        (ValueError, "images with values from .* to 25.*: wanted about 0 to 1", {"images": lambda x: x * 255}),
        (ValueError, "images with values from -2.*take out a normalisation of your own", {"images": lambda x: (x - 0.45) / 0.22}),
        (ValueError, "images that are not finite", {"images": one_is(float("nan"))}),
        (ValueError, "images of torch.uint8: wanted float with values from 0 to 1", {"images": lambda x: (x * 255).byte()}),
        (TypeError, r"images as a ndarray; wanted a tensor: torch.as_tensor\(images\)", {"images": lambda x: x.numpy()}),
        (TypeError, r"landmarks as a ndarray; wanted a tensor", {"landmarks": lambda x: x.numpy()}),
        (TypeError, r"landmarks as a list; wanted a tensor", {"landmarks": lambda x: x.tolist()}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_batch_of_another_kind_or_unit_is_told_by_its_loader(error, words, change):
    bad = changed(**change)
    refused(error, "train_loader gives " + words, train=bad, criterion=nn.MSELoss())
    with pytest.raises(error, match="val_loader gives " + words):
        a_trainer().train_phase1(TRAIN, bad, nn.MSELoss(), epochs=1)
    with pytest.raises(error, match="val_loader gives " + words):
        a_trainer().validate(bad, nn.MSELoss())


def test_what_is_a_little_outside_is_no_mistake():
    beside = changed(lambda x: x * 1.4 - 0.2, one_is(-0.4))
    hidden = changed(landmarks=one_is(float("nan")))
    a_trainer().train_phase1(beside, hidden, WingLoss(), epochs=1)


def test_only_the_first_batch_of_a_pass_is_looked_at(monkeypatch):
    looks = []
    monkeypatch.setattr(Compute, "look", lambda self, batch, name: looks.append(name))
    a_trainer().train_phase1(TRAIN, VAL, WingLoss(), epochs=2)
    assert looks == ["train_loader", "val_loader"] * 2


def test_stored_features_are_of_pictures_that_were_looked_at():
    data = phantom_data(6, size=32)
    data.points[0] *= 32
    with pytest.raises(ValueError, match="train_loader gives landmarks"):
        trainer = LandmarkTrainer(create_model("tiny", weights="none", hidden=8), "cpu", None, quiet=True)
        trainer.train_phase1(batches(data, 6), batches(phantom_data(4, size=32), 4), nn.MSELoss(), epochs=1, cache_views=1)


# ---- criteria


class OwnMean(nn.MSELoss):
    """A child of torch's loss, as many write them: for tensors."""

    def forward(self, output, target):
        return super().forward(output.float(), target) + output.abs().mean()


class OwnOutput(nn.MSELoss):
    """Another, for output objects."""

    def forward(self, output, target):
        return super().forward(output.landmarks, target)


class Plain(nn.MSELoss):
    pass


@pytest.mark.parametrize("criterion", [nn.MSELoss, Plain, OwnMean, OwnOutput], ids=lambda kind: kind.__name__)
def test_torchs_losses_and_their_children_work_with_an_output_object(criterion):
    assert len(a_trainer(model=a_model("dense")).train_phase1(TRAIN, VAL, criterion(), epochs=1)["val_loss"]) == 1


def test_a_function_for_tensors_says_what_to_take():
    refused(TypeError, "mse_loss takes a tensor, but this model gives a LandmarkOutput.*output.landmarks", criterion=nn.functional.mse_loss, model=a_model("dense"))
    assert len(a_trainer().train_phase1(TRAIN, VAL, nn.functional.mse_loss, epochs=1)["val_loss"]) == 1  # here the output is a tensor


def test_an_error_inside_a_criterion_stays_what_it_is():
    def broken(output, target):
        return output.landmarks.nonsense

    refused(AttributeError, "'Tensor' object has no attribute 'nonsense'", criterion=broken, model=a_model("dense"))


def test_a_detached_loss_is_told():
    refused(ValueError, "the loss does not depend on the weights", criterion=lambda output, target: (output - target).square().mean().detach())


# ---- slips that simply work, or are named


def test_double_precision_auto_device_one_phase_and_one_callback_are_taken():
    double, single = a_trainer(), a_trainer()
    phase, rounded = Phase("phase1", 1, {"head": 1e-3}, trainable="head"), changed(lambda x: x.double())
    assert double.fit(phase, rounded, VAL, WingLoss()) == single.fit([phase], TRAIN, VAL, WingLoss())
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    counts = Counts()
    trainer = LandmarkTrainer(a_model(), "auto", None, callbacks=counts, quiet=True)
    assert trainer.device.type == wanted and trainer.callbacks == [counts]
    assert _like_weights(nn.Linear(1, 1).double(), torch.zeros(1).double()).dtype == torch.float64  # a model in double precision gets its pictures so


def test_a_class_for_a_callback_and_half_an_epoch_are_named():
    with pytest.raises(TypeError, match=r"the class EarlyStopping, not an object of it: add \(\)"):
        a_trainer(callbacks=[EarlyStopping])
    with pytest.raises(ValueError, match="epochs must be a whole number, not 1.5"):
        Phase("a", 1.5, {"head": 1e-3}, trainable="head")
    with pytest.raises(ValueError, match="rates must be a mapping of groups to rates.*not 0.001"):
        Phase("a", 1, 1e-3, trainable="head")


# ---- an exact resume


class Shuffled:
    """A batch sampler with a stream of its own."""

    def __init__(self, count):
        self.count, self.generator, self.told = count, torch.Generator().manual_seed(9), []

    def __len__(self):
        return self.count // 2

    def __iter__(self):
        return iter(torch.randperm(self.count, generator=self.generator).view(-1, 2).tolist())

    def set_epoch(self, epoch):
        self.told.append(epoch)


def test_the_stream_of_a_batch_sampler_is_kept(tmp_path):
    images, landmarks, _ = pictures(8, seed=4)

    def run(folder, callbacks=(), resume=False):
        loader = DataLoader(TensorDataset(images, landmarks), batch_sampler=Shuffled(8), collate_fn=lambda items: (*map(torch.stack, zip(*items, strict=True)), None))
        trainer = a_trainer(folder, callbacks)
        trainer.train_phase1(loader, VAL, WingLoss(), epochs=3, resume=resume)
        assert loader.batch_sampler.told == ([2] if resume else [0, 1, 2])
        return trainer

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", [CtrlC("phase1", 3)])
    assert run(tmp_path / "broken", resume=True).history == whole.history


def test_an_answer_does_not_spoil_a_training_after_it():
    permutation = (1, 0, 2)  # of nobody else here: the index is made once
    points = torch.rand(2, 3, 2)
    with torch.inference_mode():
        flip(torch.rand(2, 1, 8, 8), points, permutation)
    learnt = points.clone().requires_grad_()
    flip(torch.rand(2, 1, 8, 8), learnt, permutation)[1][..., 0].sum().backward()
    assert torch.equal(learnt.grad, torch.tensor([-1.0, 0.0]).expand(2, 3, 2))


def test_components_of_a_loss_are_scalars_on_its_device():
    total, parts = loss_parts({"total": torch.zeros((), device="meta"), "weight": 2.0})
    assert total.device.type == parts["weight"].device.type == "meta" and parts["weight"].ndim == 0
    with pytest.raises(ValueError, match=r"component 'log_var' of the loss must be a scalar, got shape \(1,\)"):
        loss_parts({"total": torch.zeros(()), "log_var": torch.zeros(1)})
