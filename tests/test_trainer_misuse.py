"""Ordinary slips in using a trainer: each is one clear error before any training time is spent, or simply works; nothing earned is lost."""

import pytest
import torch
from torch import nn

from landmark_thesis.callbacks import Callback, CheckpointError
from landmark_thesis.losses import CombinedLoss, WeightedWingLoss, WingLoss
from landmark_thesis.model import create_model, model_from_weights
from landmark_thesis.trainer import LandmarkTrainer, ResumeError, describe_criterion


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
