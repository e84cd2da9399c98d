"""What every test may ask for: a device, the real pictures, a fixed seed, no network."""

import os
import random
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # several at once: the processes that tests start keep to one thread, too
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)  # small models: a second thread costs more than it brings


def pytest_collection_modifyitems(items):
    for item in items:
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
