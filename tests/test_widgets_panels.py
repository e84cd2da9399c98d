"""Panels when something is missing or somebody interrupts: no anywidget, and the kernel's interrupt during a live training."""

import os
import signal
import sys
import threading
import time

import ipywidgets
import numpy as np
import pytest
import torch
from test_16_widgets import Doubles

from landmark_thesis.trainer import LandmarkTrainer, Phase
from landmark_thesis.widgets import AnnotationSession, LiveTraining, _canvas_class, annotator

posix = pytest.mark.skipif(os.name != "posix", reason="sends a signal to the main thread")


class Pictures:
    """A loader of two batches; before its batch of number `at` the kernel is interrupted, as its stop button does it."""

    def __init__(self, at=None, wait=0.0):
        self.at, self.wait, self.given = at, wait, 0

    def __len__(self):
        return 2

    def __iter__(self):
        for _ in range(2):
            self.given += 1
            if self.given == self.at:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(self.wait)
            yield torch.full((2, 1, 8, 8), 0.5), torch.full((2, 4), 0.25), {"image_name": ["a", "b"]}


def live(loader, epochs):
    phases = [Phase("phase1", epochs, {"head": 1e-2}, trainable="head")]
    return LiveTraining(LandmarkTrainer(Doubles(), "cpu", save_dir=None, quiet=True, precision="fp32"), phases, loader, Pictures(), torch.nn.functional.mse_loss)


def holds_the_best(panel):
    held, best = panel.trainer.model.state_dict(), panel.trainer.best_state
    return all(torch.equal(held[name], best[name]) for name in best)


def usable_afterwards(panel):
    """The buttons are as before, and it trains again, in the foreground and in the thread."""
    assert not panel.running and panel.stop_button.disabled and not panel.start_button.disabled and not panel.trainer.callbacks
    panel.phases = [Phase("phase1", 2, {"head": 1e-2}, trainable="head")]
    panel.loaders = (Pictures(), Pictures())
    assert len(panel.run()["phase1"]["val_error_px"]) == 2
    assert len(panel.start().wait(60)["phase1"]["val_error_px"]) == 2
    assert panel.error is None and panel.message.value == "" and panel.outcome.startswith("finished")


@posix
def test_an_interrupt_of_a_foreground_training_keeps_the_best_and_the_panel():
    panel = live(Pictures(at=7), epochs=1000)  # in the fourth epoch
    with pytest.raises(KeyboardInterrupt):
        panel.run()
    assert len(panel.trainer.history["phase1"]["val_error_px"]) == 3 and panel.outcome.startswith("ended by KeyboardInterrupt: the model holds the weights of phase1, epoch")
    assert holds_the_best(panel)
    usable_afterwards(panel)


@posix
def test_an_interrupt_of_a_wait_stops_the_thread_and_keeps_the_best():
    panel = live(Pictures(at=7, wait=0.005), epochs=1000)
    panel.start()
    with pytest.raises(KeyboardInterrupt):
        panel.wait(60)
    assert 3 <= len(panel.trainer.history["phase1"]["val_error_px"]) < 1000 and panel.outcome.startswith("stopped by hand in phase1")
    assert holds_the_best(panel) and panel.error is None
    assert panel.wait() is panel.trainer.history  # a second wait is no second interrupt
    usable_afterwards(panel)


def test_without_anywidget_there_is_one_line_and_a_still_picture(monkeypatch, tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "chest.png"), np.full((64, 64), 90, np.uint8))
    monkeypatch.setitem(sys.modules, "anywidget", None)  # as if it were not installed
    _canvas_class.cache_clear()
    session = AnnotationSession([tmp_path], tmp_path / "mine.csv")
    panel = annotator(session)
    _canvas_class.cache_clear()
    assert isinstance(panel.widget, ipywidgets.HTML) and panel.session is session
    text, picture = panel.widget.value.split("<img")
    assert text.count("pip install") == 1 and "landmark_thesis[widgets]" in text and "Traceback" not in text
    assert "data:image/png;base64," in picture and 'alt="' in picture
    assert {"image/png", "image/jpeg"} & panel._repr_mimebundle_().keys()  # and where no kernel runs
    session.do({"do": "click", "x": 30, "y": 10})  # the session itself needs no browser
    assert "lower end" in session.status


@pytest.mark.parametrize("clicks", [[(30, 10), (31, 50)], [(31, 50), (30, 10)]])
def test_arrow_keys_move_the_end_that_was_placed_last(clicks, tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "chest.png"), np.full((64, 64), 90, np.uint8))
    session = AnnotationSession([tmp_path], tmp_path / "mine.csv")
    for x, y in clicks:
        session.do({"do": "click", "x": x, "y": y})
    session.do({"do": "nudge", "dx": 1, "dy": 0})
    (x, y), first = clicks[1], clicks[0]
    assert set(session.draft.ends) == {first, (x + 1, y)} and session.draft.ends[0][1] == 10
    session.do({"do": "choose", "index": 5})
    session.do({"do": "click", "x": 40, "y": 40})  # both ends are there: nothing is placed
    assert session.chosen == 5


def test_a_name_with_an_end_of_line_of_its_own_is_annotated(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "a\u2028b.png"), np.full((64, 64), 90, np.uint8))
    session = AnnotationSession([tmp_path], tmp_path / "mine.csv")
    for x, y in [(30, 10), (31, 50)]:
        session.do({"do": "click", "x": x, "y": y})
    session.do({"do": "next"})
    assert not session.refused, session.status
    assert AnnotationSession([tmp_path], tmp_path / "mine.csv").saved(0)
