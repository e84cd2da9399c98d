"""Data sets that look fine and are not: `check-data` and the training say the same, in one line, before any time is spent."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from landmark_thesis import runs
from landmark_thesis.cli import main
from landmark_thesis.data import (
    IMAGE_EXTENSIONS,
    THESIS_SPLIT_FINGERPRINT,
    THESIS_TEST_FINGERPRINT,
    DataError,
    PreprocessSettings,
    Split,
    check_data,
    kfold_splits,
    load_data,
    phantom_data,
    thesis_split,
)
from landmark_thesis.defense import Defense
from landmark_thesis.evaluate import read_errors
from landmark_thesis.landmarks import CENTRAL, LEFT_CONTOUR, RIGHT_CONTOUR
from landmark_thesis.model import LandmarkRegressor, create_model
from landmark_thesis.pixel_error import patient_interval

SIDE = 64
POINTS = phantom_data(60, seed=5, size=SIDE)
COLUMNS = [f"{axis}{k}" for k in range(1, 16) for axis in "xy"]


def folder_of(place, names, order=range(15), **columns):
    """A data folder of phantoms under these names; `columns` are further ones of the table, `order` says which point stands where."""
    place.mkdir()
    with open(place / "labels.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", *COLUMNS, *columns])
        for k, name in enumerate(names):
            cv2.imwrite(str(place / f"{name}.png"), POINTS.images[k].numpy())
            numbers = (POINTS.points[k][list(order)] * SIDE - 0.5).flatten().tolist()
            table.writerow([name, *(f"{number:.3f}" for number in numbers), *(column[k] for column in columns.values())])
    return place


def checked(folder, capsys) -> tuple[int, list[str]]:
    """Exit code of check-data, and the lines it says."""
    code = main(["check-data", str(folder), "--label-size", "0"])
    return code, capsys.readouterr().out.splitlines()


def refused(folder, capsys, *more) -> str:
    """What a training says that must not begin: one line, and nothing is left."""
    out = folder.parent / "run"
    words = ["train-landmarks", "--recipe", "smoke", "--image-size", "32", "--data", str(folder), "--label-size", "0", "--out", str(out), *more]
    assert main(words) == 2 and not out.exists()
    (line,) = capsys.readouterr().err.splitlines()
    return line


ORDERS = {"contours": [0, 1, *LEFT_CONTOUR, *RIGHT_CONTOUR, *CENTRAL], "axis last": [*range(2, 15), 0, 1], "axis first": [0, 1, *CENTRAL, *LEFT_CONTOUR, *RIGHT_CONTOUR]}


@pytest.mark.parametrize("order", ORDERS)
def test_points_in_another_order_are_one_error_that_names_the_right_one(order, tmp_path, capsys):
    folder = folder_of(tmp_path / "data", [f"a-{k}" for k in range(30)], ORDERS[order])
    code, lines = checked(folder, capsys)
    wrong = [line for line in lines if line.startswith(("error", "note")) and "outside the picture" not in line]
    assert code == 2 and lines[-1].startswith("not ready") and len(wrong) == 1
    for said in (wrong[0], refused(folder, capsys)):
        assert "of 30 pictures are not in the order of the scheme" in said and "L12, L3, L5, L7, L14 are the contour on the picture's left" in said


def test_a_few_odd_shapes_stay_notes(tmp_path, capsys):
    folder = folder_of(tmp_path / "data", [f"a-{k}" for k in range(30)])
    with open(folder / "labels.csv", newline="") as file:
        rows = list(csv.reader(file))
    for row in rows[1:5]:
        row[5:7], row[7:9] = row[7:9], row[5:7]  # L3 for L4
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    code, lines = checked(folder, capsys)
    assert code == 0 and sum("the contours cross at L3/L4" in line for line in lines) == 4 and lines[-1] == "ready for training"


CLASSES = {
    "names": ([f"pat{k // 2:03d}-{k % 2}" for k in range(60)], {}, ["60 pictures cannot be split by class: 30 classes", "before the last hyphen", "a column `category`"]),
    "one alone": ([f"p{k}" for k in range(60)], {"category": ["B", *["A"] * 59]}, ["60 pictures cannot be split by class: 2 classes", "B 1", "a column `category`"]),
    "eight": ([f"p{k}" for k in range(8)], {}, ["the part 'val' of the split has 1 of 8 pictures", "two or more"]),
}


@pytest.mark.parametrize("case", CLASSES)
def test_what_cannot_be_split_is_told_before_a_training_by_both(case, tmp_path, capsys):
    names, columns, words = CLASSES[case]
    folder = folder_of(tmp_path / "data", names, **columns)
    code, lines = checked(folder, capsys)
    (error,) = (line for line in lines if line.startswith("error: "))
    assert code == 2 and lines[-1].startswith("not ready")
    for said in (error, refused(folder, capsys)):
        assert all(word in said for word in words), said
    assert ("hyphen" in error) == (case == "names")
    report = check_data(folder, label_size=0)
    assert report.ok and not report.ready  # enough to predict and to score


def test_a_column_of_categories_mends_names_that_are_no_classes(tmp_path, capsys):
    folder = folder_of(tmp_path / "data", CLASSES["names"][0], category=["a"] * 60)
    assert checked(folder, capsys)[0] == 0
    with pytest.raises(DataError, match="the part 'oof' of the split has 1 of"):  # folds too small to be scored
        runs.train(runs.RECIPES["smoke"], runs.Source(str(folder), 0), tmp_path / "run", fold=(50, 50), fold_of="dev", quiet=True)


def parted(split, patients) -> list[str]:
    """Patients of whom one part has pictures and another part has, too."""
    parts = {}
    for part, names in split.parts.items():
        for name in names:
            if patients[name]:
                parts.setdefault(patients[name], set()).add(part)
    return [patient for patient, found in parts.items() if len(found) > 1]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(-1, 60)), min_size=90, max_size=160), st.integers(0, 99))
def test_no_patient_lies_in_two_parts_and_no_picture_is_lost(pictures, seed):
    names = [f"{kind}-{k}" for k, (kind, _) in enumerate(pictures)]
    categories, patients = [kind for kind, _ in pictures], ["" if number < 0 else f"p{number}" for _, number in pictures]
    of = dict(zip(names, patients, strict=True))
    twins = [(names[3], names[70], 150), (names[5], names[88], 150)]
    try:
        splits = [thesis_split(names, categories, seed, patients=patients)]
    except DataError as error:
        assert "patients cannot be split by class" in str(error)
        return
    splits += kfold_splits(names, categories, 3, seed, duplicates=twins, patients=patients, validation=1 / 6)
    for split in splits:
        assert parted(split, of) == [] and split.dropped == {} and sorted(name for part in split.parts.values() for name in part) == sorted(names)
    assert parted(thesis_split(names, categories, seed, duplicates=twins, patients=patients), of) == []


def test_a_table_without_patients_or_with_one_picture_of_each_splits_as_before():
    names, categories = [f"a-{k}" for k in range(80)], ["a"] * 50 + ["b"] * 30
    train, held = train_test_split(names, test_size=0.25, random_state=7, stratify=categories)
    val, test = train_test_split(held, test_size=0.4, random_state=7, stratify=[categories[names.index(name)] for name in held])
    for patients in ((), [""] * 80, [f"p{k}" for k in range(80)]):
        assert thesis_split(names, categories, 7, patients=patients).parts == {"train": tuple(train), "val": tuple(val), "test": tuple(test)}
        assert kfold_splits(names, categories, 5, 7, patients=patients) == kfold_splits(names, categories, 5, 7)


def test_the_split_of_the_real_pictures_is_what_it_was(real_data):
    data = load_data(real_data)
    assert data.patients == ()
    twins = check_data(real_data).near_duplicates
    split = thesis_split(data.names, data.categories, 42, twins, data.pixel_hash, patients=data.patients)
    assert split.fingerprint == THESIS_SPLIT_FINGERPRINT == "d0c23795be920b05" and split.fingerprint_of("test") == THESIS_TEST_FINGERPRINT


def test_patients_are_told_kept_together_and_recorded(tmp_path, capsys):
    patients = [f"p{k // 3}" for k in range(54)] + [""] * 6  # 18 with three pictures each
    names = [f"a-{k}" for k in range(60)]
    folder = folder_of(tmp_path / "data", names, Patient=patients)
    code, lines = checked(folder, capsys)
    assert code == 0 and "patients: 18, 18 with several pictures, kept in one part of the split; of 6 pictures the patient is not stated" in lines
    words = ["train-landmarks", "--recipe", "smoke", "--image-size", "32", "--phase2-epochs", "1", "--data", str(folder), "--label-size", "0"]
    assert main([*words, "--out", str(tmp_path / "first")]) == 0
    split = runs.Run(tmp_path / "first").split
    of = dict(zip(names, patients, strict=True))
    assert parted(split, of) == [] and 40 <= len(split.parts["train"]) <= 50

    # a result has the interval of the mean with whole patients drawn, too
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "first"), "--split", "val"]) == 0
    printed, stored = capsys.readouterr().out, json.loads((tmp_path / "first" / "results.json").read_text())
    rows = read_errors(tmp_path / "first" / "errors.csv", "val")
    means, theirs = [np.mean([row[f"L{k}_radial"] for k in range(1, 16)]) for row in rows], [of[row["image"]] for row in rows]
    assert stored["by_patient"]["n_patients"] == len({*theirs} - {""}) + theirs.count("") < len(rows)
    assert stored["by_patient"]["mre_px_ci95"] == pytest.approx(patient_interval(means, theirs), abs=1e-3) != stored["val"]["mre_px_ci95"]
    assert f"{stored['by_patient']['n_patients']} of them drawn instead of pictures" in printed
    for lang, said in (("en", "pictures are of"), ("es", "imágenes son de")):
        told = Defense((runs.Run(tmp_path / "first"),), stored, lang=lang).facts["patients"]
        assert f"{len(rows)} {said} {stored['by_patient']['n_patients']} pa" in told

    # figures need the pictures, and name the option that brings them
    capsys.readouterr()
    assert main(["figures", str(tmp_path / "first"), "--out", str(tmp_path / "figures"), "--format", "svg"]) == 0
    assert "they need the pictures; give --data DIR" in capsys.readouterr().out

    # the same split, by its file, whatever the seeds say
    (tmp_path / "mine.json").write_text(split.to_json())
    assert main([*words, "--out", str(tmp_path / "second"), "--split", str(tmp_path / "mine.json")]) == 0
    assert runs.Run(tmp_path / "second").split == split and runs.Run(tmp_path / "second").settings["split_seed"] == split.seed
    capsys.readouterr()

    assert "leave out --fold and --split-seed" in refused(folder, capsys, "--split", str(tmp_path / "mine.json"), "--fold", "1/3")
    assert "gone.json" in refused(folder, capsys, "--split", str(tmp_path / "gone.json"))
    torn = {**split.parts, "train": split.parts["train"][1:], "val": (*split.parts["val"], split.parts["train"][0])}
    for parts, said in (
        (torn, "the split has pictures of patient 'p"), ({**split.parts, "val": ()}, "the part 'val' of the split has 0 of"),
        ({**split.parts, "train": ("a-0", "b-0")}, "not in this data set: b-0"), ({"val": split.parts["val"]}, "the part 'train' of the split has 0 of"),
    ):
        Split(parts, {}).save(tmp_path / "other.json")
        assert said in refused(folder, capsys, "--split", str(tmp_path / "other.json"))
    Split(split.parts, {**split.pixel_hash, split.parts["val"][0]: "0" * 64}).save(tmp_path / "other.json")
    assert f"another picture under the name of {split.parts['val'][0]}" in refused(folder, capsys, "--split", str(tmp_path / "other.json"))


def test_two_columns_of_patients_are_one_too_many(tmp_path):
    folder = folder_of(tmp_path / "data", ["a-1"], patient=["1"], patient_id=["2"])
    with pytest.raises(DataError, match="2 columns of patients"):
        load_data(folder, label_size=0)


def test_resuming_with_another_number_of_epochs_says_just_that(picture_folder, trained_run, capsys):
    words = ["train-landmarks", "--recipe", "smoke", "--image-size", "64", "--label-size", "0", "--seed", "3", "--resume"]
    assert main([*words, "--data", str(picture_folder), "--out", str(trained_run), "--phase2-epochs", "5"]) == 2
    assert "other settings (phase2.epochs: 2 then, 5 now); resume it" in capsys.readouterr().err


def test_predicted_points_do_not_become_a_second_table_of_labels(picture_folder, trained_run, tmp_path, capsys):
    picture = str(picture_folder / "phantom-000000.png")
    for place in (picture_folder / "points.csv", picture_folder / "new" / "points.csv"):
        assert main(["predict", str(trained_run), picture, "--csv", str(place)]) == 2
        assert "must hold one table only; choose another place" in capsys.readouterr().err and not place.exists()
    assert main(["predict", str(trained_run), picture, "--csv", str(tmp_path / "points.csv")]) == 0
    assert capsys.readouterr().err == ""

    other = folder_of(tmp_path / "other", ["a-0", "a-1"])  # not the run's own pictures: it may be meant, and is told
    assert main(["predict", str(trained_run), str(other / "a-0.png"), "--csv", str(other / "points.csv")]) == 0
    assert f"note: labels.csv and points.csv are two tables below {other}" in capsys.readouterr().err


@pytest.mark.parametrize("words, resumes", [(["check-data", "{0}"], False), (["bench", "--small"], False), (["train-landmarks", "--data", "{0}", "--out", "{0}/run"], True)])
def test_ctrl_c_promises_a_resume_only_where_there_is_one(words, resumes, picture_folder, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    for place in ("landmark_thesis.data.check_data", "landmark_thesis.bench.bench", "landmark_thesis.runs.train"):
        monkeypatch.setattr(place, interrupt)
    assert main([word.format(picture_folder) for word in words]) == 130
    said = capsys.readouterr().err
    assert "interrupted" in said and ("--resume" in said) == resumes


def test_a_head_of_ones_own_needs_no_levels():
    class Head(torch.nn.Module):
        def forward(self, maps):
            return torch.cat([part.mean((2, 3)) for part in maps], 1)[:, :30]

    backbone = create_model("tiny", weights="none").backbone
    images = torch.rand(2, 1, 64, 64)
    model = LandmarkRegressor(backbone, Head()).eval()
    assert [part.shape for part in model.features(images)] == [part.shape for part in backbone(images)] and model(images).shape == (2, 30)
    model.head.levels = 1
    assert len(model.features(images)) == 1


@pytest.mark.parametrize("name", ["README.md", "README.es.md"])
def test_the_readmes_name_the_formats_that_are_read(name):
    text = (Path(__file__).parent.parent / name).read_text(encoding="utf-8")
    assert ", ".join(f"`{extension}`" for extension in IMAGE_EXTENSIONS) in text and "DICOM" in text and "dcmj2pnm" in text and "--split FILE" in text


def test_phantoms_are_prepared_as_the_recipe_says():
    plain = runs.Source(phantoms=2).load(PreprocessSettings(size=64))
    flat = runs.Source(phantoms=2).load(PreprocessSettings(size=64, clahe_clip=0.0))
    assert not torch.equal(plain.images, flat.images) and plain.pixel_hash == flat.pixel_hash
    assert torch.equal(plain.images, phantom_data(2, size=64).images)


def test_folds_too_small_for_a_validation_part_by_class_are_told_in_one_line():
    names, categories = [f"{kind}-{k}" for kind in "abcdefghij" for k in range(10)], [kind for kind in "abcdefghij" for _ in range(10)]
    with pytest.raises(DataError, match="a fold's 50 training pictures cannot give a validation part by class"):
        kfold_splits(names, categories, 2, validation=1 / 6)
