"""The recorded exposure: its correlations follow from the stored numbers, and nothing but two numbers a picture is kept."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

RECORD = Path(__file__).resolve().parent.parent / "figures" / "records" / "exposure"
sys.path.insert(0, str(RECORD.parent.parent))
import exposure  # noqa: E402

STORED = json.loads((RECORD / "exposure.json").read_text(encoding="utf-8"))


def table():
    with open(RECORD / "errors.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["image"] for row in rows], {name: [float(row[name]) for row in rows] for name in exposure.MEASURES}, list(rows[0])


def test_the_correlations_follow_from_the_stored_numbers():
    names, columns, header = table()
    assert header == ["image", *exposure.MEASURES] and len(set(names)) == len(names) == STORED["n_pictures"] == 957
    for name, found in exposure.summary(names, columns, STORED["run"], STORED["part"]).items():
        assert found["rho"] == pytest.approx(STORED["with_error"][name]["rho"], abs=1e-9)
        assert found["rho_ci95"] == pytest.approx(STORED["with_error"][name]["rho_ci95"], abs=1e-9)


def test_exposure_is_that_of_the_file(tmp_path):
    import cv2

    picture = np.array([[10, 30], [10, 30]], np.uint8).repeat(16, 0).repeat(16, 1)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    assert exposure.measure({"a": tmp_path / "a.png"}) == {"grey_mean": [20.0], "grey_sd": [10.0]}


def test_a_few_stored_numbers_are_those_of_the_pictures(real_data):
    images = exposure.find_dataset(real_data).images
    names, columns, _ = table()
    chosen = dict(list(images.items())[::200])
    for measure, values in exposure.measure(chosen).items():
        assert values == pytest.approx([columns[measure][names.index(name)] for name in chosen], abs=1e-3)
