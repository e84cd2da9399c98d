"""Tests of nbs/06_model.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


from landmark_thesis import model as chapter

# The notebook's cells see every name of its module; so do its tests.
globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})


# cell 93ef0d8c
def _planted(x, y, cells=28, margin=2, sd=0.6, device="cpu"):
    """A bump of logits at fractions (x, y); sd in cells. (1, 1, n, n)"""
    place = cell_centres(cells + 2 * margin, margin, device)
    return (-((place - x)[None, :] ** 2 + (place - y)[:, None] ** 2) * cells**2 / (2 * sd**2))[None, None]


def test_a_planted_peak_is_recovered_anywhere_on_the_picture_and_a_little_outside(device):
    for margin, places in ((0, (0.1, 0.31, 0.5, 0.77, 0.9)), (2, (-0.02, 0.0, 0.0017, 0.013, 0.5, 0.985, 1.0, 1.02))):
        for x in places:
            found = soft_argmax(_planted(x, 1 - x, margin=margin, device=device), margin)[0, 0].cpu()
            error = (found - torch.tensor([x, 1 - x])).abs().max().item() * 224
            assert error < (0.05 if 0 <= x <= 1 else 0.5), (margin, x, error)


def test_cells_tile_the_picture_and_maps_need_not_be_square():
    assert torch.equal(cell_centres(4), torch.tensor([0.125, 0.375, 0.625, 0.875]))
    assert torch.equal(cell_centres(8, 2)[2:-2], cell_centres(4))
    logits = torch.full((1, 1, 2, 5), -100.0)
    logits[0, 0, 1, 3] = 100.0
    assert torch.allclose(soft_argmax(logits)[0, 0], torch.tensor([0.7, 0.75]))


# cell a0037286
def test_gradients_from_far_off_are_finite_and_half_precision_does_not_blur():
    logits = (1e4 * _planted(0.02, 0.02)).requires_grad_()
    ((soft_argmax(logits, 2) - 0.98) ** 2).sum().backward()
    assert torch.isfinite(logits.grad).all()
    mild = (_planted(0.3, 0.3, sd=4.0)).requires_grad_()
    soft_argmax(mild, 2)[..., 0].sum().backward()
    right, left = mild.grad[0, 0, :, 20:].sum(), mild.grad[0, 0, :, :8].sum()
    assert right > 0 > left  # more weight on the right moves the point to the right
    with torch.autocast("cpu", torch.bfloat16):
        found = soft_argmax(_planted(0.777, 0.123), 2)
    assert found.dtype == torch.float32 and (found[0, 0] - torch.tensor([0.777, 0.123])).abs().max() * 224 < 0.05


# cell 6355950e
def test_parameter_counts_are_those_of_the_published_model():
    channels = build_backbone("resnet18").channels

    def size(**options):
        return sum(p.numel() for p in RegressionHead(channels, 15, RegressionOptions(**options)).parameters())

    assert [size(attention=False, hidden=h) for h in (256, 512, 768, 1024)] == [403_230, 542_750, 682_270, 821_790]
    assert size() == 682_270 + 24_608
    assert [size(attention=False, deep=False, hidden=h) for h in (256, 768)] == [139_038, 417_054]
    counts = count_parameters(create_model("resnet18", weights="none"))
    assert counts == {"backbone": 11_176_512, "head": 706_878, "total": 11_883_390, "trainable": 11_883_390, "buffers": 9_653}


# cell 81bb5789
def test_both_heads_take_any_channels_size_and_batch(device):
    for head in ("regression", "dense"):
        model = create_model("tiny", head, "none", num_landmarks=7).to(device)
        for batch, channels, side in ((1, 1, 224), (2, 3, 192), (2, 1, 256), (1, 3, 200)):
            output = model(torch.rand(batch, channels, side, side, device=device))
            assert getattr(output, "landmarks", output).shape == (batch, 14)
            if head == "dense":
                assert output.logits.shape == (batch, 7, -(-side // 8), -(-side // 8))


def test_grey_and_its_rgb_copy_give_the_same_answer_and_wrong_pictures_are_refused():
    import pytest

    model = create_model("tiny", weights="none").eval()
    grey = torch.rand(2, 1, 64, 64)
    assert torch.equal(model(grey), model(grey.repeat(1, 3, 1, 1)))
    for wrong in (grey[0], grey.repeat(1, 2, 1, 1), (grey * 255).byte()):
        with pytest.raises(ValueError, match="0, 1"):
            model(wrong)


# cell 90c584ea
def test_freezing_holds_weights_and_statistics_bit_for_bit(device):
    for name in ("tiny", "resnet18"):
        model = create_model(name, weights="none").to(device)
        model.freeze_all_except_head()
        before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
        optimiser = torch.optim.AdamW(model.parameters(), 0.1, weight_decay=0.5)
        for _ in range(2):
            model.train()  # as every training loop does
            optimiser.zero_grad()
            model(torch.rand(2, 1, 64, 64, device=device)).sum().backward()
            optimiser.step()
        assert all(torch.equal(before[key], value) for key, value in model.backbone.state_dict().items())
        assert model.head.attention.squeeze[1].num_batches_tracked == 2  # the new batch norm does learn
        assert not any(module.training for module in model.backbone.modules()) and model.head.training
        model.unfreeze_all()
        assert all(module.training for module in model.modules()) and all(p.requires_grad for p in model.parameters())
        assert count_parameters(model)["trainable"] == count_parameters(model)["total"]


def test_freezing_in_eval_mode_stays_in_eval_mode_and_drops_gradients():
    model = create_model("tiny", "dense", "none")
    model(torch.rand(2, 1, 64, 64)).landmarks.sum().backward()
    model.eval()
    model.freeze_all_except_head()
    assert not model.head.training and all(p.grad is None for p in model.backbone.parameters())
    assert count_parameters(model)["trainable"] == count_parameters(model)["head"]
    model.unfreeze_all()
    assert not any(module.training for module in model.modules())
