"""Tests of nbs/04_augment.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


from landmark_thesis import augment as chapter

# The notebook's cells see every name of its module; so do its tests.
globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})


# cell c8dd0bbd
def blobs(points, height=96, width=96, sigma=2.5):
    """A picture (B, K, height, width) with one blob a channel, at points (B, K, 2) in fractions."""
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    centre = points * torch.tensor([width, height])
    square = (x - centre[..., 0, None, None]) ** 2 + (y[:, None] - centre[..., 1, None, None]) ** 2
    return torch.exp(-square / (2 * sigma**2))


def centroids(images):
    """Centres of mass (B, K, 2) in fractions, one a channel."""
    height, width = images.shape[-2:]
    mass = images / images.sum((-2, -1), keepdim=True)
    x, y = (torch.arange(width) + 0.5) / width, (torch.arange(height) + 0.5) / height
    return torch.stack([(mass.sum(-2) * x).sum(-1), (mass.sum(-1) * y).sum(-1)], dim=-1)


# cell 0f93b754
def test_flip_moves_points_with_the_picture():
    points = 0.3 + 0.4 * torch.rand(3, 15, 2)
    pictures, moved = flip(blobs(points), points, FLIP_PERMUTATION)
    seen = centroids(pictures)[:, list(FLIP_PERMUTATION)]  # channels keep their names, points do not
    assert ((seen - moved) * 96).abs().max() < 0.001
    left, right = moved[:, 2, 0], 1 - points[:, 3, 0]
    assert torch.equal(left, right)


# cell 00bada33
def test_flip_twice_is_the_identity_bit_for_bit():
    images, points = torch.rand(2, 3, 5, 7), torch.randint(0, 2**24, (2, 15, 2)) / 2**24
    points[0, 4] = float("nan")
    again_images, again_points = flip(*flip(images, points, FLIP_PERMUTATION), FLIP_PERMUTATION)
    assert torch.equal(again_images, images)
    assert torch.equal(again_points.nan_to_num(-1), points.nan_to_num(-1))


# cell 9892a9a5
def test_flip_refuses_what_it_cannot_know():
    import pytest

    images, points = torch.rand(2, 1, 4, 4), torch.rand(2, 3, 2)
    for permutation, message in ((None, "needs a permutation"), ((0, 1), "names 2 points"), ((1, 2, 0), "partner"), ((0, 0, 2), "pairs")):
        with pytest.raises(ValueError, match=message):
            flip(images, points, permutation)
    with pytest.raises(ValueError, match=r"\(B, 2K\)"):
        flip(images, points.flatten(1), (0, 2, 1))
    assert torch.equal(flip(images, points, (0, 1, 2))[1][..., 1], points[..., 1])  # "no sides", said aloud


# cell 1106e4d6
def _turned(angle=0.0, scale=1.0, shift=(0.0, 0.0), aspect=1.0):
    """The (1, 2, 3) map that turns by `angle` degrees about the centre, scales and shifts; aspect = height / width."""
    c, s = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))
    linear = torch.tensor([[c, -s * aspect], [s / aspect, c]])
    return torch.cat([linear, (0.5 + torch.tensor(shift) - linear.sum(1) / 2)[:, None]], dim=1)[None]


# cell b31a4d67
def test_warp_moves_points_with_the_picture():
    shift, turn, shrink, grow = dict(shift=(0.1, -0.07)), dict(angle=10), dict(scale=0.8), dict(scale=1.2)
    for height, width in ((96, 96), (80, 160)):
        points = 0.35 + 0.3 * torch.rand(1, 9, 2)
        for change in (shift, turn, shrink, grow, shift | turn | grow):
            pictures, moved = warp(blobs(points, height, width), points, _turned(**change, aspect=height / width))
            off = ((centroids(pictures) - moved) * torch.tensor([width, height])).norm(dim=-1).max()
            assert off < 0.02, (change, height, width, off)
            assert (moved - points).abs().max() > 0.01  # it did move


# cell 93451882
def test_warp_keeps_a_turned_blob_round_in_an_oblong_picture():
    points = torch.tensor([[[0.5, 0.5]]])
    pictures, _ = warp(blobs(points, 60, 120), points, _turned(30, aspect=0.5))
    assert torch.allclose(pictures, blobs(points, 60, 120), atol=0.03)


# cell 1a4fe9ba
def test_warp_by_a_whole_pixel_shifts_the_array_and_fills_black():
    images, points = torch.rand(1, 1, 4, 8), torch.tensor([[[0.95, 0.5], [float("nan"), 0.5]]])
    moved, places = warp(images, points, torch.tensor([[[1.0, 0.0, 0.125], [0.0, 1.0, 0.0]]]))
    assert torch.allclose(moved[..., 1:], images[..., :-1], atol=1e-5) and torch.equal(moved[..., 0], torch.zeros(1, 1, 4))
    assert places[0, 0, 0].item() == torch.tensor(0.95).add(0.125).item() > 1  # outside, and not pulled back
    assert places[0, 1].isnan().all()


# cell 750885d9
def test_warp_does_not_feel_autocast():
    points, matrix = 0.3 + 0.4 * torch.rand(1, 15, 2), _turned(10, 1.1)
    plain = warp(blobs(points), points, matrix)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = warp(blobs(points), points, matrix)
    assert torch.equal(plain[0], mixed[0]) and torch.equal(plain[1], mixed[1])
    assert warp(blobs(points).bfloat16(), points, matrix)[0].dtype == torch.bfloat16


# cell f13e68bf
def test_warp_refuses():
    import pytest

    images, points = torch.rand(1, 1, 4, 4), torch.rand(1, 3, 2)
    with pytest.raises(ValueError, match="mirror with flip"):
        warp(images, points, torch.tensor([[[-1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]]))
    with pytest.raises(ValueError, match="divide uint8 by 255"):
        warp((images * 255).byte(), points, _turned(5))
    with pytest.raises(ValueError, match="one matrix a picture"):
        warp(images, points, torch.eye(2, 3))


# cell e0b3d5ee
def test_greys_are_clamped_after_each_step_and_contrast_turns_about_each_mean():
    images = torch.tensor([[0.2, 0.6], [0.2, 0.4]]).view(2, 1, 1, 2)
    brightness, contrast = torch.tensor([2.0, 1.0]), torch.tensor([0.5, 2.0])
    assert torch.allclose(change_greys(images, brightness, contrast).view(2, 2), torch.tensor([[0.55, 0.85], [0.1, 0.5]]))
    gamma = torch.tensor([1.0, 2.0])
    assert torch.allclose(change_greys(images, brightness, contrast, gamma).view(2, 2), torch.tensor([[0.55, 0.85], [0.01, 0.25]]))


# cell 3cff6456
def test_random_matrices_are_turns_in_pixels_about_the_centre():
    height, width = 60, 120
    maps = random_matrices(400, torch.Generator().manual_seed(1), rotation=30, scale=0.2, shift=0.1, size=(height, width))
    pixels = torch.tensor([float(width), float(height)])
    linear = maps[:, :, :2] * pixels[:, None] / pixels  # from pixels to pixels
    magnification = torch.linalg.det(linear).sqrt()
    turns = linear / magnification[:, None, None]
    assert torch.allclose(turns @ turns.transpose(1, 2), torch.eye(2).expand(400, 2, 2), atol=1e-5)
    assert 0.19 < magnification.log().abs().max() <= 0.2001 and 29 < torch.rad2deg(torch.asin(turns[:, 1, 0])).abs().max() <= 30.001
    shifts = move_points(torch.full((400, 1, 2), 0.5), maps)[:, 0] - 0.5
    assert 0.098 < shifts.abs().max() <= 0.1001 and shifts.mean(0).abs().max() < 0.01


# cell 1ba3752b
def test_a_stretch_changes_proportions_and_nothing_else():
    settings, size = dict(rotation=30, scale=0.2, shift=0.1, size=(60, 120)), torch.tensor([120.0, 60.0])
    plain, stretched = (random_matrices(400, torch.Generator().manual_seed(1), stretch=stretch, **settings) for stretch in (0.0, 0.12))
    before, after = (maps[:, :, :2] * size[:, None] / size for maps in (plain, stretched))
    proportions = torch.linalg.solve(before, after)  # in pixels, before the turn
    wider = proportions[:, 0, 0]
    assert torch.allclose(proportions, torch.diag_embed(torch.stack([wider, 1 / wider], -1)), atol=1e-5)
    assert 0.118 < wider.log().abs().max() <= 0.1201 and abs(wider.log().mean()) < 0.01
    centres = [move_points(torch.full((400, 1, 2), 0.5), maps) for maps in (plain, stretched)]
    assert torch.allclose(*centres, atol=1e-6)


# cell 64e4dbb2
def test_augmentation_moves_points_with_the_picture(device):
    points = (0.4 + 0.2 * torch.rand(1, 15, 2)).repeat(16, 1, 1)
    geometry = Augmentation(flip=0.5, rotation=12, scale=0.15, shift=0.12, stretch=0.12, brightness=0, contrast=0, permutation=tuple(range(15)))
    views, moved = geometry(blobs(points, 120, 80).to(device), points.to(device), torch.Generator(device).manual_seed(0))
    off = (centroids(views.cpu()) - moved.cpu()) * torch.tensor([80, 120])
    assert off.norm(dim=-1).max() < 0.03
    assert len({picture.sum().item() for picture in moved}) == 16  # one picture, sixteen draws


# cell 15861ffc
def test_augmentation_renames_exactly_the_mirrored():
    points = 0.4 + 0.2 * torch.rand(64, 15, 2)
    pictures = blobs(points, 48, 48, sigma=1.5)
    views, moved = Augmentation(rotation=0, brightness=0, contrast=0)(pictures, points, torch.Generator().manual_seed(0))
    mirrored = torch.tensor([not torch.equal(view, picture) for view, picture in zip(views, pictures, strict=True)])
    assert 20 < mirrored.sum() < 44
    expected_views, expected_points = flip(pictures, points, FLIP_PERMUTATION)
    assert torch.equal(views[mirrored], expected_views[mirrored]) and torch.equal(moved[mirrored], expected_points[mirrored])
    assert torch.equal(moved[~mirrored], points[~mirrored])


# cell 81f55f2f
def test_augmentation_repeats_by_seed_and_leaves_its_input():
    everything = Augmentation(scale=0.1, shift=0.1, gamma=0.3, noise=0.05)
    images, points = torch.rand(4, 1, 16, 16), torch.rand(4, 15, 2)
    kept = images.clone(), points.clone()
    first, second, third = (everything(images, points, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1]) and not torch.equal(first[0], third[0])
    assert torch.equal(images, kept[0]) and torch.equal(points, kept[1])
    assert first[0].min() >= 0 and first[0].max() <= 1


# cell 554b20ea
def test_noise_and_gamma_have_the_size_they_say():
    grey, points, off = torch.full((50, 1, 32, 32), 0.5), torch.rand(50, 2, 2), dict(flip=0, rotation=0, brightness=0, contrast=0)
    noisy, _ = Augmentation(**off, noise=0.05)(grey, points, torch.Generator().manual_seed(0))
    assert abs(noisy.std() - 0.05) < 0.001 and abs(noisy.mean() - 0.5) < 0.001 and not torch.equal(noisy[0], noisy[1])
    bent, _ = Augmentation(**off, gamma=0.3)(grey, points, torch.Generator().manual_seed(0))
    exponents = (bent[:, 0, 0, 0].log() / math.log(0.5)).log()
    assert 0.25 < exponents.abs().max() <= 0.3001 and len(set(exponents.tolist())) == 50


# cell 1d7e36af
def test_a_setting_switched_off_leaves_the_other_draws():
    images, points = torch.rand(4, 1, 16, 16), torch.rand(4, 15, 2)
    settings = dict(rotation=8, scale=0.1, shift=0.1)
    grey, _ = (Augmentation(**settings, brightness=b)(images, points, torch.Generator().manual_seed(5)) for b in (0.2, 0.0))
    _, moved = Augmentation(**settings, brightness=0, contrast=0)(images, points, torch.Generator().manual_seed(5))
    assert torch.equal(grey[1], moved)


# cell 32719cc1
def test_nothing_switched_on_changes_nothing():
    images, points = torch.rand(3, 1, 8, 8), torch.rand(3, 4, 2)
    off = Augmentation(flip=0, rotation=0, brightness=0, contrast=0, permutation=None)
    views, moved = off(images, points, torch.Generator().manual_seed(0))
    assert torch.equal(views, images) and torch.equal(moved, points)


# cell b67ce1af
def test_points_outside_and_missing_survive():
    points = torch.tensor([[[-0.2, 0.5], [1.3, 1.1], [float("nan"), float("nan")]]]).repeat(32, 1, 1)
    settings = Augmentation(flip=1, rotation=0, shift=0.05, permutation=(0, 1, 2))
    _, moved = settings(torch.rand(32, 1, 8, 8), points, torch.Generator().manual_seed(0))
    assert (moved[:, 0, 0] > 1.1).all() and (moved[:, 1, 0] < -0.2).all() and moved[:, 2].isnan().all() and moved.shape == points.shape


# cell 2f488425
def test_augmentation_refuses():
    import pytest

    for settings, message in (
        (dict(flip=1.5), "flip must lie in 0 to 1"),
        (dict(rotation=-3), "rotation"),
        (dict(noise=float("nan")), "noise"),
        (dict(permutation=None), "needs a permutation"),
    ):
        with pytest.raises(ValueError, match=message):
            Augmentation(**settings)
    with pytest.raises(ValueError, match="names 15 points, the batch has 4"):
        Augmentation()(torch.rand(1, 1, 8, 8), torch.rand(1, 4, 2), torch.Generator())
    assert Augmentation(permutation=list(FLIP_PERMUTATION)) == Augmentation()
