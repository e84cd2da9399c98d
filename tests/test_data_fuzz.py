"""Damaged files of every kind end in a DataError or in a clean read, never in another exception."""

import os
import random
import subprocess
import sys
import textwrap

import cv2
import numpy as np
import pytest

from landmark_thesis.data import (
    DataError,
    Signatures,
    Split,
    check_data,
    read_annotations,
    read_image,
    thesis_split,
    write_whole,
)
from landmark_thesis.phantom import phantoms


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The same bytes with a few of them changed, removed or doubled, or cut short."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        place, kind = rng.randrange(len(data)), rng.randrange(4)
        if kind == 0:
            data[place] = rng.randrange(256)
        elif kind == 1:
            del data[place : place + rng.randint(1, 20)]
        elif kind == 2:
            data[place:place] = rng.choice([b",", b";", b"\n", b'"', b"\0", b"nan", b"\xff", b"1e999", b"../", b"\r"])
        elif len(data) > 40:
            del data[rng.randrange(20, len(data)) :]
    return bytes(data) or b"x"


@pytest.fixture
def table() -> bytes:
    points = np.random.default_rng(0).integers(0, 299, (8, 30))
    return "".join(f"{k},{','.join(map(str, row))},COVID-{k}\n" for k, row in enumerate(points)).encode()


def test_damaged_tables(tmp_path, table):
    rng, path, refused = random.Random(0), tmp_path / "t.csv", 0
    for _ in range(400):
        path.write_bytes(mutated(table, rng))
        try:
            read = read_annotations(path)
            assert len(read) and np.isfinite(read.points_px[~np.isnan(read.points_px)]).all()
            assert len(set(read.names)) == len(read.names) and not any("/" in name for name in read.names)
        except DataError as error:
            assert str(path) in str(error)
            refused += 1
    assert 200 < refused < 400  # the fuzz bites, and not everything is refused


@pytest.mark.filterwarnings("ignore")  # Pillow grumbles before it refuses
@pytest.mark.parametrize("extension", [".png", ".jpg", ".tif", ".bmp"])
def test_damaged_pictures(tmp_path, extension):
    content = cv2.imencode(extension, phantoms(1, size=64)[0][0])[1].tobytes()
    rng, path, refused = random.Random(1), tmp_path / f"p{extension}", 0
    for _ in range(60):
        path.write_bytes(mutated(content, rng))
        try:
            image = read_image(path)
            assert image.ndim == 2 and image.dtype == np.uint8 and min(image.shape) >= 16
        except DataError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 5


def test_damaged_splits_and_signatures(tmp_path):
    names = [f"a-{k}" for k in range(40)]
    split = thesis_split(names, ["a"] * 40)
    stored = {"split.json": (split.to_json().encode(), Split.load)}
    stored["signatures.npz"] = (
        Signatures.of(phantoms(2, size=64)[0]).save(tmp_path / "s.npz").read_bytes(),
        Signatures.load,
    )
    rng = random.Random(2)
    for name, (content, load) in stored.items():
        for _ in range(150):
            (tmp_path / name).write_bytes(mutated(content, rng))
            try:
                load(tmp_path / name)
            except DataError as error:
                assert name in str(error)


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = write_whole(tmp_path / "best.pt", b"old" * 1000)
    script = """
        import os, signal, sys
        from landmark_thesis import data
        data.os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
        data.write_whole(sys.argv[1], b"new" * 1000)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(path)], env=environment, check=False)
    assert done.returncode != 0 and path.read_bytes() == b"old" * 1000


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_an_unreadable_folder_is_named(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(DataError, match="closed"):
        check_data(tmp_path)
