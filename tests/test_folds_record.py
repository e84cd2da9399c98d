"""Folds over the development pictures: the correction never meets the label that it corrects, and the records follow from their errors."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parents[1] / "figures"
sys.path.insert(0, str(HERE))
import folds  # noqa: E402

from landmark_thesis.data import read_rows  # noqa: E402
from landmark_thesis.landmarks import project_to_shape  # noqa: E402
from landmark_thesis.phantom import sample_shapes  # noqa: E402


@pytest.fixture(scope="module")
def answers():
    """Labels of 200 pictures, and answers that are off by noise and, along the axis, by what L1 tells."""
    rng = np.random.default_rng(0)
    target = project_to_shape(sample_shapes(200, seed=0).astype(float))
    raw = target + rng.normal(0, 0.005, target.shape)
    raw[:, :, 1] += 0.3 * (target[:, 0, 1] - target[:, 0, 1].mean())[:, None]
    return raw, target, np.arange(200) % 5


def test_the_correction_takes_out_an_error_that_the_answer_tells(answers):
    raw, target, fold = answers
    before, after = (np.abs(points - target).mean() for points in (project_to_shape(raw), folds.corrected(raw, target, fold)))
    assert after < 0.6 * before


@pytest.mark.parametrize("reading", [folds.corrected, folds.weighted])
def test_no_picture_is_read_by_its_own_label_nor_by_one_of_its_fold(answers, reading):
    raw, target, fold = answers
    changed = target.copy()
    changed[fold == 3, 1] += 0.2
    assert np.array_equal(reading(raw, changed, fold)[fold == 3], reading(raw, target, fold)[fold == 3])
    assert not np.array_equal(reading(raw, changed, fold)[fold == 2], reading(raw, target, fold)[fold == 2])


def test_the_covariance_of_the_errors_is_found_along_and_across():
    rng = np.random.default_rng(0)
    target = project_to_shape(sample_shapes(300, seed=1).astype(float))
    scatter = np.repeat([0.04, 0.004, 0.01], [4, 11, 15])  # L1 to L4 err ten times as much along the axis as the other eleven
    axis = target[:, 1] - target[:, 0]
    along = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    frames = np.stack([along, np.stack([along[:, 1], -along[:, 0]], 1)], 1)
    raw = target + np.einsum("nij,nki->nkj", frames, (rng.normal(size=(300, 30)) * scatter).reshape(300, 2, 15).transpose(0, 2, 1))
    found = folds.error_covariance(raw, target).diagonal().reshape(15, 2).T.ravel() / 224**2
    assert found == pytest.approx(scatter**2, rel=0.3)


def test_each_fold_is_read_by_the_wavering_of_its_own_model(answers):
    raw, _, fold = answers
    forms = [np.diag(1 + np.random.default_rng(k).random(30)) for k in range(5)]
    read = folds.steadied(raw, forms, fold + 1)
    assert all(np.array_equal(read[fold == k], folds.likeliest_shape(raw[fold == k], forms[k])) for k in range(5))


@pytest.fixture
def known(tmp_path):
    """The record of `dense` on four pictures."""
    columns = {"fold": [1, 2, 1, 2], **{reading: np.arange(4.0) + shift for shift, reading in enumerate(folds.READ_BY_A_RECIPE)}}
    folds.write_record(tmp_path / "folds", {"n": 4}, list("abcd"), columns)
    return tmp_path / "folds"


def test_a_rival_is_compared_picture_by_picture_in_whatever_order(known):
    found = folds.rival_errors(known, ["d", "a", "c", "b"], np.array([2, 1, 1, 2]))
    assert {reading: list(values) for reading, values in found.items()} == {"projected": [3, 0, 2, 1], "likeliest": [4, 1, 3, 2]}


@pytest.mark.parametrize(("names", "fold"), [("abc", [1, 2, 1]), ("abcx", [1, 2, 1, 2]), ("abcde", [1, 2, 1, 2, 1]), ("abcd", [1, 2, 2, 2])])
def test_a_rival_on_other_pictures_or_folds_is_refused(known, names, fold):
    with pytest.raises(SystemExit, match="other pictures, or other folds"):
        folds.rival_errors(known, list(names), np.array(fold))


@pytest.mark.parametrize("asked", [["train", "--job", "axis/0"], ["judge", "--job", "axis/0", "--of", "all"]])
def test_a_variant_opens_no_test_part_and_is_trained_elsewhere(asked, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["folds.py", asked[0], "data", "out", *asked[1:]])
    with pytest.raises(SystemExit):
        folds.main()
    assert "--job: to judge over the development pictures alone" in capsys.readouterr().err


@pytest.mark.parametrize("record", sorted((HERE / "records").glob("*-folds")), ids=lambda path: path.name)
def test_a_variant_was_compared_with_what_the_record_of_dense_holds(record):
    content = json.loads((record / f"{record.name}.json").read_text(encoding="utf-8"))
    rows = read_rows(record / "errors.csv")
    known = folds.rival_errors(HERE / "records" / "folds", [row["image"] for row in rows], np.array([int(row["fold"]) for row in rows]))
    assert set(content["against_dense"]) == set(known) == set(folds.READ_BY_A_RECIPE)
    for reading, values in known.items():
        assert [float(row[f"dense {reading}"]) for row in rows] == list(values)
        gain = np.mean(values - [float(row[reading]) for row in rows])
        assert content["against_dense"][reading]["difference_px"] == pytest.approx(gain, abs=1e-3)


@pytest.mark.parametrize(("name", "n"), [("folds", 860), ("phantom-weights-folds", 860), ("oof", 957)])
def test_the_record_follows_from_its_errors(name, n):
    path = HERE / "records" / name / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no record: python figures/folds.py judge, for {name}")
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = read_rows(path.parent / "errors.csv")
    errors = {column: np.array([float(row[column]) for row in rows]) for column in content["readings"]}
    fold = np.array([int(row["fold"]) for row in rows])
    assert len({row["image"] for row in rows}) == len(rows) == content["n"] == n
    assert not content["contaminated"] and not content["unverified"]
    for column, values in errors.items():
        assert values.mean() == pytest.approx(content["readings"][column]["mre_px"], abs=1e-3)
    assert content["oof"]["mre_px"] == pytest.approx(errors["projected"].mean(), abs=1e-3)
    assert [run["mre_px"] for run in content["runs"]] == pytest.approx([errors["projected"][fold == k].mean() for k in range(1, 6)], abs=1e-3)
    assert all(run["n_train"] + run["n"] <= n for run in content["runs"])
    for column, gain in content["gains"].items():
        assert gain["difference_px"] == pytest.approx((errors["projected"] - errors[column]).mean(), abs=1e-3)
    assert content["test_ledger"]["opened"] == (1 if name == "oof" else 0)


@pytest.mark.parametrize("record", sorted((HERE / "records").glob("*-folds")), ids=lambda path: path.name)
def test_the_ledger_of_folds_agrees_with_the_record_that_judged_them(record):
    def by_image(path):
        return {row["image"]: row for row in read_rows(path)}

    noted, judged, run = by_image(HERE / "research" / "folds.csv"), by_image(record / "errors.csv"), f"{record.name.removesuffix('-folds')}/0"
    assert noted.keys() == judged.keys() and all(noted[image]["fold"] == row["fold"] for image, row in judged.items())
    assert all(noted[image][run] == row["projected"] for image, row in judged.items())
    gap = [float(noted[image][f"{run}/likeliest"]) - float(row["likeliest"]) for image, row in judged.items()]
    assert abs(np.mean(gap)) < 0.02  # the views by which a model's wavering is measured are others
