"""What must hold for any input: geometry, splits, errors and the reader of tables, on cases that hypothesis draws (always the same ones)."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from landmark_thesis.data import DataError, Frame, kfold_splits, read_annotations, thesis_split
from landmark_thesis.landmarks import (
    FLIP_PERMUTATION,
    fractions_to_pixels,
    from_shape,
    pixels_to_fractions,
    project_to_shape,
    to_shape,
)
from landmark_thesis.pixel_error import along_across, displacements, mean_radial_error, radial_errors

QUICK = settings(derandomize=True, max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
LONG = settings(derandomize=True, max_examples=2000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(16, 5000)


def points(seed: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.2, 1.2, (count, 15, 2))


def shapes(seed: int) -> np.ndarray:
    """Shapes (3, 14) whose axis has a length, in any direction."""
    rng = np.random.default_rng(seed)
    angle, length = rng.uniform(0, 2 * np.pi, (3, 1)), rng.uniform(0.3, 0.9, (3, 1))
    top = rng.uniform(0.2, 0.8, (3, 2))
    return np.hstack([top, top + length * np.hstack([np.cos(angle), np.sin(angle)]), rng.uniform(-0.4, 0.4, (3, 10))])


def turned(xy: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return (xy - 0.5) @ np.array([[cos, sin], [-sin, cos]]) + 0.5


def mirrored(xy: np.ndarray) -> np.ndarray:
    return (xy * [-1, 1] + [1, 0])[..., list(FLIP_PERMUTATION), :]


@QUICK
@given(SEEDS, SIDES, SIDES)
def test_pixels_and_fractions_are_each_others_inverse(seed, height, width):
    xy = points(seed)
    assert np.allclose(pixels_to_fractions(fractions_to_pixels(xy, (height, width)), (height, width)), xy, atol=1e-12)
    frame = Frame(height, width)
    pixels = xy * [width, height]
    assert np.allclose(frame.to_file(frame.to_square(pixels)), pixels, atol=1e-8 * max(height, width))
    corners = frame.to_square(np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]]))
    assert (corners >= -1e-12).all() and (corners <= 1 + 1e-12).all() and np.ptp(corners, 0).max() > 1 - 1e-9


@QUICK
@given(SEEDS, st.floats(-3, 3))
def test_the_14_numbers_give_their_points_back_whichever_way_they_are_turned(seed, angle):
    shape = shapes(seed)
    xy = from_shape(shape)
    assert np.allclose(to_shape(xy), shape, atol=1e-9)
    assert np.allclose(to_shape(turned(xy, angle))[:, 4:], shape[:, 4:], atol=1e-9)
    assert np.allclose(from_shape(to_shape(turned(xy, angle))), turned(xy, angle), atol=1e-9)


@QUICK
@given(SEEDS, st.floats(-3, 3))
def test_projection_is_idempotent_turns_and_mirrors_with_the_points_and_never_moves_away(seed, angle):
    rng = np.random.default_rng(seed)
    xy = from_shape(shapes(seed)) + rng.normal(0, 0.01, (3, 15, 2))
    near = project_to_shape(xy)
    assert np.allclose(project_to_shape(near), near, atol=1e-9)
    assert np.allclose(project_to_shape(turned(xy, angle)), turned(near, angle), atol=1e-9)
    assert np.allclose(project_to_shape(mirrored(xy)), mirrored(near), atol=1e-9)
    other = from_shape(to_shape(xy) + rng.normal(0, 0.01, (3, 14)))
    assert (((near - xy) ** 2).sum((1, 2)) <= ((other - xy) ** 2).sum((1, 2)) + 1e-12).all()


@QUICK
@given(SEEDS)
def test_a_mirror_twice_is_none(seed):
    assert np.allclose(mirrored(mirrored(points(seed))), points(seed), atol=1e-12)


@QUICK
@given(SEEDS, st.integers(8, 2000), st.floats(0.1, 10), st.floats(-3, 3))
def test_errors_know_distance_and_nothing_else(seed, size, scale, angle):
    pred, target = points(seed), points(seed + 1)
    radial = radial_errors(pred, target, size)
    assert np.allclose(radial_errors(pred + [0.3, -0.2], target + [0.3, -0.2], size), radial, atol=1e-8 * size)
    assert np.allclose(radial_errors(pred * scale, target * scale, size), scale * radial, rtol=1e-9, atol=1e-9)
    assert np.allclose(radial_errors(turned(pred, angle), turned(target, angle), size), radial, atol=1e-8 * size)
    assert np.allclose(radial_errors(target, pred, size), radial) and (radial_errors(target, target, size) == 0).all()
    order = np.random.default_rng(seed).permutation(15)
    assert np.allclose(radial_errors(pred[:, order], target[:, order], size), radial[:, order])
    assert np.allclose(((along_across(pred, target, size)) ** 2).sum(-1), radial**2, rtol=1e-6, atol=1e-6)
    assert np.allclose((displacements(pred, target, size) ** 2).sum(-1), radial**2)
    assert np.isclose(mean_radial_error(pred, target, size), radial.mean()) and np.isclose(mean_radial_error(pred[::-1], target[::-1], size), radial.mean())


NAMED = st.tuples(st.integers(20, 60), st.integers(20, 60), SEEDS, st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=8))


def drawn(case) -> tuple[list[str], list[str], int, list[tuple[str, str]]]:
    many, few, seed, pairs = case
    names = [f"a-{k}" for k in range(many)] + [f"b-{k}" for k in range(few)]
    return names, [name[0] for name in names], seed, [(names[i], names[j]) for i, j in pairs if i != j]


@QUICK
@given(NAMED)
def test_a_split_is_disjoint_complete_repeatable_and_parts_no_near_duplicates(case):
    names, categories, seed, pairs = drawn(case)
    split = thesis_split(names, categories, seed, duplicates=pairs)
    assert split == thesis_split(names, categories, seed, duplicates=pairs[::-1]) or split.parts == thesis_split(names, categories, seed, duplicates=pairs[::-1]).parts
    everybody = [name for part in split.parts.values() for name in part]
    assert len(set(everybody)) == len(everybody) and {*everybody, *split.dropped} == set(names) and not {*everybody} & {*split.dropped}
    where = {name: part for part, members in split.parts.items() for name in members}
    assert all(where.get(a, b) == where.get(b, a) or a not in where or b not in where for a, b in pairs)
    plain = thesis_split(names, categories, seed)
    held = -(-len(names) // 4)
    assert len(plain.parts["val"]) + len(plain.parts["test"]) == held and len(plain.parts["test"]) == -(-held * 2 // 5)
    assert split.parts["test"] == plain.parts["test"] and type(split).from_json(split.to_json()) == split


@QUICK
@given(NAMED, st.integers(2, 5))
def test_folds_leave_each_picture_out_once_and_keep_near_duplicates_together(case, k):
    names, categories, seed, pairs = drawn(case)
    folds = kfold_splits(names, categories, k, seed, duplicates=pairs)
    assert sorted(name for fold in folds for name in fold.parts["oof"]) == sorted(names)
    for fold in folds:
        assert sorted(name for part in fold.parts.values() for name in part) == sorted(names)
        out = set(fold.parts["oof"])
        assert all((a in out) == (b in out) for a, b in pairs)
    assert [fold.fingerprint for fold in folds] == [fold.fingerprint for fold in kfold_splits(names, categories, k, seed, duplicates=pairs)]


LINE = "0," + ",".join(str(k % 60) for k in range(7, 37)) + ",COVID-{}\n"
TEXTS = st.one_of(
    st.text(max_size=300),
    st.lists(st.sampled_from([LINE.format(1), LINE.format(2), "\n", ",", '"', ";", "\t", "\r", "nan", "1e9", "image,x1,y1\n", "a,1,2\n", "\0", "\ufeff"]), max_size=12).map("".join),
    st.tuples(st.integers(0, 180), st.text(max_size=5)).map(lambda cut: (LINE.format(1) * 1 + LINE.format(2))[: cut[0]] + cut[1] + (LINE.format(1) + LINE.format(2))[cut[0] :]),
)


def one_table_or_one_error(path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        read = read_annotations(path)
    except DataError as error:
        lines = str(error).splitlines()
        assert lines[0].startswith(str(path)) and all(line.startswith("  ") for line in lines[1:])
        assert all("row" in line or "..." in line or "no rows" in line for line in lines[1:])
        return
    assert len(read) >= 1 and read.points_px.shape == (len(read), read.points_px.shape[1], 2)
    assert len(set(read.names)) == len(read) and all(name.strip() and "/" not in name for name in read.names)
    assert np.nanmax(np.abs(read.points_px)) <= 64_000_000 and not np.isnan(read.points_px).all((1, 2)).any()


@settings(QUICK, max_examples=150)
@given(TEXTS)
def test_any_text_is_a_table_or_one_error(tmp_path_factory, content):
    one_table_or_one_error(tmp_path_factory.getbasetemp() / "any.csv", content.encode("utf-8", "surrogatepass"))


@pytest.mark.slow
@LONG
@given(st.one_of(TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary(max_size=400)))
def test_any_bytes_are_a_table_or_one_error(tmp_path_factory, content):
    one_table_or_one_error(tmp_path_factory.getbasetemp() / "bytes.csv", content)
