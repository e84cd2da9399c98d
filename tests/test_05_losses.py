"""Tests of nbs/05_losses.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


from landmark_thesis import losses as chapter

# The notebook's cells see every name of its module; so do its tests.
globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})


# cell 875aa3e3
def test_loss_parts_reads_both_forms_and_refuses_others():
    import pytest

    weight = torch.tensor(2.0, requires_grad=True)
    total, parts = loss_parts({"wing": weight * 1, "total": weight * 3})
    assert total.requires_grad and not parts["wing"].requires_grad and list(parts) == ["wing"]
    with pytest.raises(KeyError, match="wing"):
        loss_parts({"wing": weight})
    with pytest.raises(TypeError, match="float"):
        loss_parts(1.0)
    with pytest.raises(ValueError, match="scalar"):
        loss_parts(torch.ones(2))


# cell 8f98985a
def test_wing_has_the_published_values():
    width, epsilon = 10 / 224, 2 / 224
    values = wing(torch.tensor([0.0, epsilon, -epsilon, 1.0], dtype=torch.float64), width, epsilon)
    expected = [0.0, width * math.log(2), width * math.log(2), 1 - width + width * math.log(6)]
    assert torch.allclose(values, torch.tensor(expected, dtype=torch.float64), atol=1e-12)


# cell 99ac521f
def test_wing_is_continuous_where_the_pieces_meet_and_its_slope_falls_from_five_to_one():
    at = torch.tensor([1e-12, 10 - 1e-9, 10.0, 11.0, -1e-12], dtype=torch.float64, requires_grad=True)
    values = wing(at, 10.0, 2.0)
    (slopes,) = torch.autograd.grad(values.sum(), at)
    assert abs(values[1] - values[2]) < 1e-8
    assert torch.allclose(slopes, torch.tensor([5, 10 / 12, 1, 1, -5], dtype=torch.float64), atol=1e-8)


# cell 73fdec20
def _batch(count=4, k=15):
    """Predicted and true fractions (count, k, 2), well inside the picture; the prediction wants gradients."""
    return (0.2 + 0.6 * torch.rand(count, k, 2)).requires_grad_(), 0.2 + 0.6 * torch.rand(count, k, 2)


# cell 907eea09
def test_wing_loss_is_the_mean_over_coordinates_of_points_that_count():
    predicted, target = _batch()
    by_hand = wing(predicted - target, 10 / 224, 2 / 224)
    assert torch.isclose(WingLoss()(predicted, target), by_hand.mean())
    target[0, 0, 1] = float("nan")
    assert torch.isclose(WingLoss()(predicted, target), by_hand.flatten(0, 1)[1:].mean())
    assert torch.isclose(WingLoss(20, 4, 448)(predicted, target), WingLoss()(predicted, target))  # image_size is a unit


# cell 7b33e1ce
def test_weights_say_which_points_matter_and_nothing_else():
    predicted, target = _batch()
    assert torch.isclose(WeightedWingLoss(torch.full((15,), 7.0))(predicted, target), WingLoss()(predicted, target))
    weights = torch.rand(15)
    assert torch.isclose(WeightedWingLoss(weights)(predicted, target), WeightedWingLoss(3 * weights)(predicted, target))
    by_hand = (wing(predicted - target, 10 / 224, 2 / 224).mean((0, 2)) * weights).sum() / weights.sum()
    assert torch.isclose(WeightedWingLoss(weights)(predicted, target), by_hand)


# cell 54563962
def test_a_missing_point_takes_its_weight_along():
    predicted, target = _batch()
    target[:, 14] = float("nan")
    weights = torch.ones(15)
    weights[14] = 1e6
    assert torch.isclose(WeightedWingLoss(weights)(predicted, target), WingLoss()(predicted[:, :14], target[:, :14]))


# cell 5f4a04c2
def test_landmark_weights_are_exact():
    points = torch.zeros(3, 2, 2)
    points[:, 0, 0], points[:, 1, 1] = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.2, 0.4, 0.6])  # sd 1 : 2
    assert torch.allclose(landmark_weights(points, "inverse_sd"), torch.tensor([4 / 3, 2 / 3]))
    assert torch.allclose(landmark_weights(points, "inverse_variance"), torch.tensor([8 / 5, 2 / 5]))
    assert landmark_weights(points, "uniform").tolist() == [1, 1]
    points = torch.cat([points, torch.full((1, 2, 2), float("nan"))])
    assert torch.allclose(landmark_weights(points.numpy(), "inverse_sd"), torch.tensor([4 / 3, 2 / 3]))


# cell 4ba8e279
def test_weights_are_checked():
    import pytest

    with pytest.raises(ValueError, match="unknown weight strategy 'inverse'; known are uniform"):
        landmark_weights(torch.rand(3, 15, 2), "inverse")
    with pytest.raises(ValueError, match=r"landmarks \[1\] do not vary"):
        landmark_weights(torch.stack([torch.rand(3, 2), torch.ones(3, 2)], 1), "inverse_sd")
    for weights in ([-1.0, 1.0], [0.0, 0.0], [[1.0]], [float("nan"), 1.0]):
        with pytest.raises(ValueError, match="weights must be"):
            WeightedWingLoss(weights)
    with pytest.raises(ValueError, match="15 weights for 4 landmarks"):
        WeightedWingLoss(torch.ones(15))(torch.rand(1, 4, 2), torch.rand(1, 4, 2))


# cell 0d947ba6
def test_inverse_sd_of_all_957_gives_the_list_of_the_thesis(real_data):
    from landmark_thesis.data import find_dataset, read_annotations

    points = read_annotations(find_dataset(real_data).csv).points_px
    published = [1.16, 0.79, 1.07, 1.11, 1.00, 1.04, 0.85, 0.89, 1.30, 1.21, 0.99, 1.06, 1.07, 0.71, 0.74]
    assert [round(weight, 2) for weight in landmark_weights(points, "inverse_sd").tolist()] == published


# cell 72b6fcff
def test_axis_losses_are_exact_and_know_left_from_right():
    points = torch.rand(3, 15, 2)
    points[:, 0], points[:, 1] = torch.tensor([0.5, 0.1]), torch.tensor([0.5, 0.9])
    assert torch.allclose(_distances_from_axis(points), points[..., 0] - 0.5, atol=1e-6)
    angle = math.radians(25)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    assert torch.allclose(_distances_from_axis((points - 0.5) @ turn.T + 0.5), points[..., 0] - 0.5, atol=1e-6)
    for loss in (AxisAlignmentLoss(), SoftSymmetryLoss(margin_px=1)):
        mirrored = torch.stack([1 - points[..., 0], points[..., 1]], -1)[:, [0, 1, 3, 2, 5, 4, 7, 6, 8, 9, 10, 12, 11, 14, 13]]
        assert torch.isclose(loss(mirrored, mirrored), loss(points, points)) and loss(points, points) > 0


# cell 609bb93e
def test_symmetry_squares_what_exceeds_the_margin():
    points = torch.full((1, 15, 2), 0.5)
    points[0, 0, 1], points[0, 1, 1] = 0.2, 0.8
    points[0, 2, 0], points[0, 3, 0] = 0.2, 0.7  # .3 to the left, .2 to the right; the other four pairs agree
    for margin_px, expected in ((0, 0.1**2 / 5), (11.2, 0.05**2 / 5), (23, 0.0)):
        assert torch.isclose(SoftSymmetryLoss(margin_px)(points, points), torch.tensor(expected), rtol=1e-4)


# cell 261b2c44
def test_axis_losses_count_only_pairs_that_can_be_seen():
    points = 0.2 + 0.6 * torch.rand(1, 15, 2)
    target = points.clone()
    target[0, 8] = float("nan")
    kept = _distances_from_axis(points)[:, [9, 10]].abs().mean()
    assert torch.isclose(AxisAlignmentLoss()(points, target), kept)
    target[0, 0] = -0.1  # without its axis a picture says nothing
    assert AxisAlignmentLoss()(points, target) == 0 and SoftSymmetryLoss(0)(points, target) == 0


# cell d2d23edd
def test_axis_losses_want_fifteen_points():
    import pytest

    with pytest.raises(ValueError, match="15 landmarks"):
        AxisAlignmentLoss()(torch.rand(1, 4, 2), torch.rand(1, 4, 2))


# cell 0053c00e
def test_combined_is_the_sum_of_its_parts():
    predicted, target = _batch()
    value = CombinedLoss(central_weight=2, symmetry_weight=3, margin_px=1)(predicted, target)
    assert list(value) == ["total", "wing", "central", "symmetry"]
    assert torch.isclose(value["total"], value["wing"] + 2 * value["central"] + 3 * value["symmetry"])
    assert value["wing"] == WingLoss()(predicted, target) and value["symmetry"] == SoftSymmetryLoss(1)(predicted, target)


# cell 89749587
class _Output:
    """What a dense head answers."""

    def __init__(self, landmarks, logits=None):
        self.landmarks, self.logits = landmarks, logits


# cell 8be87691
def test_dense_loss_is_exact():
    target = torch.tensor([[[0.5, 0.5], [0.25, 0.25]]])
    predicted = target + torch.tensor([[[3 / 224, 4 / 224], [0.0, 0.0]]])
    logits = torch.randn(1, 2, 16, 16)
    value = DenseLoss(scale_px=5, coefficient=10)(_Output(predicted, logits), target)
    assert torch.isclose(value["coordinate"], torch.tensor(10 * math.log(2) / 2), rtol=1e-4)
    reference = F.cross_entropy(logits.flatten(0, 1).flatten(1), gaussian_target(target, (16, 16), 6 / 224).flatten(0, 1).flatten(1))
    assert torch.isclose(value["heatmap"], reference)
    assert torch.isclose(value["total"], value["coordinate"] + value["heatmap"])
    half = DenseLoss(scale_px=5, heatmap_weight=0.5)(_Output(predicted, logits), target)
    assert torch.isclose(half["total"], value["coordinate"] + 0.5 * value["heatmap"])
    assert DenseLoss(heatmap_weight=0)(target, target) == {"total": torch.tensor(0.0), "coordinate": torch.tensor(0.0)}


# cell 59889c0d
def test_the_heatmap_term_is_least_where_the_map_is_the_gaussian():
    target = 0.2 + 0.6 * torch.rand(2, 3, 2)
    logits = gaussian_target(target, (12, 10), 6 / 224).log().clamp_min(-80).requires_grad_()
    value = DenseLoss()(_Output(target, logits), target)
    assert torch.autograd.grad(value["heatmap"], logits)[0].abs().max() < 1e-6
    for _ in range(5):
        assert DenseLoss()(_Output(target, logits + 0.3 * torch.randn(logits.shape)), target)["heatmap"] > value["heatmap"]


# cell 6f03a095
def test_gaussian_target_has_the_spread_it_says_and_sits_on_its_point():
    points = torch.tensor([[[0.43, 0.61]]])
    profile = gaussian_target(points, (40, 50), 0.05)[0, 0]
    x, y = (torch.arange(50) + 0.5) / 50, (torch.arange(40) + 0.5) / 40
    assert torch.allclose((profile.sum(0) * x).sum(), torch.tensor(0.43)) and torch.allclose((profile.sum(1) * y).sum(), torch.tensor(0.61))
    assert torch.allclose((profile.sum(0) * (x - 0.43) ** 2).sum().sqrt(), torch.tensor(0.05), rtol=1e-3)


# cell 515caece
def test_gaussian_target_survives_points_far_outside():
    assert torch.allclose(gaussian_target(torch.tensor([[[9.0, -9.0]]]), (7, 7), 0.01).sum(), torch.tensor(1.0))


# cell ed01aad8
def test_dense_loss_wants_maps():
    import pytest

    predicted, target = _batch()
    with pytest.raises(TypeError, match="no .logits"):
        DenseLoss()(predicted, target)
    with pytest.raises(ValueError, match="logits must be"):
        DenseLoss()(_Output(predicted, torch.zeros(4, 3, 7, 7)), target)
    with pytest.raises(ValueError, match="scale_px must be positive"):
        DenseLoss(scale_px=0)


# cell 038d9dc0
def test_a_far_point_pulls_less_than_a_near_one():
    target = torch.full((1, 2, 2), 0.5)
    predicted = (target + torch.tensor([[[2 / 224, 0.0], [60 / 224, 0.0]]])).requires_grad_()
    gradient = torch.autograd.grad(DenseLoss(heatmap_weight=0)(predicted, target)["total"], predicted)[0][0, :, 0]
    assert torch.allclose(gradient, 224 / 2 * torch.tensor([10 / 6, 10 / 64]), rtol=1e-3)


# cell faaf7ae9
ALL_LOSSES = (WingLoss, lambda: WeightedWingLoss(torch.arange(1.0, 16)), AxisAlignmentLoss, SoftSymmetryLoss, CombinedLoss, DenseLoss)


# cell eb0529dd
def test_every_loss_takes_flat_points_points_and_outputs_alike():
    predicted, target = _batch()
    logits = torch.randn(4, 15, 7, 7)
    for make in ALL_LOSSES:
        loss = make()
        values = [loss_parts(loss(_Output(p, logits), t))[0] for p in (predicted, predicted.flatten(1)) for t in (target, target.flatten(1))]
        assert len({value.item() for value in values}) == 1 and values[0].ndim == 0
    assert WingLoss()(predicted, target.flatten(1)) == WingLoss()(_Output(predicted), target)


# cell da98ac71
def test_points_that_do_not_count_change_neither_value_nor_gradient():
    predicted, target = _batch()
    logits = torch.randn(4, 15, 7, 7, requires_grad=True)
    for make in ALL_LOSSES:
        gradients = []
        for filler in (float("nan"), 1.2, -0.1):
            masked = target.clone()
            masked[1], masked[2, 4] = filler, filler
            gradients.append(torch.autograd.grad(loss_parts(make()(_Output(predicted, logits), masked))[0], predicted)[0])
        assert torch.equal(gradients[0], gradients[1]) and torch.equal(gradients[0], gradients[2])
        assert gradients[0].isfinite().all() and gradients[0].abs().sum() > 0
        assert (gradients[0][1] == 0).all() and (gradients[0][2, 4] == 0).all()


# cell d8cc88ef
def test_a_batch_in_which_nothing_counts_costs_nothing_and_moves_nothing():
    predicted, target = _batch()
    logits = torch.randn(4, 15, 7, 7, requires_grad=True)
    for make in ALL_LOSSES:
        total, _ = loss_parts(make()(_Output(predicted, logits), torch.full_like(target, float("nan"))))
        (gradient,) = torch.autograd.grad(total, predicted)
        assert total == 0 and (gradient == 0).all()


# cell 1d3ece06
def test_every_loss_is_finite_from_a_far_off_or_collapsed_start():
    _, target = _batch()
    for start in (torch.full((4, 15, 2), 0.5), torch.full((4, 15, 2), 1e4), target.clone(), torch.zeros(4, 15, 2)):
        predicted, logits = start.requires_grad_(), torch.zeros(4, 15, 7, 7, requires_grad=True)
        for make in ALL_LOSSES:
            total, _ = loss_parts(make()(_Output(predicted, logits), target))
            assert total.isfinite() and torch.autograd.grad(total, predicted)[0].isfinite().all()


# cell 99229ad8
def test_every_loss_has_the_gradient_of_its_value():
    generator = torch.Generator().manual_seed(7)
    target = 0.2 + 0.6 * torch.rand(2, 15, 2, generator=generator, dtype=torch.float64)
    target[0, 3] = float("nan")
    predicted = (0.2 + 0.6 * torch.rand(2, 15, 2, generator=generator, dtype=torch.float64)).requires_grad_()
    logits = torch.randn(2, 15, 5, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    for make in ALL_LOSSES:
        loss = make()
        assert torch.autograd.gradcheck(lambda p, z, loss=loss: loss_parts(loss(_Output(p, z), target))[0], (predicted, logits), fast_mode=True)


# cell e6f47712
def test_losses_compute_in_float32_under_autocast(device):
    predicted, target = (each.detach().to(device) for each in _batch())
    logits = torch.randn(4, 15, 7, 7, device=device)
    for make in ALL_LOSSES:
        rounded = _Output(predicted.bfloat16(), logits.bfloat16())
        plain, _ = loss_parts(make()(_Output(rounded.landmarks.float(), rounded.logits.float()), target))
        with torch.autocast(device.type, dtype=torch.bfloat16):
            mixed, _ = loss_parts(make()(rounded, target))
        assert mixed.dtype == torch.float32 and mixed == plain


# cell 0833c94f
def test_the_first_batch_in_pixels_is_refused_on_every_device(device):
    import pytest

    predicted, target = (each.detach().to(device) for each in _batch())
    with pytest.raises(ValueError, match="look like pixels"):
        WingLoss().to(device)(predicted, target * 224)


# cell 55e8dc56
def test_losses_refuse_pixels_and_shapes_that_do_not_fit():
    import pytest

    predicted, target = _batch()
    for make in ALL_LOSSES:
        with pytest.raises(ValueError, match="look like pixels"):
            make()(_Output(predicted, torch.zeros(4, 15, 7, 7)), target * 224)
    WingLoss()(predicted, 1.5 + target)  # far outside, and no pixel
    with pytest.raises(ValueError, match="differ"):
        WingLoss()(predicted, target[:, :5])
    with pytest.raises(ValueError, match=r"the target must be fractions"):
        WingLoss()(predicted, target[0, 0])
    with pytest.raises(ValueError, match="width_px must be positive"):
        WingLoss(width_px=0)
