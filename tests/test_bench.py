"""`landmark-thesis bench` from outside: its file, its exit codes, and that a start of the program stays light."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from landmark_thesis import bench
from landmark_thesis.cli import main


@pytest.fixture
def measured(monkeypatch):
    """What `bench` would find, without measuring: the middle of each limit; the sizes it was asked for are kept in "asked"."""
    asked = []
    limits = bench.LIMITS.items()
    good = {name: bench.Rounds((low + 0.1, low + 0.2, low + 0.3)) for name, (low, high) in limits}
    rest = {name: bench.Rounds((1.0,)) for name in bench.SENTENCES if name not in good}

    def instead(size, device="auto", say=print):
        asked.append(size)
        say("measuring")
        return {**bench._flat({**good, **rest}), **vars(size), **bench.machine(bench.pick_device("cpu"))}

    monkeypatch.setattr(bench, "bench", instead)
    return asked, good


def test_the_file_holds_what_was_found_and_the_command(measured, tmp_path, capsys):
    path = tmp_path / "deep" / "bench.json"
    path.parent.mkdir()
    assert main(["bench", "--small", "--json", str(path)]) == 0
    found = json.loads(path.read_text(encoding="utf-8"))
    assert measured[0] == [bench.SMALL] and found["backbone"] == "tiny"
    assert found["command"] == "landmark-thesis bench --small --json bench.json"
    assert all(not isinstance(value, dict) for value in found.values())
    printed = capsys.readouterr()
    assert "phase2_epoch_over_bare_step" in printed.out and printed.err == "measuring\n"


def test_a_number_of_the_table_stands_there_once():
    found = bench._flat({"step_share_of_stated_bf16_peak": bench.Rounds((0.5, 0.6)), "phase2_plain_workers": 2})
    lines = bench.table({"device": "x", "threads": 1, "precision": "fp32", "version_torch": "2", "rounds": 2, **found}).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["step_share_of_stated_bf16_peak", "phase2_plain_workers"]


def test_without_small_the_real_network_is_measured(measured):
    assert main(["bench"]) == 0
    assert measured[0] == [bench.FULL]


def test_the_check_fails_on_a_gross_regression_only(measured, capsys):
    _, good = measured
    assert main(["bench", "--small", "--check"]) == 0
    good["phase1_plain_over_cached"] = bench.Rounds((0.2,))
    assert main(["bench", "--small"]) == 0
    capsys.readouterr()
    assert main(["bench", "--small", "--check"]) == 1
    assert capsys.readouterr().err.endswith("landmark-thesis: phase1_plain_over_cached is 0.20, outside 1 to inf\n")


def test_the_start_of_the_program_loads_nothing_heavy():
    heavy = "import sys; from landmark_thesis.cli import parser; parser().format_help(); print({'torch', 'numpy', 'cv2', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "set()"


def test_the_two_sides_of_a_ratio_do_the_same_job(tmp_path):
    """The plain way and ours train on the same pictures: unchanged, they are the same within the rounding of resized files."""
    data = bench.pictures(4, side=64)
    paths = bench.write_pictures(data, tmp_path, side=64)
    still = bench.Augmentation(flip=0, rotation=0, brightness=0, contrast=0)
    plain = bench.PlainPictures(paths, data.points, 64, still)
    ours = next(iter(bench.batches(data, 4)))
    for k in range(4):
        image, points = plain[k]
        assert (image - ours[0][k]).abs().max() < 1e-6
        assert (points - ours[1][k]).abs().max() < 1e-6


def test_the_plain_way_moves_points_with_their_picture(tmp_path):
    """A bright blot on black is found where the moved landmark says, to half a pixel."""
    import torch

    images = torch.zeros(1, 65, 65, dtype=torch.uint8)
    images[0, 18:23, 38:43] = 255
    point = torch.tensor([[[40.5 / 65, 20.5 / 65]] * 15])
    data = bench.replace(bench.pictures(1, side=65), images=images, points=point)
    settings = bench.Augmentation(flip=0.5, rotation=20, scale=0.1, shift=0.1, brightness=0, contrast=0)
    plain = bench.PlainPictures(bench.write_pictures(data, tmp_path, side=65), data.points, 65, settings)
    centres = (torch.arange(65) + 0.5) / 65
    mirrored = 0
    for seed in range(12):
        torch.manual_seed(seed)
        image, points = plain[0]
        weight = image[0] / image[0].sum()
        found = torch.stack([(weight.sum(0) * centres).sum(), (weight.sum(1) * centres).sum()])
        assert (found - points.view(-1, 2)[0]).abs().max() < 0.5 / 65
        mirrored += int(points[0] < 0.5)
    assert 0 < mirrored < 12


AIMS = {  # name in the record: (at least, at most), as the project set them for 2 cores before anything was measured
    "phase1_plain_over_cached": (12, math.inf),
    "phase1_plain_over_cached_4views": (5, math.inf),
    "phase2_epoch_over_bare_step": (0, 1.1),
    "phase2_epoch_over_plain": (0, 0.45),
    "predict_pictures_per_s": (60, math.inf),
    "help_seconds": (0, 0.5),
}


@pytest.mark.parametrize("name", AIMS)
def test_what_was_recorded_on_two_cores_reaches_what_was_aimed_at(name):
    """By the median of its rounds; one of them may have met a busy minute."""
    found = json.loads((Path(__file__).parents[1] / "figures" / "bench" / "cpu-2.json").read_text(encoding="utf-8"))
    assert found["threads"] == 2 and found["backbone"] == "resnet18" and found["side"] == 224
    low, high = AIMS[name]
    assert low <= found[name] <= high


@pytest.mark.slow
def test_the_small_mode_runs_and_passes_its_check(tmp_path):
    path = tmp_path / "small.json"
    assert main(["bench", "--small", "--check", "--json", str(path)]) == 0
    assert json.loads(path.read_text(encoding="utf-8"))["rounds"] == bench.SMALL.rounds
