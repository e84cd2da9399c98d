"""Many trainings in one process: memory stays flat, and no file handle, thread or figure is left behind."""

import gc
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from landmark_thesis import runs
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
def test_two_hundred_trainings_leave_nothing_behind(tmp_path, few_pictures, capsys):
    memory, held = [], []
    for number in range(200):
        run = runs.train(SHORT, runs.Source(phantoms=26), tmp_path / f"run-{number}", seed=number, quiet=True)
        runs.train(SHORT, runs.Source(phantoms=26), run.path, seed=number, resume=True, quiet=True)
        for file in run.path.iterdir():
            file.unlink()
        gc.collect()
        memory.append(_resident_mb())
        held.append(_held())
    after = np.array(memory[50:])  # the allocator has found its size by then
    slope = np.polyfit(np.arange(len(after)), after, 1)[0]
    with capsys.disabled():
        print(f"\nresident MB: {memory[0]:.0f} at first, {memory[49]:.0f} after 50, {memory[-1]:.0f} after 200; {1000 * slope:+.1f} kB a training; held {held[0]} -> {held[-1]}")
    assert slope < 0.05, "memory grows by more than 50 kB a training"
    assert held[-1] == held[1]
