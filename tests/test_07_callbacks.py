"""Tests of nbs/07_callbacks.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


from landmark_thesis import callbacks as chapter

# The notebook's cells see every name of its module; so do its tests.
globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})


# cell 0cd7740d
from types import SimpleNamespace

import pytest


# cell 44733120
def test_a_misspelt_event_is_refused_when_the_class_is_defined():
    try:
        type("Watcher", (Callback,), {"on_epoch_ends": lambda self: None})
    except TypeError as error:
        assert "Watcher defines on_epoch_ends" in str(error) and "on_epoch_end," in str(error)
    else:
        raise AssertionError("a misspelt event passed")
    assert all(callable(getattr(Callback, event)) for event in EVENTS)


# cell 0238d57f
def test_callbacks_run_by_order_and_their_errors_say_where():
    ran = []

    class Recorder(Callback):
        def __init__(self, name, order):
            self.name, self.order = name, order

        def on_fit_start(self, trainer, phase):
            ran.append(self.name)
            if self.name == "broken":
                raise ZeroDivisionError("inside")

    call_event([Recorder("c", 100), Recorder("a", -1), Recorder("b", 0), Recorder("b2", 0)], "on_fit_start", None, None)
    assert ran == ["a", "b", "b2", "c"]
    try:
        call_event([Recorder("broken", 0)], "on_fit_start", None, None)
    except ZeroDivisionError as error:
        assert error.__notes__ == ["raised inside the callback Recorder, event on_fit_start"]
    else:
        raise AssertionError("the error was swallowed")
    for wrong in ("on_end", "state_dict"):
        try:
            call_event([], wrong)
        except ValueError as error:
            assert "on_epoch_end" in str(error)
        else:
            raise AssertionError(f"{wrong} passed as an event")


# cell c91c80d8
def test_one_rule_of_comparison():
    inf, nan = float("inf"), float("nan")
    assert is_better(9.4, 10.0, min_delta=0.5) and not is_better(9.6, 10.0, min_delta=0.5)
    assert is_better(10.6, 10.0, "max", 0.5) and not is_better(10.4, 10.0, "max", 0.5)
    assert not is_better(10.0, 10.0) and not is_better(10.0, 10.0, "max")
    for mode in MODES:
        assert is_better(1e9, None, mode) and not any(is_better(score, None, mode) for score in (nan, inf, -inf))
    for wrong in ({"mode": "lowest"}, {"min_delta": -1.0}, {"min_delta": nan}):
        try:
            is_better(1.0, 2.0, **wrong)
        except ValueError as error:
            assert str(list(wrong.values())[0]) in str(error)
        else:
            raise AssertionError(f"{wrong} passed")
    try:
        monitored({"val_loss": 1.0, "val_error_px": 2.0}, "val_acc")
    except KeyError as error:
        assert "val_acc" in str(error) and "val_error_px, val_loss" in str(error)
    else:
        raise AssertionError("a missing metric passed")


# cell 705418ac
def test_early_stopping_on_scripts():
    def run(script, **settings):
        stopper = EarlyStopping(**settings)
        for epoch, score in enumerate(script, start=1):
            if stopper(score, epoch):
                return stopper, epoch
        return stopper, None

    stopper, stopped = run([5.0, 4.0, 4.1, 4.2, 4.3], patience=3)
    assert (stopped, stopper.best_score, stopper.best_epoch, stopper.counter) == (5, 4.0, 2, 3)
    assert stopper.reason == "no better val_error_px in 3 epochs (best 4, epoch 2)"
    assert run([5.0, 4.0, 4.1, 4.2, 3.9], patience=3)[1] is None
    assert run([0.5, 0.6, 0.59, 0.58], patience=2, mode="max")[1] == 4
    assert run([10.0, 9.6, 9.4], patience=2, min_delta=0.5)[0].best_score == 9.4
    assert run([10.0, 9.6, 9.6], patience=2, min_delta=0.5)[1] == 3
    for bad in (float("nan"), float("inf"), -float("inf")):
        with pytest.warns(RuntimeWarning, match="cannot be the best"):
            stopper, stopped = run([bad, 3.0, 2.0], patience=2)
        assert (stopper.best_score, stopper.best_epoch, stopped) == (2.0, 3, None)
    for wrong in ({"mode": "minimum"}, {"patience": -1}, {"min_delta": -0.1}):
        with pytest.raises(ValueError):
            EarlyStopping(**wrong)
    with pytest.raises(TypeError):
        EarlyStopping(patiense=3)


# cell 91d2d359
def test_early_stopping_goes_on_where_it_was():
    first = EarlyStopping(patience=3)
    for epoch, score in enumerate([5.0, 4.0, 4.5], start=1):
        first(score, epoch)
    second = EarlyStopping(patience=3)
    second.load_state_dict(first.state_dict())
    assert [second(4.6, 4), second(4.6, 5)] == [first(4.6, 4), first(4.6, 5)] == [False, True]
    assert second.state_dict() == first.state_dict()
    second.reset()
    assert second.state_dict() == EarlyStopping().state_dict()


# cell 68b56275
def test_checkpoints_are_plain_and_read_on_the_cpu(tmp_path):
    path = save_checkpoint(tmp_path / "new" / "a.pt", {"weights": torch.arange(3.0), "epoch": 2, "note": "x", "nested": {"rate": 0.5}})
    back = read_checkpoint(path)
    assert back["nested"] == {"rate": 0.5} and torch.equal(back["weights"], torch.arange(3.0))
    assert back["weights"].device.type == "cpu" and [file.name for file in path.parent.iterdir()] == ["a.pt"]
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        read_checkpoint(tmp_path / "missing.pt")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="damaged"):
        read_checkpoint(path)
    torch.save({"folder": Path("x")}, tmp_path / "objects.pt")  # an object: would need code from the file
    with pytest.raises(ValueError, match="nothing was loaded"):
        read_checkpoint(tmp_path / "objects.pt")


def test_what_is_written_can_be_read_back(tmp_path):
    relatives = {"float": np.float64(0.1), "small": np.float32(0.1), "whole": np.int64(3), "yes": np.bool_(True), "word": np.str_("x"),
                 "count": Counter({2: 1}), "lists": defaultdict(list, a=[np.int8(1)]), "pair": (1, np.float64(2.0)), np.int64(7): None}
    plain = {"float": 0.1, "small": float(np.float32(0.1)), "whole": 3, "yes": True, "word": "x", "count": {2: 1}, "lists": {"a": [1]},
             "pair": (1, 2.0), 7: None}
    back = read_checkpoint(save_checkpoint(tmp_path / "a.pt", relatives))
    assert back == plain and [type(value) for value in back.values()] == [type(value) for value in plain.values()]
    weights = nn.BatchNorm1d(2).state_dict()
    back = read_checkpoint(save_checkpoint(tmp_path / "a.pt", {"bytes": b"abc", "big": 2**70, "size": torch.Size([2]), "weights": weights}))
    assert (back["bytes"], back["big"], tuple(back["size"])) == (b"abc", 2**70, (2,)) and back["weights"]._metadata == weights._metadata
    assert isinstance(relatives["count"], Counter)  # the giver's own values are left alone
    before = (tmp_path / "a.pt").read_bytes()
    strangers = {"folder": Path("x"), "dtype": torch.float32, "set": {1, 2}, "array": np.zeros(2), "wide": np.longdouble(1), "day": np.datetime64("2026-01-01"),
                 "complex": 1j, "call": lambda: 0, "huge": 2**4000, "point": SimpleNamespace(x=1), "tensor": torch.zeros(2, dtype=torch.complex64),
                 "sparse": torch.zeros(2).to_sparse(), Path("key"): 1}
    for key, value in strangers.items():
        with pytest.raises(TypeError, match=f"extra.deep.{key}"):
            save_checkpoint(tmp_path / "a.pt", {"weights": weights, "extra": {"good": 1, "deep": {"good": [1.0], key: value}}})
        with pytest.raises(TypeError, match=r"history\[1\] is a"):
            save_checkpoint(tmp_path / "a.pt", {"history": [1, value if isinstance(key, str) else key]})
    assert (tmp_path / "a.pt").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


# cell a6799cf6
def test_checkpoint_keeps_best_and_last_and_nothing_else(tmp_path):
    net = nn.Linear(1, 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.25)
    keeper = ModelCheckpoint(tmp_path / "made", monitor="acc", mode="max", save_best_only=False)
    with pytest.raises(FileNotFoundError):
        keeper.load_best(net)
    written = []
    for epoch, score in enumerate([0.5, 0.7, 0.6], start=1):
        nn.init.constant_(net.weight, epoch)
        written.append(keeper(net, optimizer, epoch, {"acc": score}).name)
    assert written == ["best.pt", "best.pt", "last.pt"]
    assert sorted(path.name for path in keeper.save_dir.iterdir()) == ["best.pt", "last.pt"]
    assert read_checkpoint(keeper.save_dir / "last.pt")["model_state_dict"]["weight"].item() == 3
    other, other_optimizer = nn.Linear(1, 1), torch.optim.Adam(nn.Linear(1, 1).parameters(), lr=1.0)
    contents = keeper.load_best(other, other_optimizer)
    assert other.weight.item() == 2 and contents["metrics"] == {"acc": 0.7} and contents["best_score"] == 0.7
    assert other_optimizer.param_groups[0]["lr"] == 0.25


def test_checkpoint_refuses_what_would_mislead(tmp_path):
    net = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="mode must be"):
        ModelCheckpoint(tmp_path, mode="auto")
    keeper = ModelCheckpoint(tmp_path)
    with pytest.raises(KeyError, match="val_loss.*val_error_px"):
        keeper(net, None, 1, {"val_error_px": 3.0})
    for bad in (float("nan"), float("inf"), -float("inf")):
        with pytest.warns(RuntimeWarning, match="val_loss is"):
            assert keeper(net, None, 1, {"val_loss": bad}) is None
    assert keeper.best_score is None and not keeper.best_path.exists()
    assert keeper(net, None, 2, {"val_loss": 5.0}) == keeper.best_path
    with pytest.raises(ValueError, match="without an optimiser"):
        keeper.load_best(net, torch.optim.Adam(net.parameters()))
    trainer = SimpleNamespace(save_dir=tmp_path, phases_run=[])
    with pytest.raises(ValueError, match="give ModelCheckpoint another"):
        keeper.on_fit_start(trainer, None)


def test_checkpoint_keeps_its_best_between_phases_and_forgets_it_in_a_new_run(tmp_path):
    keeper = ModelCheckpoint(tmp_path)
    keeper(nn.Linear(1, 1), None, 1, {"val_loss": 5.0})
    keeper.on_fit_start(SimpleNamespace(save_dir=None, phases_run=["phase1", "phase2"]), SimpleNamespace(name="phase2"))
    assert keeper.best_score == 5.0
    keeper.on_fit_start(SimpleNamespace(save_dir=None, phases_run=["phase1"]), SimpleNamespace(name="phase1"))
    assert keeper.best_score is None


def test_checkpoint_never_writes_over_the_best_of_an_earlier_run(tmp_path):
    net = nn.Linear(1, 1)
    first = ModelCheckpoint(tmp_path, save_best_only=False)
    first(net, None, 7, {"val_loss": 1.0})
    state = first.state_dict()
    worse = ModelCheckpoint(tmp_path, save_best_only=False)  # a new run, which starts far worse
    for epoch in (1, 2):
        worse(net, None, epoch, {"val_loss": 5.0 - epoch})
    assert read_checkpoint(tmp_path / "earlier-1" / "best.pt")["best_score"] == 1.0 and (tmp_path / "earlier-1" / "last.pt").exists()
    assert read_checkpoint(worse.best_path)["epoch"] == 2
    worse.reset()
    worse(net, None, 3, {"val_loss": 9.0})
    assert read_checkpoint(tmp_path / "earlier-2" / "best.pt")["epoch"] == 2
    resumed = ModelCheckpoint(tmp_path)  # one that goes on writes on
    resumed.load_state_dict(state)
    resumed(net, None, 8, {"val_loss": 0.5})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "earlier-1", "earlier-2", "last.pt"]
    assert move_aside(tmp_path / "earlier-1", ["no.pt"]) is None


def test_checkpoint_compares_as_early_stopping_does(tmp_path):
    script = [10.0, 9.6, 9.4, 9.2, 8.7, 9.9]
    keeper, stopper = ModelCheckpoint(tmp_path, min_delta=0.5), EarlyStopping(min_delta=0.5)
    for epoch, score in enumerate(script, start=1):
        keeper(nn.Linear(1, 1), None, epoch, {"val_loss": score})
        stopper(score, epoch)
        assert (keeper.best_score, keeper.best_epoch) == (stopper.best_score, stopper.best_epoch)
    assert keeper.best_score == 8.7


# cell 5c6e172d
def test_schedulers_step_when_told():
    def adapter(make, **settings):
        optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
        callback = LRSchedulerCallback(make(optimizer), **settings)
        optimizer.step()
        return callback

    def halving(optimizer):
        return torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)

    by_epoch, by_batch = adapter(halving), adapter(halving, step_on="batch")
    for callback in (by_epoch, by_batch):
        callback.step_epoch()
        callback.step_epoch()
        callback.step_batch()
    assert (by_epoch.get_last_lr(), by_batch.get_last_lr()) == ([0.25], [0.5])
    watched = adapter(lambda o: ReduceLROnPlateau(o, factor=0.1, patience=0), monitor="val_loss")
    watched.step_epoch({"val_loss": 1.0})
    watched.step_epoch({"val_loss": 1.0})
    assert watched.get_last_lr() == [0.1]
    with pytest.warns(RuntimeWarning, match="skips this epoch"):
        watched.step_epoch({"val_loss": float("nan")})
    assert watched.get_last_lr() == [0.1]
    with pytest.raises(KeyError, match="val_loss.*there are: val_error_px"):
        watched.step_epoch({"val_error_px": 1.0})
    with pytest.raises(ValueError, match="monitor="):
        adapter(ReduceLROnPlateau)
    with pytest.raises(ValueError, match="step_on must be"):
        adapter(halving, step_on="step")
    with pytest.raises(ValueError, match="there is none yet"):
        LRSchedulerCallback(halving).step_epoch()


SCHEDULERS = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda epoch: 0.9**epoch),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda epoch: 0.9),
    "StepLR": lambda s, o: s.StepLR(o, 2),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [2, 4, 4]),
    "ConstantLR": lambda s, o: s.ConstantLR(o),
    "LinearLR": lambda s, o: s.LinearLR(o),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.5),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 6, 2.0),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 4),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 2),
    "ReduceLROnPlateau": lambda s, o: s.ReduceLROnPlateau(o, patience=0),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.1, 1.0, step_size_up=2),
    "CyclicLR with a scale": lambda s, o: s.CyclicLR(o, 0.1, 1.0, step_size_up=2, scale_fn=lambda x: 0.9**x),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 1.0, total_steps=20),
    "SequentialLR": lambda s, o: s.SequentialLR(o, [s.LinearLR(o), s.MultiStepLR(o, [1])], [3]),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler([s.LinearLR(o), s.MultiStepLR(o, [2, 4])]),
}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_every_scheduler_of_torch_goes_on_from_a_checkpoint(name, tmp_path):
    def begin():
        optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0, momentum=0.9)
        return LRSchedulerCallback(SCHEDULERS[name](torch.optim.lr_scheduler, optimizer), monitor="val_error_px")

    def go_on(callback, epochs):
        rates = []
        for _ in range(epochs):
            callback.scheduler.optimizer.step()
            callback.step_epoch({"val_error_px": np.float64(3.0)})
            rates += callback.get_last_lr()
        return rates

    for done in (0, 1, 3):
        whole, resumed = begin(), begin()
        go_on(whole, done)
        state = {"callback": whole.state_dict(), "optimizer": whole.scheduler.optimizer.state_dict()}
        back = read_checkpoint(save_checkpoint(tmp_path / "last.pt", state))
        resumed.load_state_dict(back["callback"])
        resumed.scheduler.optimizer.load_state_dict(back["optimizer"])
        assert go_on(resumed, 5) == go_on(whole, 5)


def test_a_scheduler_of_another_optimiser_is_refused():
    mine, other = (torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0) for _ in range(2))
    trainer, phase = SimpleNamespace(optimizer=mine), SimpleNamespace(name="p", schedule="constant")
    with pytest.raises(ValueError, match="another optimiser"):
        LRSchedulerCallback(torch.optim.lr_scheduler.StepLR(other, 1)).on_fit_start(trainer, phase)
    with pytest.raises(ValueError, match="two schedules"):
        LRSchedulerCallback(lambda o: torch.optim.lr_scheduler.StepLR(o, 1)).on_fit_start(trainer, SimpleNamespace(name="p", schedule="cosine"))
    made = LRSchedulerCallback(lambda o: torch.optim.lr_scheduler.StepLR(o, 1, gamma=0.5))
    made.on_fit_start(trainer, phase)
    mine.step()
    made.step_epoch()
    assert mine.param_groups[0]["lr"] == 0.5


# cell 94c7ab3b
def _scripted_trainer(**more):
    """Stands for a trainer: what callbacks read of one."""
    return SimpleNamespace(**{"batches": 2, "unit": "px@224", "best_phase": "phase1", "best_epoch": 2, "history": {}, "image_size": 224, **more})


def _scripted_epochs(callbacks, trainer, errors, phase_name="phase1"):
    """Play a phase with these validation errors to the callbacks, as the trainer would."""
    phase = SimpleNamespace(name=phase_name, epochs=len(errors), schedule="constant", select="best")
    columns = trainer.history.setdefault(phase_name, {})
    for epoch, error in enumerate(errors, start=1):
        call_event(callbacks, "on_epoch_start", trainer, phase, epoch)
        call_event(callbacks, "on_batch_end", trainer, phase, epoch, 1)
        metrics = {"train_loss": 0.5, "val_loss": 0.25, "train_error_px": error + 1, "val_error_px": error, "lr_head": 1e-3}
        for name, value in metrics.items():
            columns.setdefault(name, []).append(value)
        call_event(callbacks, "on_epoch_end", trainer, phase, epoch, metrics)


def test_progress_is_a_line_an_epoch_and_a_bar_only_where_wanted():
    plain, moving = io.StringIO(), io.StringIO()
    _scripted_epochs([Progress(plain), Progress(moving, bar=True)], _scripted_trainer(), [9.0, 8.0])
    assert plain.getvalue().splitlines() == [
        "phase1   1/2  loss 0.5000 val 0.2500  train 10.00 val 9.00 px@224  lr head 1.0e-03",
        "phase1   2/2  loss 0.5000 val 0.2500  train 9.00 val 8.00 px@224  lr head 1.0e-03  best",
    ]
    assert "batch" in moving.getvalue() and "\r" in moving.getvalue() and "\r" not in plain.getvalue()


# cell 5bfcf072
def test_live_curves_draw_once_an_epoch():
    pictures = []
    _scripted_epochs([LiveCurves(pictures.append)], _scripted_trainer(), [9.0, 8.0, 7.0])
    assert len(pictures) == 3 and all(picture.startswith(b"\x89PNG") for picture in pictures)
    drawn = draw_history({"phase1": {"train_error_px": [3.0, 2.0], "val_error_px": [4.0, 3.0], "lr_head": [1e-3, 1e-3]}}, "px@299")
    errors, rates = drawn.axes
    assert "px@299" in errors.get_ylabel() and list(errors.lines[1].get_ydata()) == [4.0, 3.0] and len(rates.lines) == 1
    assert [line.get_markerfacecolor() for line in errors.lines] == ["white", "C0"]  # training hollow, validation filled
    assert all(tick == round(tick) for axes in drawn.axes for tick in axes.get_xticks())
    assert draw_history({}).axes[0].lines[:] == []


# cell 8c1fb413
def test_the_log_is_the_history(tmp_path):
    path = tmp_path / "run" / "history.csv"
    trainer = _scripted_trainer()
    _scripted_epochs([CSVLogger(path)], trainer, [9.1, 8.0])
    _scripted_epochs([CSVLogger(path)], trainer, [1 / 3], "phase2")  # a resumed run: another logger, the same history
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [(row["phase"], row["epoch"]) for row in rows] == [("phase1", "1"), ("phase1", "2"), ("phase2", "1")]
    assert [float(row["val_error_px"]) for row in rows] == [9.1, 8.0, 1 / 3]
    assert history_rows({"a": {"x": [1.0, 2.0], "y": [3.0]}})[1] == {"phase": "a", "epoch": 2, "x": 2.0}
