"""Tests of nbs/12_evaluate.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


from landmark_thesis import evaluate as chapter

# The notebook's cells see every name of its module; so do its tests.
globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})


# cell 9b8e14a1
def test_an_ensemble_of_one_is_the_model():
    answers = np.random.default_rng(0).random((3, 4, 15, 2)).astype(np.float32)
    for how in ("mean", "median", "weighted"):
        assert np.array_equal(combine(answers[:1], how, [2.0]), answers[0])
    assert np.allclose(combine(answers, "weighted", [1, 0.5, 0.5]), (2 * answers[0] + answers[1] + answers[2]) / 4)
    assert np.array_equal(combine(answers, "median"), np.median(answers, axis=0))


# cell 253fba83
def test_the_guard_knows_names_hashes_and_parts():
    provenance = Provenance(trained_on={"a": "11", "b": "22"}, selected_on={"c": "33"})
    assert provenance.seen({"a": "99", "x": "22", "c": "33", "y": "44"}, validation=False) == ["a", "x", "c"]
    assert provenance.seen({"a": "99", "x": "22", "c": "33", "y": "44"}, validation=True) == ["a", "x"]
    refuse_leakage({"c": "33"}, {"m": provenance}, "val")
    for part in ("test", "oof", "all"):
        try:
            refuse_leakage({"c": "33"}, {"m": provenance, "n": Provenance({}, {})}, part)
        except LeakageError as error:
            assert "m has seen 1 of 1 pictures (c)" in str(error) and "n has" not in str(error)
        else:
            raise AssertionError(f"{part}: a picture that was selected on was scored")


# cell 17bbb6d6
def test_error_rows_hold_exact_values_and_survive_the_file(tmp_path):
    from landmark_thesis.phantom import sample_shapes

    target = sample_shapes(3).astype(np.float64)
    pred = target.copy()
    pred[:, 4] += np.array([3, 4]) / 224  # L5: 5 px off
    rows = error_rows(pred, target, ["a", "b", "c"], ["clear"] * 3, "val")
    for row in rows:
        assert (row["L5_radial"], row["L5_dx"], row["L5_dy"]) == (5.0, 3.0, 4.0)
        assert abs(np.hypot(row["L5_along"], row["L5_across"]) - 5) < 1e-3
        assert row["L1_radial"] == 0 and row["axis_px_true"] == row["axis_px_pred"]
    write_errors(rows, tmp_path / "errors.csv")
    assert read_errors(tmp_path / "errors.csv") == rows
    write_errors(error_rows(pred, target, ["d", "e", "f"], ["clear"] * 3, "test"), tmp_path / "errors.csv")
    write_errors(rows[:2], tmp_path / "errors.csv")
    assert [row["image"] for row in read_errors(tmp_path / "errors.csv")] == ["d", "e", "f", "a", "b"]
    assert [row["image"] for row in read_errors(tmp_path / "errors.csv", "val")] == ["a", "b"]
    grey = torch.tensor([10, 20, 60], dtype=torch.uint8)[:, None, None].expand(3, 8, 8)
    write_errors(error_rows(pred, target, ["a", "b", "c"], ["clear"] * 3, "val", grey), tmp_path / "errors.csv")
    noted = {row["image"]: row["grey_mean"] for row in read_errors(tmp_path / "errors.csv")}
    assert [noted[name] for name in "abc"] == [10, 20, 60] and all(np.isnan(noted[name]) for name in "def")  # the older part has none


# cell bc7e83ff
def test_mirror_averaging_swaps_the_pairs():
    """A model that always answers the same shape: averaging must give the mean of it and its mirror image, pairs exchanged."""
    from landmark_thesis.phantom import sample_shapes

    class Fixed(nn.Module):
        def forward(self, images):
            return torch.from_numpy(sample_shapes(1)).flatten(1).expand(len(images), -1)

    answer, images = sample_shapes(1)[0], torch.zeros(2, 8, 8, dtype=torch.uint8)
    mirrored = answer[list(FLIP_PERMUTATION)] * [-1, 1] + [1, 0]
    assert np.array_equal(predict_points(Fixed(), images, tta=False)[0], answer)
    assert np.allclose(predict_points(Fixed(), images)[1], (answer + mirrored) / 2, atol=1e-6)


# cell f3ab2793
def test_nonsense_of_a_model_is_an_error_and_not_a_number():
    class Broken(nn.Module):
        def forward(self, images):
            return torch.full((len(images), 30), float("nan"))

    for images in (torch.zeros(1, 8, 8, dtype=torch.uint8), torch.zeros(0, 8, 8, dtype=torch.uint8)):
        try:
            predict_points(Broken(), images)
        except DataError:
            pass
        else:
            raise AssertionError("scored")


# cell caebabb4
def test_the_table_of_predictions_reads_back_to_a_hundredth(tmp_path):
    from landmark_thesis.data import read_annotations

    points = np.random.default_rng(0).uniform(0, 299, (2, 15, 2))
    write_points([Path("somewhere/a.png"), Path("b.jpg")], points, tmp_path / "points.csv")
    table = read_annotations(tmp_path / "points.csv")
    assert np.allclose(table.points_px, points, atol=0.0051)
    assert [Path(name).stem for name in table.names] == ["a", "b"]


# cell e9d707a7
import pytest


@pytest.mark.parametrize("side", [48, 700])  # enlarged, and as it is
@pytest.mark.parametrize("grey", [0, 255])
def test_numbers_can_be_read_on_black_and_on_white(grey, side):
    place = 0.75 * side
    canvas = overlay(np.full((side, side), grey, np.uint8), np.full((15, 2), place))
    assert canvas.dtype == np.uint8 and canvas.shape == (max(640, side),) * 2 + (3,)
    x = y = int(round((place + 0.5) * len(canvas) / side - 0.5))
    number = canvas[y - 26 : y - 6, x + 10 : x + 34].reshape(-1, 3)
    assert min((number == 255).all(1).sum(), (number == 0).all(1).sum()) > 40  # as many pixels as a stroke has


@pytest.mark.parametrize("place", [(0, 0), (639, 0), (639, 639)])
def test_numbers_are_whole_at_the_border(place):
    lit = overlay(np.zeros((640, 640), np.uint8), np.tile(place, (15, 1))).min(2) > 200  # white: lines and dots are coloured
    assert lit.any() and not (lit[0] | lit[-1]).any() and not (lit[:, 0] | lit[:, -1]).any()


def test_overlays_keep_pictures_of_one_name_apart(tmp_path):
    paths = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "a.png")
        cv2.imwrite(str(paths[-1]), np.zeros((30, 40), np.uint8))
    written = write_overlays(paths, np.full((2, 15, 2), 10.0), tmp_path / "out")
    assert [path.name for path in written] == ["a.png", "a-2.png"]
    assert cv2.imread(str(written[0])).shape == (480, 640, 3)
    assert cv2.imread(str(written[0])).max() > 0


# cell 28cfc202
def test_a_line_of_a_ledger_that_is_none_is_named(tmp_path):
    log_opening([tmp_path], {"fingerprint": "f"})
    with open(tmp_path / LEDGER, "a") as ledger:
        ledger.write("{broken\n")
    try:
        ledger_entries(tmp_path)
    except DataError as error:
        assert "line 2" in str(error)
    else:
        raise AssertionError("a broken ledger was read")
