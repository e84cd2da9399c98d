"""Many trainings in one process: memory stays flat, and no file handle, thread or figure is left behind."""

import gc
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kept import keep

from landmark_thesis import runs
from landmark_thesis.callbacks import LiveCurves, Progress
from landmark_thesis.figures import draw_all
from landmark_thesis.trainer import Phase

SHORT = replace(
    runs.changed(runs.SMOKE, image_size=32, precision="fp32"),
    batch_size=8,
    phases=(Phase("phase1", 1, {"head": 3e-3}, trainable="head", cache_views=1), Phase("phase2", 1, {"backbone": 1e-3, "head": 3e-3}, average=0.9)),
)


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def _held() -> tuple[int, int, int]:
    """Open files, threads and pyplot's figures."""
    import matplotlib.pyplot as plt

    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), len(plt.get_fignums())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc, which this system lacks")
def test_two_hundred_trainings_leave_nothing_behind(tmp_path, few_pictures, capsys, monkeypatch, request):
    """Each draws its curves after every epoch, as in a notebook, is asked to go on when it has ended, and every tenth draws all figures of its folder."""
    memory, held, pictures = [], [], []

    class Shown(Progress):
        def on_epoch_end(self, trainer, phase, epoch, metrics):
            super().on_epoch_end(trainer, phase, epoch, metrics)
            LiveCurves(pictures.append).on_epoch_end(trainer, phase, epoch, metrics)

    monkeypatch.setattr(runs, "Progress", Shown)
    for number in range(200):
        run = runs.train(SHORT, runs.Source(phantoms=26), tmp_path / f"run-{number}", seed=number, quiet=True)
        runs.train(SHORT, runs.Source(phantoms=26), run.path, seed=number, resume=True, quiet=True)
        if number % 10 == 0:
            assert draw_all(run, run.path, say=lambda line: None)
        for file in run.path.iterdir():
            file.unlink()
        assert len(pictures) == 2, "one for each epoch"
        pictures.clear()
        gc.collect()
        memory.append(_resident_mb())
        held.append(_held())
    after = np.array(memory[50:])  # the allocator has found its size by then
    slope = np.polyfit(np.arange(len(after)), after, 1)[0]
    with capsys.disabled():
        print(f"\nresident MB: {memory[0]:.0f} at first, {memory[49]:.0f} after 50, {memory[-1]:.0f} after 200; {1000 * slope:+.1f} kB a training; held {held[0]} -> {held[-1]}")
    assert slope < 0.05, "memory grows by more than 50 kB a training"
    assert held[-1] == held[1]
    resident = {"first": memory[0], "after_50": memory[49], "last": memory[-1]}
    found = {"trainings": len(memory), "resident_mb": {when: round(value, 1) for when, value in resident.items()}, "kb_a_training": round(1000 * slope, 1)}
    keep("soak", request.config, found | {name: [held[1][place], held[-1][place]] for place, name in enumerate(("files", "threads", "figures"))})
