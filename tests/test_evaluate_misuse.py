"""Scoring and predicting, used otherwise than meant: other pictures under known names, pixels for fractions, a string for a list."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from landmark_thesis import runs as runs_module
from landmark_thesis.cli import main
from landmark_thesis.data import (
    DataError,
    Frame,
    PreprocessSettings,
    batches,
    phantom_data,
    preprocess,
    read_annotations,
)
from landmark_thesis.evaluate import (
    LEDGER,
    _load,
    evaluate_runs,
    overlay,
    picture_files,
    points_csv,
    predict,
    predict_points,
    prepare,
    read_errors,
    report,
    write_overlays,
    write_points,
    write_results,
)
from landmark_thesis.figures import read_record
from landmark_thesis.model import create_model
from landmark_thesis.phantom import phantoms
from landmark_thesis.pixel_error import compare, mean_radial_error, summarise
from landmark_thesis.runs import SMOKE, Run, Source, changed, train

SMALL = changed(SMOKE, phase1_epochs=0, phase2_epochs=1, image_size=64)


def _folder(place: Path, count: int, seed: int, name: str = "p") -> Path:
    """Phantoms as files with their table."""
    pictures, points, categories = phantoms(count, seed=seed, size=96)
    place.mkdir(parents=True)
    rows = ["image,class," + ",".join(f"x{k},y{k}" for k in range(1, 16))]
    for k, (picture, xy, category) in enumerate(zip(pictures, points, categories, strict=True)):
        cv2.imwrite(str(place / f"{name}-{k}.png"), picture)
        rows.append(f"{name}-{k},{category}," + ",".join(f"{value:.2f}" for value in (np.clip(xy, 0, 1) * 96 - 0.5).ravel()))
    (place / "points.csv").write_text("\n".join(rows))
    return place


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A run of 60 pictures in the folder `own`, and a folder `other` with other pictures of the same names."""
    place = tmp_path_factory.mktemp("misuse")
    own, other = _folder(place / "own", 60, 1), _folder(place / "other", 60, 2)
    run = train(SMALL, Source.of(own, 0), place / "run", quiet=True)
    evaluate_runs(run)
    return run, own, other


@pytest.fixture
def run(world, tmp_path):
    """A fresh copy of the run, scored on its validation part."""
    shutil.copytree(world[0].path, tmp_path / "run")
    return Run(tmp_path / "run")


# ---------------------------------------------------------------- other pictures


@pytest.mark.parametrize("part", ["val", "test"])
def test_other_pixels_under_the_names_of_a_part_are_refused(part, run, world):
    before = (run.path / "errors.csv").read_bytes()
    with pytest.raises(DataError, match=f"other: has other pixels under the name of p-.*not the pictures of part '{part}' of run; put the originals back"):
        evaluate_runs(run, part=part, source=Source.of(world[2], 0))
    assert (run.path / "errors.csv").read_bytes() == before and not (run.path / LEDGER).exists()


def test_other_pixels_under_the_names_of_a_given_split_are_refused(run, world):
    with pytest.raises(DataError, match="other pixels under the name of"):
        evaluate_runs(run, part="test", split=run.split, source=Source.of(world[2], 0))
    assert not (run.path / LEDGER).exists()


def test_the_runs_own_pictures_elsewhere_and_prepared_otherwise_are_its_own(run, world, tmp_path):
    shutil.copytree(world[1], tmp_path / "moved")
    for path in list((tmp_path / "moved").glob("*.png"))[:30]:  # the same pixels in another kind of file
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    moved = evaluate_runs(run, source=Source.of(tmp_path / "moved", 0))
    assert moved["dataset"] == "moved" and moved["split_fingerprint"] == run.split.fingerprint
    assert moved["val"] == evaluate_runs(run)["val"]
    sharper = train(changed(SMALL, image_size=80), run.source, tmp_path / "sharper", quiet=True)
    against = evaluate_runs(run, against=sharper)  # loaded twice, at 64 and at 80 pixels
    assert against["split_fingerprint"] == run.split.fingerprint


def test_phantoms_of_another_size_are_the_split_of_a_run_too(tmp_path):
    first = train(SMALL, Source(phantoms=40), tmp_path / "first", quiet=True)
    other = train(changed(SMALL, image_size=80), Source(phantoms=40), tmp_path / "other", quiet=True)
    assert evaluate_runs(other, split=first.split)["split_fingerprint"] == first.split.fingerprint
    with pytest.raises(DataError, match="other pixels under the name of phantom-"):
        evaluate_runs(first, source=Source(phantoms=40, phantom_seed=3))


def test_pictures_that_are_missing_point_to_split_all(run, tmp_path):
    strangers = _folder(tmp_path / "strangers", 4, 7, name="s")
    with pytest.raises(DataError, match=r"not in this data set: p-.*of part 'val' of run, in strangers\); name the folder .* with --split all"):
        evaluate_runs(run, source=Source.of(strangers, 0))


def test_strangers_are_named_and_stay_out_of_the_run(run, tmp_path, capsys):
    strangers = _folder(tmp_path / "strangers", 12, 7, name="s")
    before = (run.path / "errors.csv").read_bytes()
    results = evaluate_runs(run, part="all", source=Source.of(strangers, 0))
    assert (results["dataset"], results["split_fingerprint"], results["test_fingerprint"], results["n_all"]) == ("strangers", "", "", 12)
    assert (run.path / "errors.csv").read_bytes() == before
    first = report(results).splitlines()[0]
    assert first.startswith("strangers, part all, n = 12") and run.split.fingerprint not in first and first.endswith("that the run's split does not know")
    write_results(results, tmp_path / "results.json")
    assert read_record(tmp_path / "results.json")["split_fingerprint"] == ""
    assert main(["evaluate", str(run.path), "--data", str(strangers), "--label-size", "0", "--split", "all", "--json", str(tmp_path / "all.json")]) == 0
    assert capsys.readouterr().out.startswith("strangers, part all") and json.loads((tmp_path / "all.json").read_text())["dataset"] == "strangers"


def test_some_of_a_runs_own_pictures_alone_are_its_part_all(run, world, tmp_path):
    shutil.copytree(world[1], tmp_path / "some")
    table = (tmp_path / "some" / "points.csv").read_text().splitlines()
    kept = [line for line in table[1:] if line.split(",")[0] in run.part("test")]
    (tmp_path / "some" / "points.csv").write_text("\n".join([table[0], *kept]))
    results = evaluate_runs(run, part="all", source=Source.of(tmp_path / "some", 0))
    assert results["split_fingerprint"] == run.split.fingerprint and len(read_errors(run.path / "errors.csv", "all")) == len(run.part("test"))


# ---------------------------------------------------------------- units


def test_millimetres_that_were_asked_for_are_printed(run, capsys):
    assert main(["evaluate", str(run.path), "--mm-per-px", "1.5"]) == 0
    told = capsys.readouterr().out
    px, mm = (float(re.search(rf"^  {label} +([\d.]+) \[", told, re.M).group(1)) for label in ("mean radial error", "the same, in mm"))
    assert mm == pytest.approx(1.5 * px, abs=0.02)
    assert "in mm" not in report(evaluate_runs(run))


def test_metrics_refuse_pixels_and_take_points_a_little_outside(run):
    target = np.random.default_rng(0).uniform(-0.2, 1.2, (6, 15, 2))
    pred = target + 0.01
    for kind in (np.asarray, torch.from_numpy):
        assert float(mean_radial_error(kind(pred), kind(target), 224)) == pytest.approx(0.01 * 2**0.5 * 224)
        with pytest.raises(ValueError, match="targets look like pixels"):
            mean_radial_error(kind(pred * 224), kind(target * 224), 224)
    for refused in (lambda: summarise(pred * 224, target * 224, ["a"] * 6, n_resamples=10), lambda: compare(pred * 224, pred * 224, target * 224, n_resamples=10)):
        with pytest.raises(ValueError, match="targets look like pixels .*pixels_to_fractions"):
            refused()


# ---------------------------------------------------------------- what predict and predict_points take


def _unfit(data):
    return {
        "fractions": data.images.float() / 255,
        "a batch of ours": next(iter(batches(data, 4)))[0],
        "channels": data.images[:, None],
        "not square": data.images[:, :-1],
        "numpy": data.images.numpy(),
    }


@pytest.mark.parametrize("what", ["fractions", "a batch of ours", "channels", "not square", "numpy"])
def test_predict_points_refuses_all_but_prepared_pictures(what, run):
    images = _unfit(phantom_data(4, size=64))[what]
    with pytest.raises(DataError, match=r"prepared pictures, a tensor \(N, S, S\) uint8, got (Tensor|ndarray) .*; evaluate.prepare makes them"):
        predict_points(run.model(), images)


def test_other_points_want_their_own_permutation():
    model, images = create_model("tiny", num_landmarks=7, weights="none"), phantom_data(2, size=64).images
    with pytest.raises(DataError, match=r"answers with 7 points, and the permutation names 15: .*permutation=.*tta=False"):
        predict_points(model, images)
    assert predict_points(model, images, tta=False).shape == predict_points(model, images, permutation=(1, 0, 3, 2, 4, 5, 6)).shape == (2, 7, 2)


@pytest.fixture
def picture(tmp_path):
    """The path of one picture, of 70 rows and 96 columns."""
    path = tmp_path / "chest-1.png"
    cv2.imwrite(str(path), phantoms(1, seed=3, size=96)[0][0][:70])
    return path


def test_one_picture_is_a_list_of_one(run, picture):
    grey = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
    expected = predict(run, [picture])
    assert expected.shape == (1, 15, 2)
    for one in (picture, str(picture), grey, grey[None]):
        assert np.array_equal(predict(run, one), expected)


@pytest.mark.parametrize(
    "spoil, form",
    [
        (lambda grey: np.repeat(grey[..., None], 3, 2), r"ndarray uint8 \(70, 96, 3\)"),
        (lambda grey: [np.repeat(grey[..., None], 3, 2)], r"ndarray uint8 \(70, 96, 3\)"),
        (lambda grey: grey / 255, r"ndarray float64 \(70, 96\)"),
        (Image.fromarray, "a Image"),
        (lambda grey: [Image.fromarray(grey)], "a Image"),
        (torch.from_numpy, r"Tensor torch.uint8 \(70, 96\)"),
        (lambda grey: [None], "a NoneType"),
        (lambda grey: grey[:0], r"ndarray uint8 \(0, 96\)"),
    ],
)
def test_what_is_no_picture_is_told_in_one_sentence(spoil, form, run, picture):
    grey = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
    with pytest.raises(DataError, match=rf"^a picture is a file or a grey numpy array \(H, W\) uint8, not {form}; make it grey"):
        predict(run, spoil(grey))


def test_all_pictures_that_cannot_be_read_are_named_at_once(run, picture, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no picture")
    with pytest.raises(DataError, match=r"a\.png: cannot be read.*b\.png: cannot be read"):
        predict(run, [tmp_path / "a.png", picture, tmp_path / "b.png"])


def test_strings_are_paths_wherever_predict_takes_them(run, picture, tmp_path):
    assert picture_files(str(picture)) == picture_files([str(picture)]) == [picture] and picture in picture_files(str(tmp_path))
    points = predict(run, str(picture))
    for paths in (str(picture), [str(picture)], [picture]):
        write_points(paths, points, tmp_path / "points.csv")
        assert np.allclose(read_annotations(tmp_path / "points.csv").points_px, points, atol=0.0051)
        assert points_csv(paths, points).splitlines()[1].startswith("chest-1.png,")
        assert [path.name for path in write_overlays(paths, points, str(tmp_path / "drawn"))] == ["chest-1.png"]


@pytest.mark.parametrize("name", ["a\rb.png", "a\nb.png", "a\u200bb.png", "a\\b.png"])
def test_a_name_that_no_table_could_hold_is_refused(name):
    with pytest.raises(DataError, match=r"the picture name 'a.*rename the picture|names a folder"):
        points_csv([Path(name)], np.zeros((1, 15, 2)))


@pytest.mark.parametrize("name", ["a\u2028b.png", "a, b.png", 'a "b".png', "a;b.png"])
def test_a_name_with_odd_signs_is_read_back(name, tmp_path):
    write_points([Path(name)], np.full((1, 15, 2), 20.0), tmp_path / "points.csv")
    assert read_annotations(tmp_path / "points.csv").names == (name,)


@pytest.mark.parametrize("times", [1, 2, 4])
def test_marks_grow_with_the_picture(times):
    points = np.linspace(60, 580, 30).reshape(15, 2)
    small = overlay(np.full((640, 640), 90, np.uint8), points)
    large = overlay(np.full((640 * times, 640 * times), 90, np.uint8), (points + 0.5) * times - 0.5)
    drawn = [(canvas != 90).any(2).mean() for canvas in (small, large)]
    assert np.isclose(*drawn, rtol=0.1)  # the same share of the picture


def test_answers_that_are_not_the_pictures_are_refused(picture, tmp_path):
    with pytest.raises(DataError, match=r"1 pictures with points of the form \(2, 15, 2\): \(1, 15, 2\) is needed"):
        write_points([picture], np.zeros((2, 15, 2)), tmp_path / "points.csv")
    assert not (tmp_path / "points.csv").exists()


def test_a_model_of_ones_own_can_be_asked_about_files(picture):
    grey = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
    settings = PreprocessSettings(size=64)
    frames, images = prepare([str(picture), grey], settings)
    assert prepare(grey)[1].shape == (1, 224, 224)
    assert frames == [Frame(70, 96)] * 2 and np.array_equal(images.numpy(), np.stack([preprocess(grey, settings)] * 2))
    assert predict_points(create_model("tiny", weights="none"), images).shape == (2, 15, 2)


# ---------------------------------------------------------------- what a run keeps


def test_a_run_builds_its_model_once_for_its_answers(run, picture, monkeypatch):
    built = []

    def counted(*arguments, original=runs_module.model_from_weights):
        built.append(original(*arguments))
        return built[-1]

    monkeypatch.setattr(runs_module, "model_from_weights", counted)
    first, second = predict(run, picture), predict(run, picture)
    assert np.array_equal(first, second) and len(built) == 1
    assert run.model() is not run.model() and not run.kept_model.training  # a model to be changed is one's own


def test_the_log_says_which_epoch_was_kept(run, tmp_path, capsys):
    assert "phase2: the model holds the weights of phase2, epoch 1 (validation error" in (run.path / "train.log").read_text()
    train(SMALL, Source(phantoms=40), tmp_path / "loud")
    told, log = capsys.readouterr().out, (tmp_path / "loud" / "train.log").read_text()
    kept = [line for line in log.splitlines() if "holds the weights of" in line]
    assert len(kept) == 1 and told.count(kept[0]) == 1


def test_a_log_calls_no_epoch_best_where_none_is_chosen(run, tmp_path):
    for select, marked in (("best", True), ("last", False)):
        recipe = replace(SMALL, phases=(SMALL.phases[0], replace(SMALL.phases[1], select=select)))
        train(recipe, Source(phantoms=40), tmp_path / select, quiet=True)
        assert any(line.endswith("  best") for line in (tmp_path / select / "train.log").read_text().splitlines()) == marked


def test_the_pictures_of_the_first_run_come_first():
    asked = [PreprocessSettings(size=size) for size in (96, 32, 80, 48, 64)]
    runs = [SimpleNamespace(recipe=SimpleNamespace(preprocessing=settings)) for settings in asked]
    assert list(_load(runs, Source(phantoms=2))) == asked  # what is written of them, their grey for one, is of the first


def test_a_side_look_leaves_the_errors_of_a_run_as_they_were(tmp_path, capsys):
    """Figures and claims read errors.csv beside results.json: what is not mirrored, or of other labels, is no scoring of that run."""
    data = tmp_path / "data"
    data.mkdir()
    images, points, _ = phantoms(60, seed=5, size=64)
    table = ["image,file_width,file_height," + ",".join(f"{axis}{k}" for k in range(1, 16) for axis in "xy")]
    for k, (image, shape) in enumerate(zip(images, points, strict=True)):
        cv2.imwrite(str(data / f"{('A', 'B')[k % 2]}-{k}.png"), image)
        table.append(",".join([f"{('A', 'B')[k % 2]}-{k}", "64", "64", *(f"{value:.3f}" for value in (shape * 64 - 0.5).flatten())]))
    (data / "labels.csv").write_text("\n".join(table) + "\n")
    run = tmp_path / "run"
    assert main(["train-landmarks", "--data", str(data), "--label-size", "0", "--recipe", "smoke", "--image-size", "64", "--out", str(run)]) == 0
    before = (run / "errors.csv").read_bytes()
    assert main(["evaluate", str(run), "--no-tta"]) == 0
    assert main(["evaluate", str(run), "--data", str(data), "--label-size", "448"]) == 0
    (data / "labels.csv").write_text("\n".join([table[0], *(row.replace(row.split(",")[5], f"{float(row.split(',')[5]) + 9:.3f}", 1) for row in table[1:])]) + "\n")
    assert main(["evaluate", str(run)]) == 0
    assert (run / "errors.csv").read_bytes() == before
    (data / "labels.csv").write_text("\n".join(table) + "\n")
    (run / "errors.csv").unlink()
    assert main(["evaluate", str(run)]) == 0
    assert (run / "errors.csv").read_bytes() == before
