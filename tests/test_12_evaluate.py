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
    target = phantom_points(3)
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


def phantom_points(n):
    from landmark_thesis.phantom import sample_shapes

    return sample_shapes(n).astype(np.float64)
