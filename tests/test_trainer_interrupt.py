"""What people do to a trainer in a notebook, and what goes wrong in a training: what is left is usable, and one error says what to do."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from landmark_thesis import trainer as module
from landmark_thesis.augment import Augmentation
from landmark_thesis.callbacks import (
    Callback,
    LiveCurves,
    LRSchedulerCallback,
    ModelCheckpoint,
    draw_history,
    read_checkpoint,
    save_checkpoint,
)
from landmark_thesis.data import LandmarkDataset, batches, collate_landmarks, phantom_data
from landmark_thesis.losses import WingLoss
from landmark_thesis.model import create_model
from landmark_thesis.trainer import (
    FiniteGuard,
    LandmarkTrainer,
    NonFiniteLossError,
    Phase,
    out_of_memory,
    validation_pass,
)

DATA, HELD_OUT = phantom_data(12, seed=1, size=32), phantom_data(6, seed=2, size=32)


def loaders():
    return batches(DATA, 4, shuffle=True, seed=3, augmentation=Augmentation()), batches(HELD_OUT, 6), WingLoss()


def a_trainer(folder=None, callbacks=(), quiet=True, seed=7):
    torch.manual_seed(0)
    model = create_model("tiny", weights="none", hidden=8, dropout=0.3)
    return LandmarkTrainer(model, "cpu", folder, callbacks=callbacks, quiet=quiet, precision="fp32", seed=seed)


class CtrlC(Callback):
    """The stop button, once, after a batch."""

    def __init__(self, phase, epoch, batch):
        self.at = (phase, epoch, batch)

    def on_batch_end(self, trainer, phase, epoch, batch):
        if (phase.name, epoch, batch) == self.at:
            self.at = None
            raise KeyboardInterrupt


def weights_of(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("at", [("phase1", 1, 2), ("phase1", 2, 1), ("phase2", 1, 3), ("phase2", 3, 2)], ids=str)
def test_after_the_stop_button_the_trainer_is_usable_and_the_same_cell_goes_on(tmp_path, at):
    trainer = a_trainer(tmp_path / "stopped", [CtrlC(*at)])

    def cell(resume):
        return trainer.train_full(*loaders(), 2, 3, phase2_backbone_lr=1e-3, resume=resume)

    with pytest.raises(KeyboardInterrupt):
        cell(resume=True)  # as written in a notebook that is run again and again: nothing saved yet is no error
    assert len(trainer.history[at[0]].get("val_loss", [])) == at[1] - 1
    assert not trainer.model.training and not any(module.training for module in trainer.model.modules())
    images = DATA.images[:2, None].float() / 255
    with torch.no_grad():
        assert torch.equal(trainer.model(images), trainer.model(images)), "predictions under dropout"
    if trainer.best_state is not None:
        assert same(weights_of(trainer), trainer.best_state)
        assert trainer.validate(*loaders()[1:])["val_error_px"] == trainer.best_error_px
    draw_history(trainer.history)
    trainer.save_model(tmp_path / "so-far.pt")
    cell(resume=True)
    peaceful = a_trainer(tmp_path / "peaceful")
    peaceful.train_full(*loaders(), 2, 3, phase2_backbone_lr=1e-3)
    assert trainer.history == peaceful.history and same(weights_of(trainer), weights_of(peaceful))
    assert (trainer.best_phase, trainer.best_epoch, trainer.best_error_px) == (peaceful.best_phase, peaceful.best_epoch, peaceful.best_error_px)


def test_starting_over_is_a_new_model_and_a_phase_begun_again_says_from_where(tmp_path, capsys):
    peaceful = a_trainer(tmp_path / "a")
    peaceful.train_full(*loaders(), 1, 2)
    stopped = a_trainer(tmp_path / "b", [CtrlC("phase2", 2, 1)])
    with pytest.raises(KeyboardInterrupt):
        stopped.train_full(*loaders(), 1, 2)
    over = a_trainer(tmp_path / "b")  # both cells again: model and trainer, then training
    over.train_full(*loaders(), 1, 2)
    assert over.history == peaceful.history and same(weights_of(over), weights_of(peaceful))
    capsys.readouterr()
    over.quiet = False
    before = weights_of(over)
    over.train_phase1(*loaders(), epochs=1, lr=1e-12)
    assert "phase1 was run before: it begins again from the weights that the model holds now" in capsys.readouterr().out
    backbone = {name for name in before if name.startswith("backbone")}
    assert all(torch.equal(before[name], over.model.state_dict()[name]) for name in backbone)
    assert list(over.history) == ["phase1", "phase2"] and over.phases_run == ["phase1"]


def test_the_stop_button_before_the_first_batch_leaves_no_half_begun_phase(tmp_path):
    class Impatient(Callback):
        def on_fit_start(self, trainer, phase):
            if phase.name == "phase2" and not self.heard:
                raise KeyboardInterrupt

        def on_exception(self, trainer, phase, error):
            self.heard = True

        heard = False

    trainer = a_trainer(tmp_path / "a", [Impatient()])
    with pytest.raises(KeyboardInterrupt):
        trainer.train_full(*loaders(), 1, 1)
    assert trainer.run is None and not trainer.model.training and same(weights_of(trainer), trainer.best_state)
    assert trainer.history["phase2"] == {} and trainer.validated_model is trainer.model
    trainer.train_full(*loaders(), 1, 1, resume=True)
    peaceful = a_trainer(tmp_path / "b")
    peaceful.train_full(*loaders(), 1, 1)
    assert trainer.history == peaceful.history and same(weights_of(trainer), weights_of(peaceful))


def test_cells_out_of_order_break_nothing(tmp_path):
    trainer = a_trainer(tmp_path)
    assert trainer.validate(*loaders()[1:])["val_error_px"] > 0  # before any training
    trainer.save_model(tmp_path / "untrained.pt")
    draw_history(trainer.history)
    trainer.train_phase2(*loaders(), epochs=1)
    trainer.train_phase1(*loaders(), epochs=1)
    assert trainer.phases_run == ["phase2", "phase1"] and trainer.best_state is not None
    trainer.train_phase1(*loaders(), epochs=2)
    trainer.train_phase2(*loaders(), epochs=1)
    assert [len(trainer.history[name]["val_loss"]) for name in ("phase1", "phase2")] == [2, 1]
    trainer.load_model(tmp_path / "untrained.pt")
    assert trainer.best_state is None and trainer.history == {}
    trainer.train_full(*loaders(), 1, 1)
    assert same(weights_of(trainer), trainer.best_state)


def test_a_phase_that_is_run_again_forgets_the_best_of_its_first_time(tmp_path):
    """Else the file would stay at an epoch that is no longer in the history."""
    keeper = ModelCheckpoint(tmp_path / "kept", "val_error_px")
    trainer = a_trainer(tmp_path / "run", [keeper])
    trainer.train_full(*loaders(), 1, 2, phase2_backbone_lr=1e-3, phase2_head_lr=3e-3)
    keeper.best_score, keeper._best_phase = 1e-6, "phase2"  # better than anything to come
    trainer.train_phase2(*loaders(), epochs=1)
    assert keeper.best_score == trainer.history["phase2"]["val_error_px"][0] and keeper.best_epoch == 1


def test_a_keeper_that_was_resumed_before_it_wrote_anything_moves_an_earlier_runs_files_aside(tmp_path):
    model = torch.nn.Linear(2, 1)
    ModelCheckpoint(tmp_path)(model, None, 1, {"val_loss": 3.0})
    earlier = (tmp_path / "best.pt").read_bytes()
    begun, resumed = ModelCheckpoint(tmp_path), ModelCheckpoint(tmp_path)
    with pytest.warns(RuntimeWarning, match="val_loss is nan"):
        begun(model, None, 1, {"val_loss": float("nan")})
    resumed.load_state_dict(begun.state_dict())
    resumed(model, None, 2, {"val_loss": 2.0})
    assert (tmp_path / "earlier-1" / "best.pt").read_bytes() == earlier
    going_on = ModelCheckpoint(tmp_path)
    going_on.load_state_dict(resumed.state_dict())
    going_on(model, None, 3, {"val_loss": 1.0})
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["earlier-1"]


def test_live_curves_appear_in_the_cell_that_runs(monkeypatch):
    shown = []

    class Handle:
        def __init__(self, cell):
            self.cell = cell

        def update(self, picture):
            shown.append(("update", self.cell))

    shell = SimpleNamespace(kernel=object(), execution_count=4)

    def display(picture, display_id):
        shown.append(("new", shell.execution_count))
        return Handle(shell.execution_count)

    pytest.importorskip("IPython.display", reason="needs IPython")
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    monkeypatch.setattr("IPython.display.display", display)
    trainer = SimpleNamespace(history={}, unit="px@224")
    curves = LiveCurves()
    for cell in (4, 4, 5, 5):  # one training of two epochs, and the same cell again
        shell.execution_count = cell
        curves.on_epoch_end(trainer, None, 1, {})
    assert shown == [("new", 4), ("update", 4), ("new", 5), ("update", 5)]


class RootOfZero(nn.Module):
    """A finite loss without a gradient: the root of a distance that is 0 for one picture."""

    def __init__(self, name):
        super().__init__()
        self.calls, self.at = 0, name

    def forward(self, output, target):
        self.calls += torch.is_grad_enabled()
        difference = output - target
        return (difference * float(self.calls != self.at)).square().sum().sqrt()


@pytest.mark.parametrize("deferred", [False, True])
def test_a_gradient_that_is_not_finite_names_its_own_batch_and_the_best_is_kept(tmp_path, monkeypatch, deferred):
    """At once, as on a CPU, and by the flag on the device that is read once an epoch."""
    monkeypatch.setattr(module, "FiniteGuard", lambda optimizer, deferred: FiniteGuard(optimizer, wanted))
    wanted, trainer = deferred, a_trainer(tmp_path)
    train, val, _ = loaders()
    train.epoch = 1
    names = [meta["image_name"] for _, _, meta in train][1]  # batch 2 of epoch 2; the plain order, as the loop counts epochs
    with pytest.raises(NonFiniteLossError, match=r"the gradient is not finite at batch 2 \(pictures: " + ", ".join(names)):
        trainer.train_phase1(train, val, RootOfZero(5), epochs=4)  # 3 batches an epoch
    assert len(trainer.history["phase1"]["val_loss"]) == 1
    assert same(weights_of(trainer), trainer.best_state) and all(torch.isfinite(value).all() for value in trainer.best_state.values())


def test_a_missing_landmark_and_a_criterion_that_does_not_mask_names_the_picture():
    data = phantom_data(8, seed=5, size=32)
    data.points[3, 2, 0] = float("nan")
    with pytest.raises(NonFiniteLossError, match=r"a landmark is missing \(NaN\) in phantom-000003: take a criterion that leaves missing points out"):
        a_trainer().train_phase1(batches(data, 4), loaders()[1], nn.MSELoss(), epochs=1)
    a_trainer().train_phase1(batches(data, 4), loaders()[1], WingLoss(), epochs=1)


FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("CUDA error: out of memory"),  # of a kernel, as an AcceleratorError, which older versions of torch lack
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GiB)"),
]


@pytest.mark.parametrize("error", FULL, ids=str)
@pytest.mark.parametrize("where", ["training", "validation", "loading"])
def test_out_of_memory_names_the_batch_and_what_to_do(where, error):
    trainer = a_trainer()
    train, val, criterion = loaders()
    assert out_of_memory(error)

    def full(*_):
        raise error

    if where == "loading":
        trainer.compute = SimpleNamespace(batch=full, device=torch.device("cpu"), world=trainer.compute.world)
        words = "the first batch of val_loader; try a smaller batch size"
        with pytest.raises(torch.OutOfMemoryError, match=words):
            validation_pass(trainer.model, val, criterion, trainer.compute)
        return
    real = trainer.model.forward
    trainer.model.forward = lambda images: full() if trainer.model.head.training == (where == "training") else real(images)
    words = "batches of 4 of train_loader" if where == "training" else "batches of 6 of val_loader"
    with pytest.raises(torch.OutOfMemoryError, match=f"{words}; try a smaller batch size"):
        trainer.train_phase1(train, val, criterion, epochs=1)


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: an illegal memory access was encountered"), ValueError("error: out of memory, says a loader"),
                                   RuntimeError("mat1 and mat2 shapes cannot be multiplied"), OSError("disk")], ids=str)
@pytest.mark.parametrize("where", ["training", "validation"])
def test_other_errors_are_not_taken_for_a_full_card(where, error):
    trainer = a_trainer()
    train, val, criterion = loaders()
    real = trainer.model.forward

    def fails(images):
        if trainer.model.head.training == (where == "training"):
            raise error
        return real(images)

    trainer.model.forward = fails
    with pytest.raises(type(error)) as caught:
        trainer.train_phase1(train, val, criterion, epochs=1)
    assert caught.value is error and not out_of_memory(error)


def test_worker_processes_change_no_number():
    def run(workers):
        torch.manual_seed(0)
        order = torch.Generator().manual_seed(4)
        train = DataLoader(LandmarkDataset(DATA), 4, shuffle=True, num_workers=workers, collate_fn=collate_landmarks, generator=order)
        trainer = a_trainer()
        trainer.fit([Phase("phase1", 2, {"head": 1e-3}, trainable="head")], train, batches(HELD_OUT, 6), WingLoss())
        return trainer

    alone, helped = run(0), run(2)
    assert alone.history == helped.history and same(weights_of(alone), weights_of(helped))


class Keeps(Callback):
    """A callback with a memory of any kind."""

    def __init__(self, memory):
        self.memory = memory

    def state_dict(self):
        return {"memory": self.memory}

    def load_state_dict(self, state):
        self.memory = state["memory"]


def by_milestones():
    return LRSchedulerCallback(lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2, 2]))


def numbers_of_numpy():
    return [by_milestones(), Keeps({"scores": [np.float64(1.5)], "count": np.int64(3), "seen": np.bool_(True), "kinds": Counter("aab")})]


def test_relatives_of_plain_values_are_saved_and_the_run_goes_on(tmp_path):
    def trainer(folder, *more):
        made = a_trainer(folder, [*numbers_of_numpy(), *more])
        made.extra = {"v": np.float64(1.5), "n": np.int64(3)}
        return made

    phase = [Phase("phase1", np.int64(4), {"head": np.float64(1e-3)}, trainable="head")]
    stopped = trainer(tmp_path / "stopped", CtrlC("phase1", 3, 1))
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(phase, *loaders())
    assert read_checkpoint(tmp_path / "stopped" / "best.pt")["extra"] == {"v": 1.5, "n": 3}
    resumed, whole = trainer(tmp_path / "stopped"), trainer(None)
    assert resumed.fit(phase, *loaders(), resume=True) == whole.fit(phase, *loaders())
    assert resumed.history["phase1"]["lr_head"] == pytest.approx([1e-3, 1e-4, 1e-6, 1e-6]) and same(weights_of(resumed), weights_of(whole))
    assert resumed.callbacks[1].memory == numbers_of_numpy()[1].memory


@pytest.mark.parametrize("place, entry", [("callback", "callbacks.Keeps.memory"), ("extra", "extra.deep.folder"), ("config", "architecture.config.kind")])
def test_what_could_not_be_read_back_is_told_before_the_first_step(tmp_path, place, entry):
    steps = []

    class Counts(Callback):
        def on_batch_end(self, trainer, phase, epoch, batch):
            steps.append(batch)

    trainer = a_trainer(tmp_path, [Keeps(Path("x") if place == "callback" else 1), Counts()])
    if place == "extra":
        trainer.extra = {"good": [1], "deep": {"folder": Path("x")}}
    if place == "config":
        trainer.model.config = {**trainer.model.config, "kind": torch.float32}
    with pytest.raises(TypeError, match=f"^{entry} is a "):
        trainer.train_phase1(*loaders(), epochs=1)
    assert steps == [] and list(tmp_path.iterdir()) == []


def test_a_memory_that_turns_unreadable_later_costs_no_saved_epoch(tmp_path):
    class Turns(Keeps):
        def on_epoch_end(self, trainer, phase, epoch, metrics):
            self.memory = {epoch} if epoch == 2 else epoch  # a set

    with pytest.raises(TypeError, match="callbacks.Turns.memory is a set"):
        a_trainer(tmp_path, [Turns(0)]).train_phase1(*loaders(), epochs=3)
    assert read_checkpoint(tmp_path / "last.pt")["running"]["epoch"] == 1


def test_a_run_whose_first_start_failed_is_resumed_from_its_own_files(tmp_path):
    class Refuses(Callback):
        def on_fit_start(self, trainer, phase):
            raise RuntimeError("not today")

    train, val, criterion = loaders()
    whole = a_trainer(tmp_path / "whole").train_phase1(train, val, criterion, epochs=4)
    with pytest.raises(KeyboardInterrupt):
        a_trainer(tmp_path / "run", [CtrlC("phase1", 3, 1)]).train_phase1(*loaders(), epochs=4)
    again = a_trainer(tmp_path / "run", [Refuses()])
    with pytest.raises(RuntimeError, match="not today"):
        again.train_phase1(*loaders(), epochs=4)
    again.callbacks.clear()
    assert again.train_phase1(*loaders(), epochs=4, resume=True) == whole
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["best.pt", "last.pt"]


def test_a_validation_loader_with_chance_of_its_own_is_told_the_epoch_so_that_a_resumed_run_is_the_same(tmp_path):
    def pair():
        return batches(DATA, 4, shuffle=True, seed=3), batches(HELD_OUT, 6, seed=5, augmentation=Augmentation()), WingLoss()

    whole = a_trainer(tmp_path / "whole").train_phase1(*pair(), epochs=4)
    assert len(set(whole["val_loss"])) == 4
    with pytest.raises(KeyboardInterrupt):
        a_trainer(tmp_path / "run", [CtrlC("phase1", 3, 1)]).train_phase1(*pair(), epochs=4)
    assert a_trainer(tmp_path / "run").train_phase1(*pair(), epochs=4, resume=True) == whole


@pytest.mark.parametrize("broken", ["save_state", "save_best"])
def test_a_disk_that_fills_at_the_very_end_leaves_the_best_weights_and_tells_the_callbacks(tmp_path, monkeypatch, broken):
    heard = []

    class Hears(Callback):
        def on_exception(self, trainer, phase, error):
            heard.append(type(error))

    trainer = a_trainer(tmp_path, [Hears()])
    peaceful = a_trainer()
    history = peaceful.train_phase1(*loaders(), epochs=4)
    monkeypatch.setattr(module.ResumableState, "saving_is_due", False)  # large files wait for the end

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.ResumableState, broken, full)
    with pytest.raises(OSError, match="No space left"):
        trainer.train_phase1(*loaders(), epochs=4)
    assert heard == [OSError] and same(weights_of(trainer), weights_of(peaceful)) and not trainer.model.training
    assert trainer.history["phase1"] == history


@pytest.mark.parametrize(("at", "told"), [(2, {"phase1"}), (3, set())])
def test_a_stop_in_the_last_epoch_stops_nothing(at, told):
    class Asks(Callback):
        def on_epoch_end(self, trainer, phase, epoch, metrics):
            if epoch == at:
                trainer.request_stop("enough")

    trainer = a_trainer(callbacks=[Asks()])
    assert len(trainer.train_phase1(*loaders(), epochs=3)["val_loss"]) == at and trainer.stopped.keys() == told


class LostDevice(Callback):
    """From epoch 3 on the device fails: once, or whenever the model's weights are touched; `heard` is what the callbacks are told."""

    def __init__(self, stays):
        self.stays, self.heard = stays, []

    def on_batch_end(self, trainer, phase, epoch, batch):
        if epoch == 3:
            def fails(*_, **__):
                raise RuntimeError("CUDA error: an illegal memory access was encountered, again")

            if self.stays:
                trainer.model.load_state_dict = trainer.model.state_dict = fails
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def on_exception(self, trainer, phase, error):
        self.heard.append(error)


@pytest.mark.parametrize("best", [True, False], ids=["after an epoch", "before any"])
@pytest.mark.parametrize("stays", [False, True], ids=["once", "stays"])
def test_a_lost_device_costs_neither_the_best_weights_nor_the_word_of_why(tmp_path, stays, best):
    lost = LostDevice(stays)
    trainer = a_trainer(tmp_path, [lost])
    trainer.next_saving = float("inf")  # as after a large file: the best weights wait on the CPU
    began = weights_of(trainer)
    if not best:
        trainer.record = lambda *_: None
    with pytest.raises(RuntimeError, match=r"illegal memory access was encountered\n") as caught:
        trainer.fit(Phase("phase1", 4, {"head": 1e-3}, trainable="head"), *loaders())
    assert lost.heard == [caught.value] and not any(part.training for part in trainer.model.modules())
    assert (tmp_path / "best.pt").exists() == best
    if best:
        assert same(read_checkpoint(tmp_path / "best.pt")["model_state_dict"], trainer.best_state)
    if not stays:
        assert same(weights_of(trainer), trainer.best_state if best else began)


def test_after_an_error_the_guard_asks_the_device_nothing():
    class Lost:
        def __int__(self):
            raise RuntimeError("CUDA error: device lost")

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    with pytest.raises(RuntimeError, match="the first") as caught, FiniteGuard(optimizer, deferred=True) as guard:
        guard.look(torch.zeros(()), 1, [], torch.zeros(1, 2))
        guard._first = Lost()
        raise RuntimeError("the first")
    assert caught.value.__context__ is None and not hasattr(optimizer, "found_inf")


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="a kind of error that torch has from 2.8 on")
def test_a_device_that_fails_while_a_file_is_made_is_not_taken_for_what_cannot_be_stored(tmp_path, monkeypatch):
    def lost(*_):
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(torch, "save", lost)
    with pytest.raises(torch.AcceleratorError, match="launch failure"):
        save_checkpoint(tmp_path / "last.pt", {"model": torch.zeros(1)})
