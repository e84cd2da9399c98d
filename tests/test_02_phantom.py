"""Tests of nbs/02_phantom.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


from landmark_thesis import phantom as chapter

# The notebook's cells see every name of its module; so do its tests.
globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})


# cell 70931bcc
def test_the_covariance_is_one():
    assert SHAPE_MEAN.shape == SHAPE_SD.shape == (14,) and SHAPE_COVARIANCE.shape == (14, 14)
    np.testing.assert_array_equal(SHAPE_COVARIANCE, SHAPE_COVARIANCE.T)
    np.testing.assert_allclose(np.sqrt(np.diag(SHAPE_COVARIANCE)), SHAPE_SD, rtol=1e-12)
    assert np.linalg.eigvalsh(SHAPE_COVARIANCE).min() > 1e-6, "rounding to percent must leave it positive definite"


# cell d5f4eac8
def test_statistics_come_from_the_training_part(real_data):
    import csv

    from sklearn.model_selection import train_test_split

    with open(real_data / "landmarks" / "coordenadas_maestro.csv", newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    names = [row[31] for row in rows]
    classes = [name.split("-")[0] for name in names]
    train, _ = train_test_split(range(len(rows)), test_size=0.25, random_state=42, stratify=classes)
    assert len(train) == 717 and [sum(classes[i].startswith(c) for i in train) for c in ("COVID", "Normal", "Viral")] == [229, 351, 137]
    kept = [rows[i][1:31] for i in train if names[i] not in ("COVID-192", "COVID-334")]
    assert len(kept) == 716
    shapes = to_shape((np.array(kept, float).reshape(-1, 15, 2) + 0.5) / 299)
    np.testing.assert_allclose(shapes.mean(0), SHAPE_MEAN, atol=6e-5)
    np.testing.assert_allclose(np.corrcoef(shapes.T), SHAPE_COVARIANCE / np.outer(SHAPE_SD, SHAPE_SD), atol=0.0051)
    np.testing.assert_allclose(shapes.std(0, ddof=1), SHAPE_SD, atol=6e-5)


# cell 44414db6
def test_sampled_shapes_follow_the_statistics():
    points = sample_shapes(600, seed=1)
    shapes = to_shape(points.astype(float))
    assert points.dtype == np.float32 and points.min() > -0.02 and points.max() < 1.02
    np.testing.assert_allclose(shapes.mean(0), SHAPE_MEAN, atol=0.02)
    np.testing.assert_allclose(shapes.std(0), SHAPE_SD, rtol=0.35)
    assert (shapes[:, 4:] * np.tile([-1, 1], 5) > 0).all(), "no point on the wrong side of the axis"
    on_border = ((points < 0.5 / 299) | (points > 294.5 / 299)).any((1, 2)).mean()
    assert 0.02 < on_border < 0.2
    np.testing.assert_array_equal(sample_shapes(3, seed=1, start=40), points[40:43])


# cell ac1563a7
def test_what_cannot_be_numbered_is_refused():
    for arguments in ({"n": -1}, {"n": 1, "start": -1}, {"n": 1, "seed": -1}):
        try:
            sample_shapes(**arguments)
        except ValueError as error:
            assert "negative" in str(error)
        else:
            raise AssertionError(f"{arguments} was accepted")
    assert sample_shapes(0).shape == (0, 15, 2)


# cell 911752cf
def test_a_style_says_what_is_wrong_with_it():
    for wrong in ({"exposure": (2.0, 1.0)}, {"bone": (-1.0, 1.0)}, {"marker": 1.5}):
        try:
            PhantomStyle(**wrong)
        except ValueError as error:
            assert f"PhantomStyle.{next(iter(wrong))}" in str(error)
        else:
            raise AssertionError(f"{wrong} was accepted")
    assert CHAPTER_STYLE != PRETRAIN_STYLE and hash(CHAPTER_STYLE) == hash(PhantomStyle())


# cell 5e884a69
def test_the_frame_of_the_chest_agrees_with_the_landmarks():
    points = sample_shapes(1, seed=4)[0]
    chest = _chest(points, 224)
    on_axis = np.stack([np.zeros(2), np.array([0.0, 1.0])], -1)
    np.testing.assert_allclose(chest.pixels(on_axis), points[:2] * 224 - 0.5, atol=1e-3)
    left = np.stack([-chest.border[0], np.linspace(0, 1, 5)], -1)
    np.testing.assert_allclose(chest.pixels(left), points[list(LEFT_CONTOUR)] * 224 - 0.5, atol=1e-3)
    x, y = chest.pixels(np.array([chest.across[30, 40], chest.along[30, 40]]))
    np.testing.assert_allclose((x, y), (40, 30), atol=1e-3)


# cell 5b26c21e
def test_an_ellipsoid_casts_the_shadow_of_an_ellipsoid():
    chest = _chest(from_shape(SHAPE_MEAN), 256)
    shadow = _ellipsoid(chest, (0.1, 0.4), (0.3, 0.2))
    r = np.hypot((chest.across - 0.1) / 0.3, (chest.along - 0.4) / 0.2)
    np.testing.assert_allclose(shadow, np.sqrt(np.maximum(1 - r**2, 0)), atol=2e-3)
    np.testing.assert_allclose(shadow.sum() / chest.scale**2, 2 / 3 * np.pi * 0.3 * 0.2, rtol=1e-2)  # its volume, halved


# cell 77054791
def test_layers_add_up_and_keep_to_themselves():
    points = sample_shapes(1, seed=2)[0]
    layers = attenuation_layers(points, 96, seed=5)
    assert all(layer.shape == (96, 96) and layer.dtype == np.float32 for layer in layers.values())
    assert layers["lungs"].max() == 0 and layers["opacities"].max() == 0 and layers["ribs"].min() >= 0
    filled = layers["lungs"] + layers["heart"] + layers["diaphragm"]
    assert filled.max() < 1e-6, "what fills the lungs never weighs more than the air it takes away"
    changed = attenuation_layers(points, 96, 5, replace(CHAPTER_STYLE, devices=1.0, gas=0.0, texture=(0.0, 0.0)), "patchy")
    for name in ("body", "lungs", "heart", "diaphragm", "airway", "spine", "ribs", "shoulders"):
        np.testing.assert_array_equal(changed[name], layers[name], err_msg=name)
    assert changed["devices"].max() > 0.3 and changed["opacities"].max() > 0.1


# cell e5383edd
def test_the_heart_leans_to_the_pictures_right():
    for number in range(10):
        chest = _chest(from_shape(SHAPE_MEAN), 96)
        heart = _heart(chest, _generator((0, number), "heart"))
        assert heart[chest.across > 0].sum() > 1.2 * heart[chest.across < 0].sum()


# cell 416aa341
def test_more_matter_is_brighter_and_noise_can_be_switched_off():
    still = replace(CHAPTER_STYLE, photons=(np.inf, np.inf), marker=0.0, collimation=0.0, vignetting=(0.0, 0.0), blur=(0.0, 0.0))
    ramp = np.tile(np.linspace(0, 4, 128, dtype=np.float32), (128, 1))
    picture = expose(ramp, 3, replace(still, scatter=(0.0, 0.0))).astype(int)
    assert (np.diff(picture, axis=1) >= 0).all() and np.ptp(picture) > 200
    np.testing.assert_array_equal(picture, np.tile(picture[0], (128, 1)))
    noisy = expose(np.full((128, 128), 3, np.float32) + ramp / 100, 3, replace(still, photons=(1e4, 1e4)))
    assert noisy.std(0).min() > 1, "photon noise is there when photons are counted"


# cell 59192a62
def test_one_chest_at_any_size():
    points = sample_shapes(1, seed=8)[0]
    small, large = (sum(attenuation_layers(points, size, seed=11).values()) for size in (112, 448))
    shrunk = cv2.resize(large, (112, 112), interpolation=cv2.INTER_AREA)
    assert np.abs(small - shrunk).mean() < 0.05 * small.std()
    assert np.corrcoef(small.ravel(), shrunk.ravel())[0, 1] > 0.99


# cell 8e0cd65c
def test_a_phantom_refuses_what_it_cannot_draw():
    points = sample_shapes(1)[0]
    for wrong, word in (({"category": "flu"}, "flu"), ({"size": 8}, "size 8"), ({"seed": -1}, "negative")):
        try:
            draw_phantom(points, **wrong)
        except ValueError as error:
            assert word in str(error)
        else:
            raise AssertionError(f"{wrong} was accepted")
    assert draw_phantom(points * 1.4 - 0.3, 64).shape == (64, 64), "a chest half outside is drawn all the same"


# cell 82c98a13
def test_a_phantom_depends_on_its_number_alone():
    images, points, categories = phantoms(5, seed=3, size=64)
    assert images.dtype == np.uint8 and points.dtype == np.float32 and set(categories) <= set(CATEGORIES)
    later, later_points, later_categories = phantoms(2, seed=3, start=3, size=64)
    np.testing.assert_array_equal(later, images[3:])
    np.testing.assert_array_equal(later_points, points[3:])
    assert later_categories == categories[3:]
    assert len({image.tobytes() for image in images}) == 5
    assert (phantoms(1, seed=4, size=64)[0] != images[0]).any()
    assert phantoms(0, size=64)[0].shape == (0, 64, 64)


# cell 0e217d94
def test_another_process_draws_the_same():
    program = "from landmark_thesis.phantom import phantoms; import hashlib; print(hashlib.sha256(phantoms(2, seed=3, start=7, size=64)[0]).hexdigest())"
    import hashlib
    import subprocess
    import sys

    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    assert other == hashlib.sha256(phantoms(2, seed=3, start=7, size=64)[0]).hexdigest()


# cell cf6e4527
def test_a_stream_of_phantoms_needs_no_more_memory_than_one():
    import tracemalloc

    def peak(n):
        tracemalloc.start()
        for _ in iter_phantoms(n, size=64):
            pass
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(2)  # caches are filled
    assert peak(24) < 1.5 * peak(3)
    assert [picture.shape for picture, _, _ in itertools.islice(iter_phantoms(size=32), 3)] == [(32, 32)] * 3


# cell 6608038f
NOTHING = dict.fromkeys(("blur", "bone", "vessels", "texture"), (0.0, 0.0)) | dict.fromkeys(("marker", "collimation", "devices"), 0.0)
BARE = replace(CHAPTER_STYLE, photons=(np.inf, np.inf), **NOTHING)


def border_offsets(picture, points, reach=6.0):
    """(10,) pixels from each lateral point, outwards, to the steepest rise of grey along its perpendicular."""
    from scipy.ndimage import map_coordinates

    shape, size = to_shape(points.astype(float)), len(picture)
    down = (shape[2:4] - shape[0:2]) / np.hypot(*(shape[2:4] - shape[0:2]))
    steps, offsets = np.linspace(-reach, reach, 121), []
    for landmark in LATERAL:
        outwards = np.array([down[1], -down[0]]) * (-1 if landmark in LEFT_CONTOUR else 1)
        way = -down if landmark in (11, 12) else outwards
        x, y = (points[landmark] * size - 0.5 + steps[:, None] * way).T
        offsets.append(steps[np.gradient(map_coordinates(picture.astype(float), [y, x], order=1, mode="nearest")).argmax()])
    return np.array(offsets)


# cell 9457bad0
def test_the_lungs_border_runs_through_the_lateral_points():
    offsets = np.array([border_offsets(draw_phantom(p, 224, (3, i), BARE), p) for i, p in enumerate(sample_shapes(40, seed=3))])
    assert np.abs(np.median(offsets, 0)).max() < 0.8
    assert np.percentile(np.abs(offsets[:, :8]), 90) < 1.5
    shifted = np.array([border_offsets(draw_phantom(p, 224, (3, i), BARE), p + [4 / 224, 0]) for i, p in enumerate(sample_shapes(40, seed=3))])
    sign = np.where(np.isin(LATERAL, LEFT_CONTOUR), 1, -1)[:6]  # a landmark moved to the right by 4 px sees its border 4 px to the left
    np.testing.assert_allclose(np.median(shifted[:, :6] * sign, 0), 4, atol=1.2)


# cell 6a9157be
def test_picture_and_points_agree_under_the_flip():
    from landmark_thesis.landmarks import FLIP_PERMUTATION

    for i, points in enumerate(sample_shapes(8, seed=5)):
        picture = draw_phantom(points, 224, (5, i), BARE)
        flipped = (points * (-1, 1) + (1, 0))[list(FLIP_PERMUTATION)]
        mirrored = border_offsets(np.ascontiguousarray(picture[:, ::-1]), flipped)
        partner = [LATERAL.index(FLIP_PERMUTATION[k]) for k in LATERAL]
        difference = np.abs(mirrored - border_offsets(picture, points)[partner])
        assert np.median(difference) < 0.11 and difference.max() < 1, "equal but for ties between neighbouring steps"


# cell d300ca95
def test_a_threshold_does_not_find_the_lungs():
    images, points, _ = phantoms(10, size=112)
    for i in range(10):
        layers = attenuation_layers(points[i], 112, (0, i))
        lungs = layers["lungs"] + layers["heart"] + layers["diaphragm"] < -0.3
        assert max((lungs & (images[i] < g)).sum() / (lungs | (images[i] < g)).sum() for g in range(5, 255, 5)) < 0.8


# cell 99ef4448
def test_two_makes_of_one_chest():
    points = sample_shapes(1, seed=6)[0]
    ours, other = draw_phantom(points, 96, 6), draw_phantom(points, 96, 6, PRETRAIN_STYLE)
    assert (ours != other).any() and np.corrcoef(ours.ravel(), other.ravel())[0, 1] > 0.7
    spread = [np.std([image.mean() for image in phantoms(30, size=32, style=s)[0]]) for s in (CHAPTER_STYLE, PRETRAIN_STYLE)]
    assert spread[1] > spread[0]
