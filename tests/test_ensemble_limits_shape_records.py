"""The records of the ensemble, of the labels' limits and of their shape: each follows from its errors, or from the labels where they are at hand."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parents[1] / "figures"
sys.path.insert(0, str(HERE))
import shape  # noqa: E402

from landmark_thesis.data import LabelGrid  # noqa: E402
from landmark_thesis.figures import shape_statistics  # noqa: E402
from landmark_thesis.landmarks import project_to_shape  # noqa: E402
from landmark_thesis.phantom import sample_shapes  # noqa: E402
from landmark_thesis.pixel_error import bootstrap_interval, radial_errors  # noqa: E402
from landmark_thesis.runs import Run  # noqa: E402


def recorded(name: str) -> dict:
    return json.loads((HERE / "records" / name / f"{name}.json").read_text(encoding="utf-8"))


def table(name: str) -> dict[str, list[str]]:
    with open(HERE / "records" / name / "errors.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {column: [row[column] for row in rows] for column in rows[0]}


def test_the_ensemble_follows_from_its_errors():
    content, columns = recorded("ensemble"), table("ensemble")
    errors = {name: np.array(values, float) for name, values in columns.items() if name != "image"}
    names = [run["run"] for run in content["runs"]]
    alone = {arm: np.mean([errors[f"{arm} {name}"] for name in names], axis=0) for arm in ("plain", "mirrored")}
    assert len(set(columns["image"])) == content["n"] == 144 and content["seeds"]["n_seeds"] == len(names) == 3
    assert content["seeds"]["mean_px"] == pytest.approx(alone["mirrored"].mean(), abs=1e-3)
    assert content["seeds"]["seed_sd_px"] == pytest.approx(np.std([errors[f"mirrored {name}"].mean() for name in names], ddof=1), abs=1e-3)
    for step in content["ensembles"]:
        assert step["mre_px"] == pytest.approx(errors[f"{step['arm']}-{step['members']}"].mean(), abs=1e-3)
        assert step["mre_px_ci95"] == pytest.approx(bootstrap_interval(errors[f"{step['arm']}-{step['members']}"]), abs=5e-3)
    gains = {"gain_of_the_mirror": alone["plain"] - alone["mirrored"], "gain_of_the_ensemble": alone["mirrored"] - errors["mirrored-3"]}
    for name, gain in gains.items():
        assert content[name]["difference_px"] == pytest.approx(gain.mean(), abs=1e-3)
        assert content[name]["difference_px_ci95"] == pytest.approx(bootstrap_interval(gain), abs=5e-3)


def test_the_limits_follow_from_grid_and_labels(real_data):
    content = recorded("limits")
    points, names, digest = shape.labels(real_data)
    place = {name: k for k, name in enumerate(names)}
    residual = radial_errors(project_to_shape(points), points, 224).mean(1)
    assert (content["n"], content["labels_sha256"]) == (len(points), digest) and content["rounding_px"] == LabelGrid(content["cells"], 299).rounding_px224
    assert content["scheme_px"] == pytest.approx(residual.mean(), abs=1e-4) and content["scheme_px_ci95"] == pytest.approx(bootstrap_interval(residual), abs=1e-3)
    for two in content["twice"]:
        a, b = (points[place[name]] for name in two["pair"])
        assert two["mre_px"] == pytest.approx(radial_errors(a, b, 224).mean(), abs=1e-3)


def test_the_shape_tells_of_all_pictures_and_of_none():
    content = recorded("shape")
    assert {"of", "n", "mean", "covariance", "modes", "mean_shape_errors", "split_fingerprint", "labels_sha256", "command", "versions", "device", "unit"} == content.keys()
    assert np.shape(content["mean"]) == (15, 2) and np.shape(content["covariance"]) == (15, 2, 2) and len(content["modes"]) == shape.MODES
    assert table("shape").keys() == {"image", "part", "mean_shape"} and content["n"] == len(table("shape")["image"]) == 957
    for mode in content["modes"]:
        assert np.shape(mode["direction"]) == (15, 2) and np.linalg.norm(mode["direction"]) == pytest.approx(1)


def test_the_shape_follows_from_the_labels(real_data):
    content, columns = recorded("shape"), table("shape")
    points, names, digest = shape.labels(real_data)
    again, errors = shape.measure(points, names, Run(HERE / "records" / "dense"))
    assert digest == content["labels_sha256"] and names == columns["image"] and errors["part"] == columns["part"]
    assert again["mean"] == pytest.approx(np.array(content["mean"]), abs=1e-9) and again["modes"][0]["share"] == pytest.approx(content["modes"][0]["share"])
    assert np.allclose(errors["mean_shape"], np.array(columns["mean_shape"], float), atol=6e-4)
    assert again["mean_shape_errors"]["test"]["mre_px"] == pytest.approx(recorded("test")["baselines"]["mean_shape_px"], abs=1e-3)


def test_the_mean_shape_is_scored_on_the_part_of_each_picture():
    run = Run(HERE / "records" / "dense")
    names = [*run.split.parts["val"][:20], *run.split.parts["test"][:10], "nobody"]
    points = sample_shapes(31, seed=0).astype(float)
    content, columns = shape.measure(points, names, run)
    expected = radial_errors(np.broadcast_to(run.mean_shape, points.shape), points, 224).mean(1)
    assert columns["part"] == ["val"] * 20 + ["test"] * 10 + ["left out"] and columns["mean_shape"] == pytest.approx(expected)
    assert content["mean_shape_errors"]["test"]["mre_px"] == pytest.approx(expected[20:30].mean()) and content["modes"] == shape_statistics(points)["modes"][: shape.MODES]
