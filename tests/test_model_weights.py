"""Where a backbone's numbers come from: every path by which they can be had, and every file that must be refused."""

import urllib.error

import pytest
import torch
import torchvision

from landmark_thesis.model import (
    RandomWeightsWarning,
    WeightsError,
    build_backbone,
    create_model,
    file_hash,
    load_backbone,
    resolve_weights,
    save_backbone,
)


class _Trap:
    """A pickle that would run code when it is loaded."""

    def __reduce__(self):
        return (print, ("this must never be printed",))


def test_wrong_and_hostile_files_get_one_clear_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    hostile, text, empty, mine = (tmp_path / name for name in ("hostile.pt", "text.pt", "empty.pt", "mine.pt"))
    torch.save({"format": _Trap()}, hostile)
    text.write_text("no weights")
    empty.write_bytes(b"")
    for path in (hostile, text, empty):
        with pytest.raises(WeightsError, match="cannot be read safely") as caught:
            resolve_weights("resnet18", path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert "never be printed" not in capsys.readouterr().out
    with pytest.raises(WeightsError, match="not found"):
        resolve_weights("resnet18", tmp_path / "absent.pt")
    save_backbone(build_backbone("tiny"), "tiny", mine)
    with pytest.raises(WeightsError, match="made for tiny, not resnet18"):
        create_model("resnet18", weights=mine)


def test_a_published_file_is_taken_by_hand_or_from_the_cache_only_if_its_hash_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.manual_seed(1)
    state = torchvision.models.resnet18(weights=None).state_dict()  # with the classifier, as torchvision publishes it
    torch.save(state, tmp_path / "by_hand.pth")
    digest = file_hash(tmp_path / "by_hand.pth")[:8]
    with pytest.raises(WeightsError, match="f37072fd"):
        create_model("resnet18", weights=tmp_path / "by_hand.pth")
    (cache / "resnet18-f37072fd.pth").write_bytes((tmp_path / "by_hand.pth").read_bytes())
    for weights in ("auto", "imagenet"):
        with pytest.raises(WeightsError, match=f"{digest}, not f37072fd"):
            resolve_weights("resnet18", weights)

    monkeypatch.setattr(
        "landmark_thesis.model._published", lambda name: [("V1", "resnet18-f37072fd.pth", f"https://x/r-{digest}.pth")]
    )
    monkeypatch.setattr("landmark_thesis.model.known_hashes", lambda name: {digest: "V1"})
    for weights, where in ((tmp_path / "by_hand.pth", "file"), ("auto", "cache"), ("imagenet", "cache")):
        model = create_model("resnet18", weights=weights)
        assert torch.equal(model.backbone.network.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])
        assert model.weights_used.startswith("resnet18: ImageNet weights (V1") and where in model.weights_used
        assert digest in model.weights_used and str(tmp_path) not in model.weights_used


def test_only_imagenet_downloads_and_a_missing_network_is_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    asked = []

    def no_network(url, *args, **kwargs):
        asked.append((url.rsplit("/", 1)[-1], kwargs["hash_prefix"]))
        raise urllib.error.URLError("name not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.warns(RandomWeightsWarning, match="resnet18: RANDOM"):
        model = create_model("resnet18", weights="auto")
    assert "RANDOM" in model.weights_used and not asked
    with pytest.raises(WeightsError, match="weights=FILE"):
        create_model("resnet18", weights="imagenet")
    assert asked == [("resnet18-f37072fd.pth", "f37072fd")]
    with pytest.raises(WeightsError, match="tiny has no ImageNet weights"):
        resolve_weights("tiny", "imagenet")


def test_a_saved_backbone_comes_back_and_a_misfit_changes_nothing(tmp_path):
    torch.manual_seed(3)
    donor, other = build_backbone("tiny"), build_backbone("tiny")
    save_backbone(donor, "tiny", tmp_path / "tiny.pt")
    assert (tmp_path / "tiny.pt").stat().st_size < 1_000_000
    model = create_model("tiny", weights=tmp_path / "tiny.pt")
    assert all(
        torch.equal(a, b)
        for a, b in zip(donor.state_dict().values(), model.backbone.state_dict().values(), strict=True)
    )

    before = {key: value.clone() for key, value in other.network.state_dict().items()}
    good = dict(donor.network.state_dict())
    name = "features.0.0.weight"
    for bad, what in (
        ({**good, name: good[name][:1]}, "of another shape"),
        ({**good, name: good[name] * float("nan")}, "not finite"),
        ({key: value for key, value in good.items() if key != name}, "missing"),
        ({**good, "features.9": good[name]}, "unknown"),
    ):
        with pytest.raises(WeightsError, match=f"1 {what} .first: features"):
            load_backbone(other, bad)
        assert all(torch.equal(before[key], value) for key, value in other.network.state_dict().items())
