"""Tests of nbs/08_trainer.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


from landmark_thesis import trainer as chapter

# The notebook's cells see every name of its module; so do its tests.
globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})


# cell 7861febc
import math
from types import SimpleNamespace

import pytest
from torch.utils.data import DataLoader, TensorDataset

from landmark_thesis.callbacks import CSVLogger, LRSchedulerCallback, ModelCheckpoint


@pytest.fixture(autouse=True)
def _one_thread():
    """The toys are so small that a second thread costs more than it gives, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# cell f62ce335
def test_means_are_weighted_and_read_once():
    means = Mean()
    for loss, size in zip([0.7, 0.8, 0.9], [256, 256, 10], strict=True):
        means.add("loss", torch.tensor(loss, dtype=torch.float64), torch.tensor(size))
    means.add("loss", torch.tensor(float("nan")), torch.tensor(0))
    means.add("empty", torch.tensor(float("nan")), torch.tensor(0))
    result = means.read()
    assert result["loss"] == pytest.approx((0.7 * 256 + 0.8 * 256 + 0.9 * 10) / 522, abs=1e-15)
    assert round(result["loss"], 4) == 0.7529 and math.isnan(result["empty"]) and Mean().read() == {}


# cell 507147b9
def test_picture_errors_count_what_is_there_and_hide_nothing():
    target = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.25, 0.25, float("nan"), 0.5], [float("nan")] * 4])
    shift = torch.tensor([0.03, 0.04]).repeat(2)  # 3-4-5: five hundredths of the side
    errors, counted = picture_errors(torch.nan_to_num(target) + shift, target, 100)
    assert torch.allclose(errors[:2], torch.tensor([5.0, 5.0]), atol=1e-5) and counted.tolist() == [True, True, False]
    broken = torch.full((1, 4), float("nan"))
    assert torch.isnan(picture_errors(broken, torch.zeros(1, 4), 100)[0]).all()
    tall = picture_errors(torch.tensor([[[0.0, 0.1]]]), torch.tensor([[[0.0, 0.0]]]), (300, 100))[0]
    assert tall.item() == pytest.approx(30.0)
    prediction = torch.rand(5, 4)
    errors, counted = picture_errors(prediction, torch.rand(5, 4).fill_(0.5), 224)
    assert errors.mean().item() == pytest.approx(mean_radial_error(prediction, torch.full((5, 4), 0.5), 224).item(), rel=1e-6)


# cell 401c6dbb
class ToyModel(nn.Module):
    """The smallest model that keeps the protocol: pictures (B, 1, 16, 16) -> two corners, (B, 4)."""

    def __init__(self, dropout=0.1):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 64, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 4))
        with torch.no_grad():  # as after pretraining: the batch norm has seen such pictures
            maps = self.backbone[0](toy_data(64, seed=9)[0])
            self.backbone[1].running_mean.copy_(maps.mean((0, 2, 3)))
            self.backbone[1].running_var.copy_(maps.var((0, 2, 3)))

    def features(self, images):
        return self.backbone(images)

    def forward(self, images):
        return self.head(self.features(images))

    def freeze_all_except_head(self):
        self.requires_grad_(False)
        self.head.requires_grad_(True)

    def unfreeze_all(self):
        self.requires_grad_(True)

    def parameter_groups(self):
        return {"backbone": list(self.backbone.parameters()), "head": list(self.head.parameters())}


def toy_data(n, seed):
    """Bright rectangles (n, 1, 16, 16) with a little noise, and their two corners (n, 4) as fractions."""
    random = torch.Generator().manual_seed(seed)
    first = torch.rand(n, 2, generator=random) * 0.35 + 0.05
    second = first + 0.2 + torch.rand(n, 2, generator=random) * 0.35
    centres = (torch.arange(16) + 0.5) / 16
    inside = torch.sigmoid(24 * (centres - first[..., None])) * torch.sigmoid(24 * (second[..., None] - centres))
    pictures = inside[:, 1, :, None] * inside[:, 0, None, :]
    return pictures[:, None] + 0.02 * torch.randn(n, 1, 16, 16, generator=random), torch.cat([first, second], 1)


def with_names(items):
    """Collate for a DataLoader: pictures, corners, and names that tell the order."""
    return torch.stack([x for x, _ in items]), torch.stack([y for _, y in items]), {"image_name": [f"toy-{y[0]:.4f}" for _, y in items]}


def toy_loader(n=37, seed=0, batch_size=8, shuffle=False):
    return DataLoader(TensorDataset(*toy_data(n, seed)), batch_size, shuffle=shuffle, collate_fn=with_names)


def toy_trainer(folder=None, model=None, seed=0, **settings):
    torch.manual_seed(seed)
    return LandmarkTrainer(model or ToyModel(), "cpu", folder, **{"precision": "fp32", "quiet": True, **settings})


def same(a, b):
    """Bit for bit the same, through nested dicts, lists and tensors (NaN equals NaN)."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(torch.nan_to_num(a.float()), torch.nan_to_num(b.float()))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b or (a != a and b != b)


# cell 42f7c861
def test_frozen_parts_go_to_eval_as_a_whole():
    model = ToyModel()
    model.freeze_all_except_head()
    held = train_mode(model)
    assert model.training and not any(module.training for module in model.backbone.modules())
    assert held == list(model.backbone.modules())
    assert all(module.training for module in model.head.modules())  # its dropout has no parameters: it follows the head
    model.backbone[0].requires_grad_(True)  # now only the batch norm is frozen
    train_mode(model)
    assert [module.training for module in model.backbone] == [True, False, True, True] and model.backbone.training
    model.unfreeze_all()
    train_mode(model)
    assert all(module.training for module in model.modules())


def test_what_a_model_keeps_in_eval_stays_so_while_it_trains():
    model = ToyModel()
    model.keep_eval = lambda: [model.backbone[1]]
    statistics = model.backbone[1].running_mean.clone()
    toy_trainer(model=model).train_phase2(toy_loader(), toy_loader(8, 1), nn.MSELoss(), epochs=1)
    assert torch.equal(model.backbone[1].running_mean, statistics) and all(p.requires_grad for p in model.parameters())


# cell c7c3dd96
def test_any_criterion_gives_a_loss_and_its_parts():
    output, target = torch.tensor([[0.5, 0.5]], requires_grad=True), torch.tensor([[[0.5, 0.75]]])
    assert batch_loss(nn.L1Loss(), output, target)[0].item() == 0.125
    loss, parts = batch_loss(lambda o, t: {"total": (o - t).sum(), "wing": (o - t).abs().sum()}, output, target)
    assert loss.requires_grad and not parts["wing"].requires_grad and (loss.item(), parts["wing"].item()) == (-0.25, 0.25)
    dense = SimpleNamespace(landmarks=output)
    assert batch_loss(nn.L1Loss(), dense, target)[0].item() == 0.125  # torch's own losses get the landmarks
    assert batch_loss(lambda o, t: (o.landmarks - t).abs().max(), dense, target)[0].item() == 0.25  # others the whole output
    for wrong, error, words in (
        (lambda o, t: {"wing": o.sum()}, KeyError, "this one has .*wing"),
        (lambda o, t: 0.5, TypeError, "got float"),
        (nn.L1Loss(reduction="none"), ValueError, "must be a scalar"),
    ):
        with pytest.raises(error, match=words):
            batch_loss(wrong, output, target)
    with pytest.raises(ValueError, match=r"\(1, 2\).*\(1, 4\)"):
        batch_loss(nn.L1Loss(), output, torch.zeros(1, 4))
    with pytest.raises(TypeError, match="gave a list"):
        batch_loss(nn.L1Loss(), [output], target)


# cell e28055af
def test_the_error_names_step_pictures_and_what_is_missing():
    target = torch.tensor([[0.5, 0.5], [float("nan"), 0.5]])
    text = str(_non_finite(3, ["a", "b"], target))
    assert "batch 3" in text and "a, b" in text and "missing (NaN) in b" in text
    assert "missing (NaN)" not in str(_non_finite(1, ["a", "b"], torch.zeros(2, 2)))
    assert "no image_name" in str(_non_finite(1, [], target)) and "number 2 of the batch" in str(_non_finite(1, [], target))
    assert image_names({"image_name": ["a", "b"]}) == image_names([{"image_name": "a"}, {"image_name": "b"}]) == ["a", "b"]
    assert image_names({}) == image_names(None) == image_names([{}]) == image_names(torch.zeros(2)) == []


def test_a_deferred_flag_makes_the_bad_step_and_all_later_ones_a_no_op(device):
    net = nn.Linear(2, 1).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1, fused=True)
    start, seen = net.weight.detach().clone(), []

    def steps(factors, interrupt=False):
        with FiniteGuard(optimizer, deferred=True) as guard:
            for step, factor in enumerate(factors, start=1):
                loss = (net(torch.ones(1, 2, device=device)) * factor).sum()
                guard.look(loss, step, [f"picture-{step}"], torch.zeros(1, 2, device=device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                seen.append(net.weight.detach().clone())
            if interrupt:
                raise KeyboardInterrupt

    with pytest.raises(NonFiniteLossError, match="batch 2 .*picture-2"):
        steps([1.0, float("nan"), 1.0, float("inf")])
    assert not torch.equal(seen[0], start) and all(torch.equal(seen[0], later) for later in seen[1:])
    with pytest.raises(KeyboardInterrupt):
        steps([float("nan")], interrupt=True)
    assert not hasattr(optimizer, "found_inf")  # left behind, it would make every later step nothing
    steps([1.0])
    assert not torch.equal(seen[-1], seen[0]) and torch.isfinite(seen[-1]).all()


# cell 0c7d6efd
class Constant(nn.Module):
    """Says the same corners for every picture: its errors can be computed by hand."""

    def __init__(self):
        super().__init__()
        self.answer = nn.Parameter(torch.full((4,), 0.5))

    def forward(self, images):
        return self.answer.expand(len(images), 4)


def test_epoch_means_are_exact_with_a_ragged_last_batch():
    """Defect 9: 5 batches, the last of 5 pictures; the mean is over the 37 pictures."""
    images, target = toy_data(37, 0)
    model = Constant()
    trainer = toy_trainer(model=model)
    expected_loss = (0.5 - target.double()).pow(2).mean().item()
    radial = (0.5 - target.double()).reshape(37, 2, 2).pow(2).sum(-1).sqrt() * 224
    result = trainer.train_epoch(toy_loader(), torch.optim.SGD(model.parameters(), lr=0.0), nn.MSELoss())
    assert result == {"loss": pytest.approx(expected_loss, rel=1e-6), "error_px": pytest.approx(radial.mean().item(), rel=1e-6)}
    validated = trainer.validate(toy_loader(), nn.MSELoss())
    assert validated == {"val_loss": pytest.approx(expected_loss, rel=1e-6), "val_error_px": pytest.approx(radial.mean().item(), rel=1e-6)}
    batch_means = [(0.5 - part.double()).pow(2).mean().item() for part in target.split(8)]
    assert abs(sum(batch_means) / 5 / expected_loss - 1) > 1e-3  # the wrong mean is visibly another number


def test_missing_points_do_not_count_in_the_error():
    images, target = toy_data(6, 0)
    target[0, :2] = float("nan")
    target[5] = float("nan")
    finite = (0.5 - target).reshape(6, 2, 2).pow(2).sum(-1).sqrt() * 224
    expected = finite.nanmean(1)[:5].mean().item()
    masked = lambda o, t: (o - t).abs().nanmean()  # noqa: E731
    loader = [(images[:4], target[:4], {}), (images[4:5], target[4:5], [{}]), (images[5:], target[5:], None)]
    assert toy_trainer(model=Constant()).validate(loader, masked)["val_error_px"] == pytest.approx(expected, rel=1e-6)


def test_compute_pixel_error_is_a_scalar_in_the_stated_unit():
    prediction = torch.tensor([[0.0, 0.0, 0.5, 0.5]])
    for size, expected in ((100, 5.0), (224, 11.2), ((100, 100), 5.0)):
        trainer = toy_trainer(model=Constant(), image_size=size)
        error = trainer.compute_pixel_error(prediction + torch.tensor([0.03, 0.04, 0.03, 0.04]), prediction)
        assert error.shape == () and error.item() == pytest.approx(expected, rel=1e-5)
        assert trainer.compute_pixel_error(prediction.reshape(1, 2, 2), prediction).item() == 0
    assert (trainer.unit, toy_trainer(model=Constant()).unit) == ("px@100x100", "px@224")


def test_validation_learns_nothing_and_is_in_eval_mode():
    model = ToyModel()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = []
    model.head.register_forward_hook(lambda *_: modes.append((model.training, torch.is_grad_enabled())))
    result = toy_trainer(model=model).validate(toy_loader(), nn.MSELoss())
    assert set(result) == {"val_loss", "val_error_px"} and set(modes) == {(False, False)}
    assert same(dict(model.state_dict()), before)


def test_training_changes_the_weights_and_steps_the_scheduler_by_batch():
    model = ToyModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    halving = LRSchedulerCallback(torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5), step_on="batch")
    before = model.head[1].weight.clone()
    trainer = toy_trainer(model=model)
    assert set(trainer.train_epoch(toy_loader(), optimizer, nn.MSELoss(), halving)) == {"loss", "error_px"}
    assert not torch.equal(model.head[1].weight, before) and halving.get_last_lr() == [1e-2 / 32]


def test_gradients_are_clipped_to_one_norm_of_all_together():
    model, batch = Constant(), (*toy_data(8, 0), {})
    before = model.answer.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    train_pass(model, [batch], lambda o, t: 1000 * (o - t).square().mean(), optimizer, Compute(torch.device("cpu")), clip_norm=0.25)
    assert (model.answer - before).norm().item() == pytest.approx(0.25, rel=1e-4)


@pytest.mark.parametrize("name", ["train_loader", "val_loader"])
def test_an_empty_loader_is_named(name):
    model = ToyModel()
    trainer, optimizer = toy_trainer(model=model), torch.optim.Adam(model.parameters())
    with pytest.raises(ValueError, match=f"{name} is empty"):
        trainer.train_epoch([], optimizer, nn.MSELoss()) if name == "train_loader" else trainer.validate([], nn.MSELoss())
    loaders = {"train_loader": toy_loader(), "val_loader": toy_loader(), name: []}
    with pytest.raises(ValueError, match=f"{name} is empty"):
        trainer.train_phase1(**loaders, criterion=nn.MSELoss())
    once = (batch for batch in toy_loader(8))
    with pytest.raises(ValueError, match="train_loader is empty.*only once"):
        trainer.train_phase1(once, toy_loader(), nn.MSELoss(), epochs=2)


def test_errors_of_a_step_say_what_to_do():
    model = ToyModel()
    trainer, optimizer = toy_trainer(model=model), torch.optim.Adam(model.parameters())
    with pytest.raises(ValueError, match=r"must give \(images, landmarks, meta\)"):
        trainer.train_epoch([(torch.zeros(1), torch.zeros(1))], optimizer, nn.MSELoss())
    images, target = toy_data(4, 0)
    target[2, 1] = float("nan")
    with pytest.raises(NonFiniteLossError, match="batch 1.*missing .NaN. in picture-2: take a criterion"):
        trainer.train_epoch([(images, target, {"image_name": [f"picture-{i}" for i in range(4)]})], optimizer, nn.MSELoss())
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    names = {"image_name": [f"picture-{i}" for i in range(4)]}
    with pytest.raises(NonFiniteLossError, match="validation loss.*batch 2.*missing .NaN. in picture-2: take a criterion"):
        trainer.validate([(images, target.nan_to_num(), names), (images, target, names)], nn.MSELoss())
    infinite = target.nan_to_num()
    infinite[3, 0] = float("inf")
    with pytest.raises(NonFiniteLossError, match="validation loss.*a landmark is infinite in picture-3: mend its labels"):
        trainer.validate([(images, infinite, names)], nn.MSELoss())
    with pytest.raises(NonFiniteLossError, match="batch 1.*a landmark is infinite in picture-3: mend its labels"):
        trainer.train_epoch([(images, infinite, names)], optimizer, nn.MSELoss())
    blind = ToyModel()
    blind.head.register_forward_hook(lambda module, inputs, output: output * float("nan"))
    assert math.isnan(toy_trainer(model=blind).validate([(images, infinite.nan_to_num(posinf=0), names)], nn.MSELoss())["val_loss"])  # no label's fault

    def too_big(module, inputs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    model.register_forward_pre_hook(too_big)
    with pytest.raises(torch.OutOfMemoryError, match="batches of 8 of train_loader; try a smaller batch size"):
        trainer.train_epoch(toy_loader(), optimizer, nn.MSELoss())


# cell d2fd6256
def test_schedules_begin_end_and_bend_where_they_should():
    assert [schedule_factor("constant", p, 0.1) for p in (0, 0.5, 1)] == [1, 1, 1]
    assert [schedule_factor("cosine", p, 0.1) for p in (0, 0.5, 1, 2)] == pytest.approx([1.0, 0.55, 0.1, 0.1])
    assert [schedule_factor("onecycle", p, 0.2) for p in (0, WARM_UP / 2, WARM_UP, 1)] == pytest.approx([WARM_START, (1 + WARM_START) / 2, 1.0, 0.2])
    rising = [schedule_factor("onecycle", WARM_UP * i / 20) for i in range(21)]
    falling = [schedule_factor("onecycle", WARM_UP + (1 - WARM_UP) * i / 20) for i in range(21)]
    assert rising == sorted(rising) and falling == sorted(falling, reverse=True) and falling[-1] == pytest.approx(0)


# cell 39b8845c
def test_a_phase_refuses_nonsense_and_says_all_of_it():
    good = {"name": "p", "epochs": 3, "rates": {"backbone": 1e-5, "head": 1e-4}}
    assert Phase(**good).to_dict()["rates"] == {"backbone": 1e-5, "head": 1e-4}
    for wrong in (
        {"trainable": "tail"}, {"schedule": "linear"}, {"optimizer": "sgd"}, {"select": "first"}, {"patience": -1}, {"floor_ratio": 1.5},
        {"weight_decay": -1.0}, {"clip_norm": 0.0}, {"average": 1.0}, {"rates": {"head": 1e-4}}, {"rates": {"head": float("nan"), "backbone": 1}},
        {"rates": {"head": -1e-4, "backbone": 1}}, {"select": "last", "patience": 3},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Phase(**{**good, **wrong})
    with pytest.raises(ValueError, match="schedule.*clip_norm"):
        Phase(**good, schedule="linear", clip_norm=-1)
    with pytest.raises(TypeError):
        Phase(**good, patiense=3)


# cell 48b115e5
class ThreeParts(ToyModel):
    def __init__(self):
        super().__init__()
        self.attention = nn.Conv2d(8, 8, 1)

    def forward(self, images):
        return self.head(self.attention(self.features(images)))

    def freeze_all_except_head(self):
        super().freeze_all_except_head()
        self.attention.requires_grad_(True)

    def parameter_groups(self):
        return {"head": list(self.head.parameters()), "attention": list(self.attention.parameters()), "backbone": list(self.backbone.parameters())}


def test_rates_go_by_name_whatever_the_order_of_the_groups():
    model, phase = ThreeParts(), Phase("p", 1, {"backbone": 2e-5, "head": 2e-4})
    rates = {group["name"]: group["lr"] for group in build_optimizer(model, phase).param_groups}
    assert rates == {"head": 2e-4, "attention": 2e-4, "backbone": 2e-5}
    asked = Phase("p", 1, {"backbone": 2e-5, "head": 2e-4, "attention": 1e-3})
    assert {group["name"]: group["lr"] for group in build_optimizer(model, asked).param_groups}["attention"] == 1e-3
    model.freeze_all_except_head()
    phase = Phase("p", 1, {"head": 1e-3, "attention": 5e-4}, trainable="head")
    groups = build_optimizer(model, phase).param_groups
    assert [(group["name"], group["lr"]) for group in groups] == [("head", 1e-3), ("attention", 5e-4)]
    decaying = build_optimizer(model, replace(phase, optimizer="adamw", weight_decay=0.1))
    assert isinstance(decaying, torch.optim.AdamW) and {group["weight_decay"] for group in decaying.param_groups} == {0.1}
    inside = {id(p) for group in groups for p in group["params"]}
    assert inside == {id(p) for p in model.parameters() if p.requires_grad}


def test_groups_that_would_train_wrongly_are_refused():
    model = ThreeParts()
    with pytest.raises(ValueError, match="a rate for neck, but the model's groups are head, attention, backbone"):
        build_optimizer(model, Phase("p", 1, {"head": 1e-3, "backbone": 1e-3, "neck": 1e-3}))
    with pytest.raises(ValueError, match="the backbone trains"):
        build_optimizer(model, Phase("p", 1, {"head": 1e-3}, trainable="head"))  # a model that freezes nothing
    model.parameter_groups = lambda: {"backbone": list(model.backbone.parameters()), "head": list(model.head.parameters())}
    with pytest.raises(ValueError, match="leaves out 2 parameters.*attention.weight"):
        build_optimizer(model, Phase("p", 1, {"head": 1e-3, "backbone": 1e-3}))
    with pytest.raises(ValueError, match="every parameter is frozen"):
        build_optimizer(ToyModel().requires_grad_(False), Phase("p", 1, {"head": 1e-3, "backbone": 1e-3}))


def test_the_fused_step_is_the_plain_one_in_any_memory_format():
    nets = [nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)]
    nets[1].load_state_dict(nets[0].state_dict())
    images = torch.randn(2, 4, 8, 8)
    for net, fused in zip(nets, (False, True), strict=True):
        optimizer = torch.optim.Adam(net.parameters(), lr=0.1, fused=fused)
        for _ in range(3):
            optimizer.zero_grad()
            net(images).square().mean().backward()
            optimizer.step()
    assert torch.allclose(nets[0].weight, nets[1].weight, atol=1e-5)


# cell 77c8f724
def test_the_average_is_what_the_formula_says():
    net = nn.BatchNorm1d(1)
    average = averaged_copy(net)
    expected = None
    for step, value in enumerate([1.0, 2.0, 4.0, 8.0]):
        nn.init.constant_(net.weight, value)
        net.running_mean.fill_(value)
        net.num_batches_tracked.fill_(10 * step)
        update_average(average, net, decay=0.2)
        decay = min(0.2, (1 + step) / (10 + step))
        expected = value if expected is None else decay * expected + (1 - decay) * value
        assert average.module.weight.item() == average.module.running_mean.item() == pytest.approx(expected, rel=1e-6)
        assert average.module.num_batches_tracked.item() == 10 * step  # a count is copied, not averaged
    assert net.weight.item() == 8.0


def test_the_average_is_torchs_to_the_last_bit_and_its_counter_stays_where_it_is():
    class Stays(Tensor):
        def to(self, *arguments, **options):
            raise AssertionError("the counter goes to the device: the host would wait for it in each step")

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3).double())
    ours, torchs = averaged_copy(net), averaged_copy(net)
    ours.n_averaged = ours.n_averaged.as_subclass(Stays)
    for step in range(12):
        with torch.no_grad():
            for parameter in _parts(net):
                parameter.add_(torch.randn_like(parameter) if parameter.is_floating_point() else 3)
        blend = get_ema_multi_avg_fn(min(0.5, (1 + step) / (10 + step)))
        torchs.multi_avg_fn = lambda means, values, n, blend=blend: (
            blend(means, values, n) if means[0].is_floating_point() else [m.copy_(v) for m, v in zip(means, values, strict=True)])
        torchs.update_parameters(net)
        update_average(ours, net, decay=0.5)
        states = [{name: value.as_subclass(Tensor) for name, value in average.state_dict().items()} for average in (ours, torchs)]
        assert states[0].keys() == states[1].keys() and all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert states[0]["n_averaged"] == 12 and all(parameter.requires_grad for parameter in ours.module.parameters())


# cell 1f2b3941
def test_every_random_stream_comes_back():
    def draw():
        return random.random(), np.random.rand(), torch.rand(2).tolist(), np.random.randn(), random.gauss(0, 1)

    np.random.randn()  # leaves half a pair of Gaussians in NumPy's state
    random.gauss(0, 1)
    state = random_state()
    first = draw()
    set_random_state(state)
    assert draw() == first and draw() != first


def test_random_state_is_plain(tmp_path):
    state = random_state()
    back = read_checkpoint(save_checkpoint(tmp_path / "r.pt", state))
    first = torch.rand(3)
    set_random_state(back)
    assert torch.equal(torch.rand(3), first)


def test_loaders_are_told_the_epoch():
    sampler = SimpleNamespace(set_epoch=lambda epoch: told.append(epoch))
    told, counting = [], SimpleNamespace(epoch=7, sampler=sampler)
    tell_epoch(counting, 3)
    tell_epoch([], 4)
    assert told == [3] and counting.epoch == 3


def test_weights_of_another_architecture_are_refused_and_change_nothing():
    model, other = nn.Linear(2, 3), nn.Sequential(nn.Linear(2, 3))
    before = model.weight.clone()
    with pytest.raises(ValueError, match="f.pt holds.*this Linear.*: 2 missing in the file .weight, bias.; 2 unknown.*0.weight"):
        load_weights(model, other.state_dict(), "f.pt")
    with pytest.raises(ValueError, match=r"1 of another shape \(weight \(3, 5\) in the file, \(3, 2\) in the model\)"):
        load_weights(model, nn.Linear(5, 3).state_dict(), "f.pt")
    assert torch.equal(model.weight, before)


# cell 325cc777
def test_history_and_returns_have_the_agreed_shape(tmp_path):
    trainer = toy_trainer(tmp_path / "new")
    result = trainer.train_full(toy_loader(), toy_loader(10, 1), nn.MSELoss(), phase1_epochs=2, phase2_epochs=3)
    columns = {"train_loss", "val_loss", "train_error_px", "val_error_px", "lr_head"}
    assert set(result["phase1"]) == columns and set(result["phase2"]) == columns | {"lr_backbone"}
    assert {len(values) for values in result["phase1"].values()} == {2} and {len(values) for values in result["phase2"].values()} == {3}
    assert trainer.history == result and sorted(p.name for p in (tmp_path / "new").iterdir()) == ["best.pt", "last.pt"]
    one = toy_trainer()
    assert one.train_phase1(toy_loader(), toy_loader(10, 1), nn.MSELoss(), epochs=1) is one.history["phase1"]
    assert one.train_phase2(toy_loader(), toy_loader(10, 1), nn.MSELoss(), epochs=1) is one.history["phase2"]


def test_rates_of_all_groups_keep_their_ratio_and_are_logged():
    trainer = toy_trainer(model=ThreeParts())
    result = trainer.train_full(
        toy_loader(), toy_loader(8, 1), nn.MSELoss(), 2, 4, 1e-3, 2e-5, 2e-4, phase2_patience=None, rates={"attention": 1e-4}
    )
    assert result["phase1"]["lr_head"] == result["phase1"]["lr_attention"] == [1e-3] * 2 and "lr_backbone" not in result["phase1"]
    cosine = [0.05 + 0.95 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)]
    for group, rate in (("head", 2e-4), ("backbone", 2e-5), ("attention", 1e-4)):
        assert result["phase2"][f"lr_{group}"] == pytest.approx([rate * factor for factor in cosine], rel=1e-9)
    ended = {group["name"]: group["lr"] for group in trainer.optimizer.param_groups}
    assert ended == pytest.approx({"head": 1e-5, "attention": 5e-6, "backbone": 1e-6})


def test_a_phase_of_no_epochs_is_skipped_and_one_run_again_replaces_its_columns():
    trainer, loaders = toy_trainer(), (toy_loader(), toy_loader(8, 1), nn.MSELoss())
    assert trainer.train_full(*loaders, phase1_epochs=2, phase2_epochs=0) == {"phase1": trainer.history["phase1"], "phase2": {}}
    assert trainer.train_phase1(*loaders, epochs=-1) is trainer.history["phase1"]
    trainer.train_phase2(*loaders, epochs=1)
    assert len(trainer.train_phase1(*loaders, epochs=1)["val_loss"]) == 1 and len(trainer.history["phase2"]["val_loss"]) == 1
    assert trainer.best_phase == "phase1"  # what phase 2 reached was built on the earlier phase 1


def test_components_of_a_loss_are_logged():
    def criterion(output, target):
        return {"total": (output - target).abs().mean(), "wing": torch.tensor(2.0), "symmetry": torch.tensor(0.5)}

    history = toy_trainer().train_phase1(toy_loader(), toy_loader(8, 1), criterion, epochs=2)
    assert history["train_loss_wing"] == history["val_loss_wing"] == [2.0, 2.0] and history["val_loss_symmetry"] == [0.5, 0.5]


def test_the_protocol_is_checked_when_a_phase_starts_and_not_before():
    trainer = toy_trainer(model=Constant())  # no protocol needed for single epochs
    trainer.validate(toy_loader(), nn.MSELoss())
    with pytest.raises(TypeError, match="parameter_groups"):
        trainer.train_phase1(toy_loader(), toy_loader(), nn.MSELoss())
    assert trainer.history == {}


# cell 541b4b63
@pytest.mark.parametrize(
    "make",
    [
        ToyModel,
        lambda: create_real("tiny", "regression"),
        lambda: create_real("tiny", "dense"),
        lambda: create_real("resnet18", "regression"),
    ],
    ids=["toy", "tiny", "tiny-dense", "resnet18"],
)
def test_frozen_means_frozen_and_free_means_free(make):
    torch.manual_seed(0)
    model = make()
    small = isinstance(model, ToyModel)
    data = [(torch.rand(4, 1, 16, 16), torch.rand(4, 4), {}) if small else (torch.rand(4, 1, 64, 64), torch.rand(4, 30), {})] * 2
    trainer = toy_trainer(model=model)

    def backbone():
        return {name: value.clone() for name, value in model.state_dict().items() if name.startswith("backbone")}

    before, head = backbone(), next(model.head.parameters()).clone()
    trainer.fit([Phase("phase1", 1, {"head": 1e-2}, trainable="head", average=0.9, optimizer="adamw", weight_decay=0.1)], data, data, any_loss)
    assert same(backbone(), before) and not torch.equal(next(model.head.parameters()), head)
    trainer.fit([Phase("phase2", 1, {"backbone": 1e-2, "head": 1e-2}, select="last")], data, data, any_loss)
    after = backbone()
    moved = [name for name in before if name.endswith("running_mean") and not torch.equal(before[name], after[name])]
    assert len(moved) == sum(name.endswith("running_mean") for name in before)
    changed = [name for name, value in model.named_parameters() if name.startswith("backbone") and not torch.equal(value, before[name])]
    assert len(changed) == sum(name.startswith("backbone") for name, _ in model.named_parameters())


def create_real(backbone, head):
    from landmark_thesis.model import create_model

    return create_model(backbone, head, weights="none", **({"hidden": 32} if head == "regression" else {"channels": 8, "context": False}))


def any_loss(output, target):
    return (landmarks_of(output) - target).square().mean()


def test_dropout_inside_a_frozen_part_is_off():
    model, seen = ToyModel(dropout=0.5), []
    images, target = toy_data(8, 0)
    model.backbone.register_forward_hook(lambda module, inputs, output: seen.append(output.detach().clone()) if model.training else None)
    trainer = toy_trainer(model=model)
    trainer.train_phase1([(images, target, {})] * 2, toy_loader(8, 1), nn.MSELoss(), epochs=2)
    assert len(seen) == 4 and all(torch.equal(seen[0], other) for other in seen[1:])
    seen.clear()
    trainer.train_phase2([(images, target, {})] * 2, toy_loader(8, 1), nn.MSELoss(), epochs=1, backbone_lr=1e-12)
    assert not torch.allclose(seen[0], seen[1], atol=1e-3)


# cell a3eb1999
def test_both_phases_learn_on_any_device(device):
    """Audit V01: end to end, against the mean of the training corners (about 35 px@224)."""
    torch.manual_seed(0)
    trainer = LandmarkTrainer(ToyModel(), device, None, quiet=True, precision="fp32")
    loaders = toy_loader(160, 0, 16, shuffle=True), toy_loader(60, 1, 60)
    history = trainer.train_full(*loaders, nn.MSELoss(), 5, 12, 3e-3, 1e-3, 1e-3)
    yardstick = mean_radial_error(toy_data(160, 0)[1].mean(0).expand(60, 4), toy_data(60, 1)[1], 224).item()
    assert yardstick > 30 and history["phase1"]["val_error_px"][-1] < 20 and trainer.best_error_px < 12
    assert trainer.validate(loaders[1], nn.MSELoss())["val_error_px"] == pytest.approx(trainer.best_error_px, rel=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision_is_recorded_and_losses_are_float32(device, precision, tmp_path):
    seen = set()

    def criterion(output, target):
        seen.add((landmarks_of(output).dtype, target.dtype, torch.is_autocast_enabled(device.type)))
        return (landmarks_of(output) - target).abs().mean()

    model, inside = ToyModel(), set()
    model.head.register_forward_hook(lambda module, inputs, output: inside.add(output.dtype))
    trainer = LandmarkTrainer(model, device, tmp_path, precision=precision, quiet=True)
    trainer.train_full(toy_loader(), toy_loader(8, 1), criterion, 1, 1)
    assert seen == {(torch.float32, torch.float32, False)} and inside == {torch.bfloat16 if precision == "bf16" else torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.float32} and trainer.precision == precision
    assert read_checkpoint(tmp_path / "best.pt")["precision"] == read_checkpoint(tmp_path / "last.pt")["precision"] == precision
    with pytest.raises(ValueError, match="precision"):
        LandmarkTrainer(model, device, None, precision="fp16")


def test_the_dense_model_and_its_loss_run_through_both_phases(device):
    from landmark_thesis.losses import DenseLoss

    trainer = LandmarkTrainer(create_real("tiny", "dense"), device, None, quiet=True)
    data = [(torch.rand(2, 1, 64, 64), torch.rand(2, 30), [{"image_name": "a"}, {"image_name": "b"}])]
    history = trainer.train_full(data, data, DenseLoss(), 1, 1)
    assert all(math.isfinite(value[0]) for phase in history.values() for value in phase.values())


# cell 31f00c01
def test_the_model_ends_as_the_best_of_both_phases(tmp_path):
    for rate, winner in ((3.0, "phase1"), (3e-3, "phase2")):
        trainer = toy_trainer(tmp_path / winner)
        loaders = toy_loader(80, 0, 16), toy_loader(40, 1, 40)
        history = trainer.train_full(*loaders, nn.MSELoss(), 3, 5, 3e-3, rate, rate)
        errors = {name: min(columns["val_error_px"]) for name, columns in history.items()}
        assert trainer.best_phase == winner == min(errors, key=errors.get)
        assert trainer.best_error_px == errors[winner] == history[winner]["val_error_px"][trainer.best_epoch - 1]
        assert trainer.validate(loaders[1], nn.MSELoss())["val_error_px"] == trainer.best_error_px
        assert same(dict(trainer.model.state_dict()), read_checkpoint(tmp_path / winner / "best.pt")["model_state_dict"])


def test_best_of_both_holds_for_separate_calls_too():
    trainer, loaders = toy_trainer(), (toy_loader(80, 0, 16), toy_loader(40, 1, 40), nn.MSELoss())
    trainer.train_phase1(*loaders, epochs=3, lr=3e-3)
    best = trainer.best_error_px
    trainer.train_phase2(*loaders, epochs=2, backbone_lr=3.0, head_lr=3.0)
    assert (trainer.best_phase, trainer.best_error_px) == ("phase1", best) == ("phase1", trainer.validate(*loaders[1:])["val_error_px"])


def test_selecting_nothing_ends_with_the_last_averaged_weights():
    phase = Phase("phase2", 3, {"backbone": 3.0, "head": 3.0}, average=0.5, select="last")
    trainer, loaders = toy_trainer(), (toy_loader(40, 0, 8), toy_loader(40, 1, 40), nn.MSELoss())
    trainer.train_phase1(*loaders, epochs=1)
    last = trainer.fit([phase], *loaders)["phase2"]["val_error_px"][-1]
    assert (trainer.best_phase, trainer.best_epoch) == ("phase2", 3) and trainer.validate(*loaders[1:])["val_error_px"] == last
    blind = toy_trainer()
    assert set(blind.fit([phase], loaders[0], None, nn.MSELoss())["phase2"]) == {"train_loss", "train_error_px", "lr_backbone", "lr_head"}
    with pytest.raises(ValueError, match="phase1 selects the best epoch by validation"):
        blind.train_phase1(loaders[0], None, nn.MSELoss())


def test_averaged_weights_are_validated_kept_and_left_in_the_model(tmp_path):
    phase = Phase("phase2", 3, {"backbone": 1e-3, "head": 1e-3}, average=0.9)
    trainer, val = toy_trainer(tmp_path), toy_loader(40, 1, 40)
    trainer.fit([phase], toy_loader(80, 0, 16), val, nn.MSELoss())
    assert trainer.validate(val, nn.MSELoss())["val_error_px"] == trainer.best_error_px
    plain = toy_trainer()
    plain.fit([replace(phase, average=None)], toy_loader(80, 0, 16), val, nn.MSELoss())
    assert plain.history["phase2"]["train_loss"] == trainer.history["phase2"]["train_loss"]  # averaging does not disturb training
    assert plain.history["phase2"]["val_loss"] != trainer.history["phase2"]["val_loss"]


def test_an_early_stop_is_recorded_with_its_rates():
    trainer = toy_trainer()
    phase = Phase("phase2", 40, {"backbone": 3.0, "head": 3.0}, patience=2, schedule="cosine")
    trainer.train_phase1(toy_loader(80, 0, 16), toy_loader(40, 1, 40), nn.MSELoss(), epochs=2)
    history = trainer.fit([phase], toy_loader(80, 0, 16), toy_loader(40, 1, 40), nn.MSELoss())["phase2"]
    stop, epochs = trainer.stopped["phase2"], len(history["val_loss"])
    assert epochs < 40 and stop["epoch"] == epochs and "no better val_error_px in 2 epochs" in stop["reason"]
    factor = (1 + math.cos(math.pi * epochs / 40)) / 2
    assert stop["rates"] == pytest.approx({"backbone": 3.0 * factor, "head": 3.0 * factor}) and "phase1" not in trainer.stopped


def test_no_finite_epoch_means_no_weights_to_choose():
    blind = ToyModel()  # its answers are not finite when it is judged
    blind.register_forward_hook(lambda module, inputs, output: output if module.training else output * float("nan"))
    with pytest.warns(RuntimeWarning, match="val_error_px is nan"), pytest.raises(RuntimeError, match="no epoch of phase1 had a finite"):
        toy_trainer(model=blind).train_phase1(toy_loader(), toy_loader(8), nn.MSELoss(), epochs=2)


# cell b145ca60
RESUMABLE = {
    "thesis": two_phases(3, 4, 3e-3, 1e-3, 3e-3),
    "averaged cosine, then averaged onecycle": (
        Phase("phase1", 3, {"head": 3e-3}, trainable="head", average=0.9, schedule="cosine", floor_ratio=0.05),
        Phase("phase2", 4, {"backbone": 1e-3, "head": 3e-3}, average=0.95, schedule="onecycle", optimizer="adamw", weight_decay=0.01, clip_norm=1.0),
    ),
    "early stopping": (
        Phase("phase1", 3, {"head": 3e-3}, trainable="head", patience=1),
        Phase("phase2", 30, {"backbone": 0.3, "head": 0.3}, patience=3, schedule="cosine"),
    ),
    "last": (Phase("phase1", 3, {"head": 3e-3}, trainable="head"), Phase("phase2", 4, {"backbone": 1e-3, "head": 3e-3}, average=0.9, select="last")),
}


class Interrupt(Callback):
    """Ctrl+C after a batch, or when a phase ends."""

    def __init__(self, phase, epoch, batch=None):
        self.at = (phase, epoch, batch)

    def on_batch_end(self, trainer, phase, epoch, batch):
        if (phase.name, epoch, batch) == self.at:
            raise KeyboardInterrupt

    def on_fit_end(self, trainer, phase):
        if (phase.name, "end", None) == self.at:
            raise KeyboardInterrupt


def resumable_run(folder, phases, at=None, resume=False, plateau=False, seed=0):
    """One run with everything random in it: shuffling by torch and by a generator of its own, dropout."""
    callbacks = [Interrupt(*at)] if at else []
    if plateau:
        callbacks += [
            LRSchedulerCallback(lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=0.999), monitor="val_error_px"),
            EarlyStopping(patience=2, monitor="train_loss"),
            ModelCheckpoint(folder / "kept", "val_loss"),
        ]
    trainer = toy_trainer(folder, seed=seed, callbacks=callbacks)
    loaders = toy_loader(shuffle=True), toy_loader(20, 1)
    if plateau:
        loaders = DataLoader(TensorDataset(*toy_data(37, 0)), 8, shuffle=True, generator=torch.Generator().manual_seed(5), collate_fn=with_names), loaders[1]
    try:
        trainer.fit(phases, *loaders, nn.MSELoss(), resume)
    except KeyboardInterrupt:
        assert at is not None
    return trainer


def assert_resumes(tmp_path, phases, at, **settings):
    peaceful = resumable_run(tmp_path / "peaceful", phases, **settings)
    broken = resumable_run(tmp_path / "broken", phases, at, **settings)
    assert broken.history != peaceful.history or at[1] == "end"
    again = resumable_run(tmp_path / "broken", phases, resume=True, **{**settings, "seed": 99})  # another start: all must come from the file
    assert again.history == peaceful.history and again.stopped == peaceful.stopped
    assert same(dict(again.model.state_dict()), dict(peaceful.model.state_dict()))
    files = [read_checkpoint(tmp_path / name / "last.pt") for name in ("peaceful", "broken")]
    assert same(*files)
    assert same(*(read_checkpoint(tmp_path / name / "best.pt") for name in ("peaceful", "broken")))


@pytest.mark.parametrize("at", [("phase1", 2, 3), ("phase1", "end"), ("phase2", 1, 1), ("phase2", 3, 2)], ids=str)
@pytest.mark.parametrize("name", RESUMABLE)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, name, at):
    assert_resumes(tmp_path, RESUMABLE[name], at)


@pytest.mark.parametrize("at", [("phase1", 3, 3), ("phase2", 2, 1), ("phase2", 3, 4)], ids=str)
def test_callbacks_and_generators_resume_too(tmp_path, at):
    phases = (Phase("phase1", 4, {"head": 3e-3}, trainable="head"), Phase("phase2", 5, {"backbone": 0.1, "head": 0.1}))
    assert_resumes(tmp_path, phases, at, plateau=True)
    rates = read_checkpoint(tmp_path / "broken" / "last.pt")["history"]["phase2"]["lr_head"]
    assert min(rates) < 0.1  # the plateau scheduler did lower it
    assert same(*(read_checkpoint(tmp_path / name / "kept" / "best.pt") for name in ("peaceful", "broken")))


def test_separate_calls_resume_like_one(tmp_path):
    loaders = toy_loader(shuffle=True), toy_loader(20, 1), nn.MSELoss()
    one = toy_trainer(tmp_path / "one", seed=1)
    one.train_full(*loaders, 2, 3)
    two = toy_trainer(tmp_path / "two", seed=1)
    two.train_phase1(*loaders, epochs=2)
    again = toy_trainer(tmp_path / "two", seed=8)
    again.train_phase1(*loaders, epochs=2, resume=True)
    assert again.history == two.history
    again.train_phase2(*loaders, epochs=3, resume=True)
    assert again.history == one.history and same(dict(again.model.state_dict()), dict(one.model.state_dict()))


def test_resuming_with_our_own_loaders_goes_on_in_their_order(tmp_path):
    from landmark_thesis.augment import Augmentation
    from landmark_thesis.data import batches, phantom_data

    data = phantom_data(12, size=32)

    def run(folder, at=None, resume=False):
        torch.manual_seed(0)
        trainer = LandmarkTrainer(create_real("tiny", "regression"), "cpu", folder, callbacks=[Interrupt(*at)] if at else [], quiet=True)
        loaders = batches(data, 5, shuffle=True, seed=4, augmentation=Augmentation()), batches(data, 6)
        trainer.train_full(*loaders, any_loss, 2, 2, resume=resume)
        return trainer

    peaceful = run(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", ("phase2", 2, 2))
    resumed = run(tmp_path / "b", resume=True)
    assert resumed.history == peaceful.history and same(dict(resumed.model.state_dict()), dict(peaceful.model.state_dict()))


# cell 755dcb1c
def test_a_finished_phase_is_not_run_again(tmp_path):
    loaders = toy_loader(), toy_loader(20, 1)
    first = toy_trainer(tmp_path)
    first.train_full(*loaders, nn.MSELoss(), 2, 2)

    class MSELoss(nn.Module):
        reduction = "mean"

        def forward(self, output, target):
            raise AssertionError("a finished run computed something")

    again = toy_trainer(tmp_path, seed=5)
    with pytest.raises(ResumeError, match=r"criterion: \"MSELoss\(reduction='mean'\)\" then, 'MSELoss\(\)' now"):
        again.train_full(*loaders, MSELoss(), 2, 2, resume=True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(nn.MSELoss, "forward", MSELoss.forward)
        assert again.train_full(*loaders, nn.MSELoss(), 2, 2, resume=True) == first.history
    assert not again.model.training
    assert same(dict(again.model.state_dict()), dict(first.model.state_dict())) and again.best_error_px == first.best_error_px


def test_resume_refuses_another_run_and_shows_the_difference(tmp_path):
    loaders = toy_loader(), toy_loader(20, 1)
    plug = Interrupt("phase2", 2, 1)
    with pytest.raises(KeyboardInterrupt):
        toy_trainer(tmp_path, callbacks=[plug, EarlyStopping(5)]).train_full(*loaders, nn.MSELoss(), 2, 3)
    saved = (tmp_path / "last.pt").read_bytes()

    def resume(model=None, callbacks=None, train_loader=None, folder=tmp_path, epochs=(2, 3), **settings):
        trainer = toy_trainer(folder, model, callbacks=[EarlyStopping(5)] if callbacks is None else callbacks)
        return trainer.train_full(train_loader or loaders[0], loaders[1], nn.MSELoss(), *epochs, resume=True, **settings)

    for settings, words in (
        ({"epochs": (2, 9)}, "phase2.*epochs: 3 then, 9 now"),
        ({"phase1_lr": 0.5}, "phase1.*rates: {'head': 0.001} then, {'head': 0.5} now"),
        ({"train_loader": toy_loader(80)}, "batches: 5 then, 10 now"),
        ({"epochs": (2, 0)}, "middle of phase2"),
        ({"callbacks": []}, "missing now EarlyStopping"),
        ({"callbacks": [EarlyStopping(5), EarlyStopping(3)]}, "new EarlyStopping#2"),
        ({"model": ThreeParts()}, "another architecture"),
        ({"folder": None}, "needs a save_dir"),
    ):
        with pytest.raises(ValueError, match=words):
            resume(**settings)
    assert (tmp_path / "last.pt").read_bytes() == saved
    assert len(resume()["phase2"]["val_loss"]) == 3


def test_two_trainers_at_once_in_one_folder_the_second_is_refused(tmp_path):
    loaders, heard = (toy_loader(), toy_loader(20, 1), nn.MSELoss()), []

    class Other(Callback):
        def on_epoch_end(self, trainer, phase, epoch, metrics):
            with pytest.raises(ValueError, match="another training writes into"):
                toy_trainer(tmp_path, seed=2).train_phase1(*loaders, epochs=1)
            heard.append(read_checkpoint(tmp_path / "best.pt")["best"]["epoch"])

    trainer = toy_trainer(tmp_path, callbacks=[Other(), Interrupt("phase1", 3, 1)])
    with pytest.raises(KeyboardInterrupt):
        trainer.train_phase1(*loaders, epochs=3)
    assert len(heard) == 2 and sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt"]
    toy_trainer(tmp_path).train_phase1(*loaders, epochs=3)  # the cell, run again
    (tmp_path / "training.lock").touch()  # of one that was killed
    toy_trainer(tmp_path).train_phase1(*loaders, epochs=3, resume=True)


def test_a_best_file_of_an_epoch_that_never_counted_is_put_right(tmp_path):
    loaders = toy_loader(), toy_loader(20, 1), nn.MSELoss()
    with pytest.raises(KeyboardInterrupt):
        toy_trainer(tmp_path, callbacks=[Interrupt("phase1", 2, 1)]).train_phase1(*loaders, epochs=2)
    first = read_checkpoint(tmp_path / "best.pt")
    save_checkpoint(tmp_path / "best.pt", {**first, "best": {**first["best"], "epoch": 2}})  # killed after best.pt, before last.pt
    trainer = toy_trainer(tmp_path, callbacks=[Interrupt("phase1", 2, 1)])
    with pytest.raises(KeyboardInterrupt):
        trainer.train_phase1(*loaders, epochs=2, resume=True)
    assert same(read_checkpoint(tmp_path / "best.pt"), first)


def test_large_files_are_written_for_a_share_of_the_time_and_nothing_else_changes(tmp_path, monkeypatch):
    """A clock that only writing moves: each write takes a second, an epoch none but those that are counted in."""
    module = __import__("landmark_thesis.trainer", fromlist=["time"])
    now, written, write = [100.0], [], save_checkpoint

    def slow(path, contents, **options):
        now[0] += 1.0
        written.append((path.name, len(contents["history"].get("phase2", {}).get("train_loss", ()))))
        return write(path, contents, **options)

    class Epochs(Callback):
        def on_epoch_start(self, trainer, phase, epoch):
            now[0] += 9.0

    def train(folder, callbacks=(), **options):
        trainer = toy_trainer(folder, callbacks=[Epochs(), *callbacks])
        loaders = toy_loader(40, 0, 8), toy_loader(20, 1), nn.MSELoss()
        return trainer, trainer.train_full(*loaders, 0, 8, phase2_backbone_lr=1e-3, **options)

    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "save_checkpoint", slow)
    every, history = train(tmp_path / "small")
    assert [epoch for name, epoch in written if name == "last.pt"] == [1, 2, 3, 4, 5, 6, 7, 8, 8]
    written.clear()
    monkeypatch.setattr(module, "SMALL_FILE", 0)
    monkeypatch.setattr(module, "SAVING_SHARE", 0.05)
    seldom, same_history = train(tmp_path / "large")
    assert [epoch for name, epoch in written if name == "last.pt"] == [1, 6, 8]  # the last of them when the phase has ended
    assert written[:2] == [("best.pt", 1), ("last.pt", 1)] and same_history == history
    assert same(*(read_checkpoint(tmp_path / name / "best.pt") for name in ("small", "large")))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", [Interrupt("phase2", 4, 1)])
    kept = read_checkpoint(tmp_path / "broken" / "best.pt")["best"]
    assert read_checkpoint(tmp_path / "broken" / "last.pt")["running"]["epoch"] == 1 and kept["epoch"] > 1  # the best of epochs 1 to 3 is not lost
    resumed, again = train(tmp_path / "broken", resume=True)
    assert again == history and same(dict(resumed.model.state_dict()), dict(every.model.state_dict()))
    assert same(*(read_checkpoint(tmp_path / name / "best.pt") for name in ("small", "broken")))


def test_resume_with_nothing_saved_begins_anew_and_says_so(tmp_path, capsys):
    trainer = toy_trainer(tmp_path, quiet=False)
    trainer.train_phase1(toy_loader(), toy_loader(20, 1), nn.MSELoss(), epochs=1, resume=True)
    assert "nothing saved" in capsys.readouterr().out and len(trainer.history["phase1"]["val_loss"]) == 1


def test_resume_keeps_the_precision_the_run_began_with(tmp_path):
    loaders = toy_loader(), toy_loader(20, 1), nn.MSELoss()
    toy_trainer(tmp_path, precision="bf16").train_phase1(*loaders, epochs=1)
    trainer = toy_trainer(tmp_path, precision="fp32")
    trainer.train_phase1(*loaders, epochs=1, resume=True)
    trainer.train_phase2(*loaders, epochs=1)
    assert trainer.precision == "bf16"


def test_ctrl_c_leaves_a_usable_trainer(tmp_path):
    heard = []

    class Listener(Callback):
        def on_exception(self, trainer, phase, error):
            heard.append((phase.name, type(error).__name__))

    trainer = toy_trainer(tmp_path, callbacks=[Interrupt("phase2", 2, 1), Listener()])
    loaders = toy_loader(40, 0, 8), toy_loader(20, 1), nn.MSELoss()
    with pytest.raises(KeyboardInterrupt):
        trainer.train_full(*loaders, 2, 3, phase2_backbone_lr=1e-3)
    assert heard == [("phase2", "KeyboardInterrupt")] and len(trainer.history["phase1"]["val_loss"]) == 2
    assert len(trainer.history["phase2"]["val_loss"]) == 1 and read_checkpoint(tmp_path / "last.pt")["running"]["epoch"] == 1
    assert same(dict(trainer.model.state_dict()), trainer.best_state)
    assert trainer.validate(*loaders[1:])["val_error_px"] == trainer.best_error_px
    trainer.callbacks = [callback for callback in trainer.callbacks if not isinstance(callback, Interrupt)]
    trainer.train_full(*loaders, 2, 3, phase2_backbone_lr=1e-3, resume=True)
    peaceful = toy_trainer()
    peaceful.train_full(*loaders, 2, 3, phase2_backbone_lr=1e-3)
    assert trainer.history == peaceful.history and same(dict(trainer.model.state_dict()), dict(peaceful.model.state_dict()))


@pytest.mark.parametrize("deferred", [False, True])
def test_a_loss_that_turns_nan_keeps_the_best_so_far(device, tmp_path, monkeypatch, deferred):
    import landmark_thesis.trainer as module

    calls = []
    monkeypatch.setattr(module, "FiniteGuard", lambda optimizer, deferred: FiniteGuard(optimizer, wanted))
    wanted = deferred  # on either device, both ways of noticing

    def criterion(output, target):
        calls.append(torch.is_grad_enabled())
        loss = (output - target).square().mean()
        return loss * float("nan") if sum(calls) == 13 else loss  # 5 batches an epoch: batch 3 of epoch 3

    torch.manual_seed(0)
    trainer = LandmarkTrainer(ToyModel(), device, tmp_path, quiet=True, precision="fp32")
    with pytest.raises(NonFiniteLossError, match=r"batch 3 \(pictures: toy-"):
        trainer.train_phase1(toy_loader(), toy_loader(20, 1), criterion, epochs=5)
    assert len(trainer.history["phase1"]["val_loss"]) == 2 and trainer.best_phase == "phase1"
    assert all(torch.isfinite(value).all() for value in trainer.model.state_dict().values())
    assert same({k: v.cpu() for k, v in trainer.model.state_dict().items()}, read_checkpoint(tmp_path / "best.pt")["model_state_dict"])


# cell b61e4bf3
def test_callbacks_are_heard_and_can_stop_a_phase(tmp_path):
    class StopAt(Callback):
        def on_epoch_end(self, trainer, phase, epoch, metrics):
            if epoch == 2:
                trainer.request_stop("enough")

    keeper = ModelCheckpoint(tmp_path / "kept", "val_error_px")
    log = CSVLogger(tmp_path / "history.csv")
    trainer = toy_trainer(tmp_path / "run", callbacks=[keeper, StopAt(), log])
    history = trainer.train_phase1(toy_loader(), toy_loader(20, 1), nn.MSELoss(), epochs=9)
    assert len(history["val_loss"]) == 2 and trainer.stopped["phase1"]["reason"] == "enough"
    assert keeper.best_score == trainer.best_error_px and keeper.best_epoch == trainer.best_epoch
    assert same(read_checkpoint(keeper.best_path)["model_state_dict"], trainer.best_state)
    assert log.path.read_text().splitlines()[0].startswith("phase,epoch,train_loss")


def test_a_callback_that_breaks_is_named_and_one_that_validates_does_no_harm():
    class Broken(Callback):
        def on_batch_end(self, trainer, phase, epoch, batch):
            raise KeyError("oops")

    class Curious(Callback):
        def on_batch_end(self, trainer, phase, epoch, batch):
            trainer.validate([(*toy_data(8, 1), {})], nn.MSELoss())  # a DataLoader would draw from torch's random stream

    loaders = toy_loader(), toy_loader(20, 1), nn.MSELoss()
    with pytest.raises(KeyError) as caught:
        toy_trainer(callbacks=[Broken()]).train_phase1(*loaders, epochs=1)
    assert "Broken, event on_batch_end" in caught.value.__notes__[0]
    plain = toy_trainer().train_phase1(*loaders, epochs=2)
    assert toy_trainer(callbacks=[Curious()]).train_phase1(*loaders, epochs=2) == plain

    class Thaws(Callback):
        def on_batch_end(self, trainer, phase, epoch, batch):
            trainer.model.train()

    assert toy_trainer(callbacks=[Thaws()]).train_phase1(*loaders, epochs=2) == plain  # frozen through every train()
    with pytest.raises(TypeError, match="SimpleNamespace: not a Callback"):
        toy_trainer(callbacks=[SimpleNamespace()])


def test_a_plateau_scheduler_works_and_two_schedules_do_not():
    def plateau(monitor):
        return LRSchedulerCallback(lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.1, patience=0, threshold=0.999), monitor=monitor)

    loaders = toy_loader(), toy_loader(20, 1), nn.MSELoss()
    rates = toy_trainer(callbacks=[plateau("val_loss")]).train_phase1(*loaders, epochs=3, lr=1e-2)["lr_head"]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3])
    with pytest.raises(KeyError, match="no metric 'val_mae'; there are: lr_head, train_error_px"):
        toy_trainer(callbacks=[plateau("val_mae")]).train_phase1(*loaders, epochs=1)
    with pytest.raises(ValueError, match="two schedules would fight"):
        toy_trainer(callbacks=[plateau("val_loss")]).train_phase2(*loaders, epochs=1)


def test_a_seed_makes_runs_repeatable_however_they_are_called():
    def run(calls, seed=4):
        trainer = toy_trainer(seed=1, **{"callbacks": ()})
        trainer.seed = seed
        torch.rand(7)  # whatever happened before
        calls(trainer, toy_loader(shuffle=True), toy_loader(20, 1), nn.MSELoss())
        return trainer.history

    def separately(trainer, *loaders):
        trainer.train_phase1(*loaders, epochs=2)
        trainer.train_phase2(*loaders, epochs=2)

    def together(trainer, *loaders):
        trainer.train_full(*loaders, 2, 2)

    assert run(together) == run(separately) != run(together, seed=5)


def test_quiet_is_quiet_and_talking_is_plain_text(tmp_path, capsys):
    loaders = toy_loader(), toy_loader(20, 1), nn.MSELoss()
    toy_trainer(tmp_path).train_full(*loaders, 1, 1)
    assert capsys.readouterr() == ("", "")
    toy_trainer(tmp_path, quiet=False).train_full(*loaders, 1, 1)
    out, err = capsys.readouterr()
    assert err == "" and "\r" not in out and out.count("px@224") >= 4 and "under dropout and augmentation" in out
    assert "phase2: the model holds the weights of phase" in out


# cell 7a143f4c
def test_a_saved_model_comes_back_with_its_history_and_optimiser(tmp_path):
    trainer = toy_trainer(extra={"names": ["a", "b"]})
    with pytest.raises(ValueError, match="no optimiser to save"):
        trainer.save_model(tmp_path / "early.pt", include_optimizer=True)
    trainer.train_full(toy_loader(), toy_loader(20, 1), nn.MSELoss(), 1, 1)
    other = toy_trainer(seed=9)
    other.load_model(trainer.save_model(tmp_path / "plain.pt"))
    assert other.history == trainer.history and other.optimizer_state is None
    assert same(dict(other.model.state_dict()), dict(trainer.model.state_dict()))
    other.load_model(trainer.save_model(tmp_path / "full.pt", include_optimizer=True))
    assert same(other.optimizer_state, trainer.optimizer.state_dict())
    assert read_checkpoint(tmp_path / "plain.pt")["extra"] == {"names": ["a", "b"]}


def test_a_file_that_does_not_fit_is_refused_with_a_reason(tmp_path):
    trainer = toy_trainer()
    path = trainer.save_model(tmp_path / "toy.pt")
    three = toy_trainer(model=ThreeParts())
    before = {name: value.clone() for name, value in three.model.state_dict().items()}
    with pytest.raises(ValueError, match="toy.pt holds no weights for this ThreeParts, or those of another architecture: 2 missing.*attention.weight"):
        three.load_model(path)
    assert same(dict(three.model.state_dict()), before)
    trainer.model.config = {"output": "sigmoid"}
    path = trainer.save_model(tmp_path / "config.pt")
    trainer.model.config = {"output": "linear"}  # same shapes, another function
    with pytest.raises(ValueError, match="output: 'sigmoid' then, 'linear' now"):
        trainer.load_model(path)
    with pytest.raises(ValueError, match="no model_state_dict; it has x"):
        trainer.load_model(save_checkpoint(tmp_path / "x.pt", {"x": 1}))
    with pytest.raises(FileNotFoundError):
        trainer.load_model(tmp_path / "none.pt")
