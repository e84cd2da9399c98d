"""The outside set: what its distances mean, and that the record says what its own errors say."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parents[1] / "figures"
sys.path.insert(0, str(HERE))
import outside  # noqa: E402

# a lung on the picture's left as a box of 30 by 60: apex at the top right corner, its angle at the lower left one
BOX = np.array([[40, 9], [10, 10], [10, 40], [10, 70], [25, 69], [40, 69], [40, 40]], float)


@pytest.mark.parametrize("start", range(len(BOX)))
@pytest.mark.parametrize("turned_round", [False, True])
def test_the_arc_runs_from_apex_to_angle_on_the_outside_wherever_the_contour_begins(start, turned_round):
    contour = np.roll(BOX[::-1] if turned_round else BOX, start, axis=0)
    assert outside.lateral_arc(contour, -1).tolist() == [[40, 9], [10, 10], [10, 40], [10, 70]]
    mirrored = contour * [-1, 1]
    assert outside.lateral_arc(mirrored, 1).tolist() == [[-40, 9], [-10, 10], [-10, 40], [-10, 70]]


def test_a_distance_is_to_the_nearest_place_on_the_arc_and_not_to_a_vertex_or_an_endless_line():
    line = np.array([[0.0, 0], [0, 10]])
    assert outside.distance_to_line(np.array([[3.0, 5], [-2, 0], [3, 14], [0, 7]]), line).tolist() == [3, 2, 5, 0]


def test_each_side_is_held_against_its_own_lung():
    points = np.zeros((1, 15, 2))
    points[0, list(outside.LEFT_CONTOUR)] = [12, 40]
    points[0, list(outside.RIGHT_CONTOUR)] = [95, 40]
    found = outside.border_distances(points, [{-1: outside.lateral_arc(BOX, -1), 1: outside.lateral_arc([100, 0] - BOX * [1, -1], 1)}])
    left = [outside.LATERAL.index(point) for point in outside.LEFT_CONTOUR]
    assert found[0, left].tolist() == [2] * 5 and np.delete(found[0], left).tolist() == [5] * 5


def test_the_record_follows_from_its_errors():
    path = HERE / "records" / "outside" / "outside.json"
    if not path.exists():
        pytest.skip("no record: python figures/outside.py")
    content = json.loads(path.read_text(encoding="utf-8"))
    with open(path.parent / "errors.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == content["n"] == 246 and content["copies_found"] == 0 and content["looked_for_copies"]
    for result in content["results"]:
        errors = np.array([[float(row[key]) for key in row if key.startswith(f"{result['model']}: ")] for row in rows])
        assert errors.shape == (246, 10)
        assert errors.mean() == pytest.approx(result["border_px"], abs=1e-3) and np.median(errors) == pytest.approx(result["median_px"], abs=2e-3)
        assert np.quantile(errors, 0.95) == pytest.approx(result["p95_px"], abs=2e-3)
        assert result["border_mm"] == pytest.approx(result["border_px"] * 1.6)
        low, high = result["border_px_ci95"]
        assert low < result["border_px"] < high
