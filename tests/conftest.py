"""What every test may ask for: a device, the real pictures, a fixed seed, no network."""

import copy
import os
import random
import signal
from pathlib import Path

# Begun in the background of a shell, a process ignores interrupts; here, and in the processes that tests start, they count.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:  # several at once: the processes that tests start keep to one thread, too
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)  # small models: a second thread costs more than it brings


def pytest_collection_modifyitems(items):
    for item in items:
        # addresses differ between the processes of pytest -n, which then collect other tests
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: the name of a test holds an address; give the parameter an id")
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker("real")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device and a CUDA build of torch")
    return torch.device(request.param)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the 957 pictures; only LANDMARK_THESIS_DATA names it."""
    folder = os.environ.get("LANDMARK_THESIS_DATA")
    if not folder:
        pytest.skip("needs the real pictures: set LANDMARK_THESIS_DATA to their folder (README, 'The data')")
    return Path(folder)


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory) -> Path:
    """Sixty phantoms as a data set on disk: PNG files of 120x120 and a table with a header. To be read only."""
    import csv

    import cv2

    from landmark_thesis.data import phantom_data

    place = tmp_path_factory.mktemp("pictures")
    data = phantom_data(60, seed=5, size=120)
    with open(place / "labels.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", *(f"{axis}{k}" for k in range(1, 16) for axis in "xy")])
        for name, image, points in zip(data.names, data.images, data.points, strict=True):
            cv2.imwrite(str(place / f"{name}.png"), image.numpy())
            table.writerow([name, *(f"{value:.3f}" for value in (points * 120 - 0.5).flatten().tolist())])
    return place


@pytest.fixture(scope="session")
def trained_run(picture_folder, tmp_path_factory) -> Path:
    """The folder of a finished training of seconds on them, by the command line. To be read only, but for its test ledger."""
    from landmark_thesis.cli import main

    out = tmp_path_factory.mktemp("runs") / "first"
    words = ["train-landmarks", "--recipe", "smoke", "--image-size", "64", "--label-size", "0", "--seed", "3"]
    assert main([*words, "--data", str(picture_folder), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def _twenty_six():
    from landmark_thesis.data import phantom_data

    return phantom_data(26, seed=3, size=32)


@pytest.fixture
def few_pictures(_twenty_six, monkeypatch):
    """26 phantoms of 32 pixels, drawn once; runs take them for nothing, and a test may spoil them: they are a copy."""
    from landmark_thesis import runs

    data = copy.deepcopy(_twenty_six)
    monkeypatch.setattr(runs.Source, "check", lambda *_: (data, [], runs.Signatures.of(data.images, data.names)))
    return data


@pytest.fixture(autouse=True)
def _seeded():
    random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_downloads(monkeypatch):
    """No test may reach a model hub; one that tries fails here, not after a time-out."""

    def refuse(url, *args, **kwargs):
        raise AssertionError(f"a test tried to download {url}")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
