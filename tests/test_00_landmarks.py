"""Tests of nbs/00_landmarks.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


from landmark_thesis import landmarks as chapter

# The notebook's cells see every name of its module; so do its tests.
globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})


# cell 226bfe32
def test_every_landmark_stands_on_one_line():
    assert NUM_LANDMARKS == 15 and LANDMARK_NAMES[0] == "L1" and LANDMARK_NAMES[-1] == "L15"
    assert sorted(AXIS + CENTRAL + LEFT_CONTOUR + RIGHT_CONTOUR) == list(range(15))
    assert LATERAL == (2, 3, 4, 5, 6, 7, 11, 12, 13, 14)


# cell 3b8f2e54
def test_levels():
    assert LEVELS == (0, 1, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 0.25, 0.5, 0.75, 0, 0, 1, 1)


# cell 9ae2b88a
def test_flip_permutation_is_an_involution():
    permutation = np.array(FLIP_PERMUTATION)
    assert (permutation[permutation] == np.arange(15)).all()
    assert sum(permutation != np.arange(15)) == 2 * len(SYMMETRIC_PAIRS)
    assert [permutation[k] for k in LEFT_CONTOUR] == list(RIGHT_CONTOUR)
    assert all(LEVELS[left] == LEVELS[right] for left, right in SYMMETRIC_PAIRS)


# cell bab5f856
def test_describe():
    assert describe(0) == "superior end of the axis"
    assert describe(13, "es") == "borde pulmonar izquierdo (de la imagen), en las bases"
    for lang in ("en", "es"):
        assert len({describe(k, lang) for k in range(NUM_LANDMARKS)}) == NUM_LANDMARKS
    for bad, error in (((15,), IndexError), ((-1,), IndexError), ((0, "fr"), ValueError)):
        try:
            describe(*bad)
        except error as problem:
            assert "choose" in str(problem) or "0 to 14" in str(problem)
        else:
            raise AssertionError(f"describe{bad} should fail")


# cell 8f1d288c
def test_pixels_and_fractions(device):
    assert pixels_to_fractions(np.array([0.0, 0.0]), (2, 4)).tolist() == [0.125, 0.25]  # (height, width), as image.shape
    assert pixels_to_fractions([[-0.5, 298.5]], 299).tolist() == [[0, 1]]  # the edges
    points = torch.tensor([[0, 3], [-7, 250]], device=device)
    fractions = pixels_to_fractions(points, (300, 200))
    assert fractions.dtype == torch.float32 and fractions.device == points.device
    assert torch.allclose(fractions_to_pixels(fractions, (300, 200)), points.float(), atol=1e-5)
    assert torch.isnan(pixels_to_fractions(torch.tensor([torch.nan, 1.0]), 9)).tolist() == [True, False]
    assert pixels_to_fractions(torch.tensor([250.0, 3.0], dtype=torch.bfloat16), 299).dtype == torch.float32
    try:
        pixels_to_fractions(points, 0)
    except ValueError as problem:
        assert "positive" in str(problem)
    else:
        raise AssertionError("a size of 0 should fail")


# cell 9b0273b9
def random_shapes(n, seed=0):
    """Shapes of any size, place and tilt, upside down too."""
    rng = np.random.default_rng(seed)
    top, angle = rng.uniform(0, 1, (n, 2)), rng.uniform(-np.pi, np.pi, n)
    length = rng.uniform(0.2, 1, n)[:, None]
    return np.c_[top, top + length * np.c_[np.cos(angle), np.sin(angle)], rng.normal(0, 0.3, (n, 10))]


def test_shape_round_trip(device):
    shapes = random_shapes(500)
    assert np.allclose(to_shape(from_shape(shapes)), shapes, atol=1e-12)
    single = torch.tensor(shapes, dtype=torch.float32, device=device)
    assert torch.allclose(to_shape(from_shape(single)), single, atol=2e-5)
    assert from_shape(shapes.reshape(10, 50, 14)).shape == (10, 50, 15, 2)


# cell 469f152e
def test_no_optimiser_finds_a_nearer_shape():
    from scipy.optimize import least_squares

    rng = np.random.default_rng(1)
    for shape in random_shapes(10, seed=2):
        measured = from_shape(shape) + rng.normal(0, 0.02, (15, 2))
        ours = ((project_to_shape(measured) - measured) ** 2).sum()
        for start in (shape, shape + rng.normal(0, 0.05, 14)):
            theirs = 2 * least_squares(lambda s, m=measured: (from_shape(s) - m).ravel(), start, xtol=1e-14, ftol=1e-14).cost
            assert ours <= theirs * (1 + 1e-9)


# cell 017b79d2
def test_projection_is_a_projection():
    measured = from_shape(random_shapes(50)) + np.random.default_rng(0).normal(0, 0.02, (50, 15, 2))
    once = project_to_shape(measured)
    assert np.allclose(project_to_shape(once), once, atol=1e-12)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    assert np.allclose(project_to_shape(measured @ turn.T + 0.3), once @ turn.T + 0.3, atol=1e-12)  # turns with the picture


def test_torch_agrees_and_differentiates(device):
    measured = from_shape(random_shapes(20)) + np.random.default_rng(0).normal(0, 0.02, (20, 15, 2))
    tensor = torch.tensor(measured, device=device, requires_grad=True)
    assert np.allclose(project_to_shape(tensor).detach().cpu(), project_to_shape(measured), atol=1e-12)
    assert torch.autograd.gradcheck(project_to_shape, (tensor[:3],))
    with torch.autocast(device.type, dtype=torch.bfloat16):  # mixed precision must not touch the geometry
        projected = project_to_shape(tensor.float())
    assert projected.dtype == torch.float32 and torch.allclose(projected.double(), project_to_shape(tensor), atol=1e-5)
    assert project_to_shape(tensor.bfloat16()).dtype == torch.float32


def test_shape_refuses_what_it_cannot_fit():
    hole = from_shape(random_shapes(2))
    hole[0, 3] = np.nan
    for bad, word in ((hole, "NaN"), (hole[:, :14], "form")):
        try:
            to_shape(bad)
        except ValueError as problem:
            assert word in str(problem)
        else:
            raise AssertionError("should fail")
    assert torch.isnan(to_shape(torch.tensor(hole))).all(-1).tolist() == [True, False]


# cell e94a84ce
def random_covariance(seed=0):
    factor = np.random.default_rng(seed).normal(size=(30, 30))
    return factor @ factor.T / 30 + 0.05 * np.eye(30)


def test_the_likeliest_shape_is_the_least_weighted_sum():
    from scipy.optimize import least_squares

    rng, covariance = np.random.default_rng(1), random_covariance()
    half = np.linalg.cholesky(np.linalg.inv(covariance)).T

    def cost(shape, measured):
        along = (shape[2:4] - shape[:2]) / np.hypot(*(shape[2:4] - shape[:2]))
        turn = np.stack([along, [along[1], -along[0]]], -1)
        return half @ ((measured - from_shape(shape)) @ turn).ravel()

    for shape in random_shapes(5, seed=3):
        measured = from_shape(shape) + rng.normal(0, 0.005, (15, 2))
        ours = to_shape(likeliest_shape(measured, covariance, steps=20))
        theirs = least_squares(cost, shape, args=(measured,), xtol=1e-14, ftol=1e-14).x
        # the frame turns with the axis, which Gauss-Newton leaves out: second order in the noise
        assert (cost(ours, measured) ** 2).sum() <= 1.001 * (cost(theirs, measured) ** 2).sum()


# cell b18e90de
def test_the_likeliest_shape_obeys_the_scheme_and_turns_with_the_picture():
    measured = from_shape(random_shapes(40)) + np.random.default_rng(0).normal(0, 0.01, (40, 15, 2))
    assert np.allclose(likeliest_shape(measured, 3 * np.eye(30)), project_to_shape(measured), atol=1e-9)
    once = likeliest_shape(measured, random_covariance())
    assert np.allclose(project_to_shape(once), once, atol=1e-12)
    assert np.allclose(likeliest_shape(measured, 7 * random_covariance()), once, atol=1e-12)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    assert np.allclose(likeliest_shape(measured @ turn.T + 0.3, random_covariance()), once @ turn.T + 0.3, atol=1e-9)
    assert np.allclose(likeliest_shape(measured.reshape(8, 5, 15, 2), random_covariance()).reshape(40, 15, 2), once, atol=1e-12)
    assert likeliest_shape(measured.astype(np.float32), np.eye(30)).dtype == np.float32
    moved = np.abs(once - measured).max()
    assert np.abs(likeliest_shape(measured, random_covariance(), steps=20) - once).max() < 0.001 * moved  # three steps are enough


def test_the_likeliest_shape_trusts_the_sure_points():
    truth = from_shape(random_shapes(1, seed=5))
    moved = truth.copy()
    moved[:, 1] += 0.05  # L2 alone is off
    doubtful = np.eye(30)
    doubtful[2, 2] = doubtful[3, 3] = 1e6
    assert np.allclose(likeliest_shape(moved, doubtful, steps=20), truth, atol=1e-6)
    assert np.abs(project_to_shape(moved) - truth).max() > 0.01


def test_the_likeliest_shape_refuses():
    fine = from_shape(random_shapes(2))
    cases = ((fine, np.eye(28), "form"), (fine, np.eye(30) * np.nan, "finite"), (fine, -np.eye(30), "positive"), (fine, np.tri(30), "symmetric"))
    for bad, covariance, word in (*cases, (fine * np.nan, np.eye(30), "NaN")):
        try:
            likeliest_shape(bad, covariance)
        except ValueError as problem:
            assert word in str(problem)
        else:
            raise AssertionError("should fail")


# cell b2ec7957
def test_mirror_twice_is_nothing_and_swaps_the_distances():
    shapes = random_shapes(20)
    points, order = from_shape(shapes), list(FLIP_PERMUTATION)

    def mirror(points):
        return (np.array([1, 0]) + np.array([-1, 1]) * points)[:, order]

    assert np.allclose(mirror(mirror(points)), points, atol=1e-15)
    distances = np.zeros((20, 15))
    distances[:, LATERAL] = shapes[:, 4:]
    assert np.allclose(to_shape(mirror(points))[:, 4:], -distances[:, order][:, LATERAL], atol=1e-12)


# cell c35a9366
def test_real_labels_are_shapes_on_a_64_grid(real_data):
    import csv

    (table,) = real_data.rglob("coordenadas_maestro.csv")
    rows = list(csv.reader(table.open()))
    pixels = np.array([row[1:31] for row in rows], dtype=float).reshape(-1, 15, 2)
    assert len(pixels) == 957
    assert set(pixels.ravel()) <= {round(k * 299 / 64) for k in range(64)}

    points = pixels_to_fractions(pixels, 299)
    residual = np.hypot(*np.moveaxis(project_to_shape(points) - points, -1, 0)) * 224
    assert abs(residual.mean() - 0.921) < 0.001  # what rounding these very shapes to the grid leaves: 0.91
    assert np.percentile(residual, 95) < 2.0 and residual.max() < 4.0
    distances = to_shape(points)[:, 4:].mean(0)
    assert (np.sign(distances) == [-1, 1] * 5).all()


# cell a1924bec
def ellipse_lungs(tilt=0.0, n=1200):
    """Two lungs and the exact answer, turned by `tilt` radians about the centre of the picture."""
    angle = np.arange(n) * 2 * np.pi / n
    lungs = [np.c_[side * 0.22 + 0.15 * np.cos(angle), 0.3 * np.sin(angle)] for side in (-1, 1)]
    quarter = 0.22 + 0.15 * np.sqrt(0.75)
    widths = np.outer([quarter, 0.37, quarter, 0.22, 0.22], [-1, 1]).ravel()  # in the order of LATERAL
    points = from_shape(np.r_[0, -0.3, 0, 0.3, widths])
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    left, right, points = (p @ turn.T + 0.5 for p in (*lungs, points))
    return left, right, points


def test_ellipses_give_the_exact_points():
    for tilt in (0.0, 0.3, -0.4):
        left, right, answer = ellipse_lungs(tilt)
        assert np.allclose(contours_to_points(left, right), answer, atol=1e-9)
        assert np.allclose(contours_to_points(np.roll(left[::-1], 7, 0), right), answer, atol=1e-9)  # any start, any sense


# cell dae088e6
def test_contours_follow_mirror_and_scheme():
    left, right, _ = ellipse_lungs(0.2)
    right = right * [1, 0.8] + [0.03, 0.05]  # a shorter lung: the levels differ from side to side
    points = contours_to_points(left, right)
    assert np.allclose(project_to_shape(points), points, atol=1e-12)
    mirrored = contours_to_points([1, 0] + [-1, 1] * right, [1, 0] + [-1, 1] * left)
    assert np.allclose(mirrored, ([1, 0] + [-1, 1] * points)[list(FLIP_PERMUTATION)], atol=1e-7)


def test_contours_refuse_nonsense():
    left, right, _ = ellipse_lungs()
    for arguments, word in (((right, left), "swap"), ((left[:2], right), "vertices"), ((left * np.nan, right), "finite")):
        try:
            contours_to_points(*arguments)
        except ValueError as problem:
            assert word in str(problem)
        else:
            raise AssertionError(f"should fail and say {word!r}")


# cell 3d6a11bb
def test_masks_agree_with_contours():
    side = 448
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    masks = [((x - 0.5 - s * 0.22) / 0.15) ** 2 + ((y - 0.5) / 0.3) ** 2 <= 1 for s in (-1, 1)]
    _, _, answer = ellipse_lungs()
    assert np.abs(masks_to_points(*masks) - answer).max() < 1 / side  # within a pixel
    for bad in ((masks[0], np.zeros((side, side))), (masks[0], masks[1][:-1])):
        try:
            masks_to_points(*bad)
        except ValueError as problem:
            assert "empty" in str(problem) or "squares" in str(problem)
        else:
            raise AssertionError("should fail")


# cell 1c02591f
def test_a_known_similarity_is_recovered_and_a_reflection_is_not():
    chest = np.random.default_rng(0).normal(size=(15, 2))
    for degrees in (-170, -20, 0, 3, 90, 179):
        true = Similarity(1.7, degrees, (0.3, -2.0))
        found = fit_similarity(chest, true(chest))
        assert np.allclose([found.scale, found.degrees, *found.shift], [1.7, degrees, 0.3, -2.0], atol=1e-12)
        assert np.allclose(found(chest), true(chest), atol=1e-12)
    right_angle = Similarity(1.0, 90, (0.0, 0.0))
    assert np.allclose(right_angle(np.array([1.0, 0.0])), [0, 1])  # x towards y
    mirrored = chest * [-1, 1]
    assert np.abs(fit_similarity(chest, mirrored)(chest) - mirrored).max() > 0.5  # a mirror image stays one


def test_a_similarity_refuses_nonsense():
    chest = np.random.default_rng(0).normal(size=(15, 2))
    for bad, word in ((chest[:3], "one form"), (np.zeros((15, 2)), "coincide"), (chest * np.nan, "finite")):
        try:
            fit_similarity(bad, chest)
        except ValueError as problem:
            assert word in str(problem)
        else:
            raise AssertionError(f"should fail and say {word!r}")


# cell f18b3564
def turned_copies(n=40, noise=0.0, seed=0, turn=180):
    """One chest, turned by up to `turn` degrees, stretched and shifted n times."""
    rng = np.random.default_rng(seed)
    chest = rng.normal(size=(15, 2))
    moves = [Similarity(rng.uniform(0.2, 5), rng.uniform(-turn, turn), tuple(rng.normal(0, 3, 2))) for _ in range(n)]
    return chest, np.array([move(chest + noise * rng.normal(size=(15, 2))) for move in moves])


def test_copies_of_one_chest_become_one_at_once():
    chest, copies = turned_copies()
    fit = procrustes(copies)
    assert fit.iterations <= 2 and fit.spread < 1e-12
    assert np.allclose(fit_similarity(chest, fit.mean)(chest), fit.mean, atol=1e-12)
    assert np.allclose(fit.mean.mean(0), 0, atol=1e-12) and np.isclose((fit.mean**2).sum(), 1)


def test_the_loop_converges_and_never_ends_farther_away():
    _, shapes = turned_copies(noise=0.2, turn=40)
    fit = procrustes(shapes)
    assert fit.iterations <= 8
    unturned = _centred(shapes) / np.sqrt((_centred(shapes) ** 2).sum((1, 2), keepdims=True))
    start = np.sqrt(((unturned - unturned.mean(0) / np.linalg.norm(unturned.mean(0))) ** 2).sum((1, 2)).mean())
    assert fit.spread < 0.9 * start
    again = procrustes(fit.aligned)
    assert np.allclose(again.mean, fit.mean, atol=1e-9) and np.allclose(again.aligned, fit.aligned, atol=1e-9)
    assert procrustes(shapes + 5.0).iterations == fit.iterations  # place means nothing


def test_two_shapes_agree_with_scipy():
    from scipy.spatial import procrustes as of_scipy

    _, (a, b) = turned_copies(2, noise=0.3, seed=4)
    standard, theirs, disparity = of_scipy(a, b)
    ours = fit_similarity(b, standard)(b)
    assert np.allclose(ours, theirs, atol=1e-12)
    assert np.isclose(((ours - standard) ** 2).sum(), disparity, atol=1e-12)


def test_procrustes_refuses_nonsense():
    _, shapes = turned_copies(3)
    flat = shapes.copy()
    flat[1] = 0.5
    for bad, word in ((shapes[0], "N, K, 2"), (shapes[:1], "two or more"), (shapes * np.nan, "finite"), (flat, "shape 1")):
        try:
            procrustes(bad)
        except ValueError as problem:
            assert word in str(problem)
        else:
            raise AssertionError(f"should fail and say {word!r}")


# cell dd4a7dff
def test_modes_are_the_principal_components_of_the_tangent_space():
    from sklearn.decomposition import PCA

    _, shapes = turned_copies(60, noise=0.1)
    fit = procrustes(shapes)
    modes = shape_modes(fit)
    flat, mean = fit.aligned.reshape(60, 30), fit.mean.ravel()
    theirs = PCA(26).fit(flat - (flat @ mean)[:, None] * mean)
    assert np.allclose(modes.deviations[:26] ** 2, theirs.explained_variance_, rtol=1e-9)
    assert np.allclose(modes.shares[:26], theirs.explained_variance_ratio_, rtol=1e-9)
    for ours, other in zip(modes.directions[:5].reshape(5, 30), theirs.components_, strict=False):
        assert np.isclose(abs(ours @ other), 1, atol=1e-9)
    assert np.allclose(modes.directions.reshape(-1, 30)[:26] @ mean, 0, atol=1e-9)  # tangent: no mode changes the size


def test_chests_of_14_numbers_have_ten_modes():
    from landmark_thesis.phantom import sample_shapes

    shares = shape_modes(procrustes(sample_shapes(300, seed=1).astype(np.float64))).shares
    assert shares[:10].sum() > 0.999 and shares[9] > 1e-3 > 10 * shares[10]
