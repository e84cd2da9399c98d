"""A card that is full, taken, too old, or lacks what torch.compile needs: told in one sentence each, on machines that have none."""

import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from landmark_thesis import bench, cli, evaluate, runs
from landmark_thesis.data import chapter_setting, phantom_data
from landmark_thesis.evaluate import predict_points
from landmark_thesis.model import create_model

TRAINER, LOADERS, ENVIRONMENT = runs.LandmarkTrainer, runs._loaders, runs.environment
NO_CODE = "CUDA error: no kernel image is available for execution on the device"
FULL = (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
SMALL = runs.changed(runs.SMOKE, image_size=32, phase2_epochs=1)
TRAIN = ["train-landmarks", "--data", "phantom", "--phantoms", "40", "--recipe", "smoke", "--image-size", "32", "--phase2-epochs", "1"]


@pytest.fixture
def cards(monkeypatch):
    """Two cards as torch lists them, of which the broken ones refuse; the devices that were tried."""
    tried, broken, real = [], {"cuda", "cuda:0", "cuda:1"}, torch.zeros

    def zeros(*size, device=None, **options):
        if torch.device(device or "cpu").type != "cuda":
            return real(*size, device=device, **options)
        tried.append(str(device))
        if str(device) in broken:
            raise RuntimeError(NO_CODE)
        return real(*size, **options)

    monkeypatch.setattr(torch, "zeros", zeros)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("WORLD_SIZE", "LOCAL_RANK", "RANK"):
        monkeypatch.delenv(name, raising=False)
    return tried, broken


def test_auto_computes_on_the_cpu_where_the_card_refuses_and_says_so_once(cards, capsys):
    with pytest.warns(RuntimeWarning, match="no kernel image") as said:
        assert runs.pick_device() == torch.device("cpu")
    assert len(said) == 1 and "\n" not in str(said[0].message)
    assert chapter_setting() == "cpu"
    said = capsys.readouterr().out
    assert "the card cannot be used (CUDA error: no kernel image is available for execution on the device)\n" in said and "device: cpu" in said
    with pytest.raises(runs.RunError, match="device 'cuda' cannot be used here .*no kernel image"):
        runs.pick_device("cuda")


def test_auto_takes_a_card_that_works(cards):
    cards[1].clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert runs.pick_device() == torch.device("cuda") and chapter_setting() == "cuda"


def test_each_process_of_several_tries_its_own_card_and_none_falls_back_alone(cards, monkeypatch):
    tried, broken = cards
    broken.remove("cuda:1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank, device in ((1, "auto"), (1, "cuda"), (2, "auto")):  # of the third process `trainer.processes` says that it has no card
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        assert runs.pick_device(device) == torch.device("cuda")
    assert tried == ["cuda:1", "cuda:1"]
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(runs.RunError, match="device 'auto' cannot be used here"):
        runs.pick_device()


def dynamo():
    """What torch raises of a compiling that fails: of its own classes, which are loaded by the first compiling only."""
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import TritonMissing

    return TorchDynamoException("InvalidCxxCompiler: No working C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1 for more"), TritonMissing(None)


@pytest.mark.parametrize("number", [0, 1])
def test_a_training_that_cannot_be_compiled_says_to_leave_that_out(tmp_path, monkeypatch, capsys, number):
    def fail(self, *_, **__):
        raise error

    error, out = dynamo()[number], str(tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(runs.LandmarkTrainer, "fit", fail)
        assert cli.main([*TRAIN, "--out", out, "--compile"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "torch.compile cannot be used here" in said and "leave out --compile, and go on with --resume" in said
    assert cli.main([*TRAIN, "--out", out, "--resume"]) == 0


def test_another_error_of_a_training_is_not_hidden(tmp_path, monkeypatch):
    def fail(self, *_, **__):
        raise KeyError("a fault of ours")

    monkeypatch.setattr(runs.LandmarkTrainer, "fit", fail)
    with pytest.raises(KeyError, match="a fault of ours"):
        runs.train(SMALL, runs.Source(phantoms=40), tmp_path / "run", quiet=True)


def test_the_benchmark_times_torch_compile_only_where_it_works():
    calls = []
    epoch = lambda: calls.append("epoch")  # noqa: E731
    assert bench._if_it_compiles(epoch) == {"compiled": epoch} and calls == ["epoch"]

    def fail():
        raise dynamo()[0]

    with pytest.warns(RuntimeWarning, match="not timed .*No working C.. compiler") as said:
        assert bench._if_it_compiles(fail) == {}
    assert "\n" not in str(said[0].message)


def test_on_a_card_without_triton_phase_2_is_timed_without_it(monkeypatch):
    def epoch(*given):
        if given[-1] == "inductor":
            raise dynamo()[1]

    monkeypatch.setattr(bench, "_our_epoch", lambda *given: lambda: epoch(*given))
    monkeypatch.setattr(bench, "_bare_steps", lambda *_: lambda: None)
    monkeypatch.setattr(bench, "_plain_epoch", lambda *_: None)
    monkeypatch.setattr(bench, "_waiting", lambda device: lambda: None)
    monkeypatch.setattr(nn.Module, "to", lambda self, device: self)
    size = bench.replace(bench.SMALL, side=32, rounds=1, steps=1, batch=2)
    with pytest.warns(RuntimeWarning, match="not timed"):
        assert "compiled" not in bench.phase2_times(size, torch.device("cuda"))
    assert bench.markdown({**bench._flat(bench.SMALL.__dict__), "device": "cuda (x)", "threads": 1, "precision": "bf16", "version_torch": "2"}).count("TF32") == 1


def test_any_device_with_a_queue_is_waited_for(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    for name in ("cpu", "mps", "xpu:1", "cuda"):
        bench._waiting(name)()
    assert waited == [torch.device("mps"), torch.device("xpu:1"), torch.device("cuda")]


def test_a_slice_of_a_card_has_no_stated_peak():
    assert bench.stated_peak("NVIDIA H100 80GB HBM3 MIG 1g.10gb") is None and bench.stated_peak("NVIDIA H100 80GB HBM3") == 989e12


class Counted(nn.Module):
    """Answers with the mean grey of each picture, and keeps the sizes of its batches."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, images):
        self.sizes.append(len(images))
        return images.mean((1, 2, 3))[:, None].expand(-1, 30)


@pytest.mark.parametrize(("kind", "side", "size"), [("cuda", 96, 32), ("cuda", 224, 32), ("cuda", 448, 8), ("cuda", 512, 6), ("cuda", 2048, 1), ("cpu", 224, 8), ("cpu", 448, 2), ("cpu", 2048, 1)])
def test_a_batch_of_large_pictures_takes_no_more_memory(kind, side, size):
    assert evaluate._fitting_batch(torch.device(kind), side) == size


def test_the_answers_do_not_depend_on_the_default_batch():
    model, images = Counted(), torch.randint(0, 256, (5, 448, 448), dtype=torch.uint8)
    alike = predict_points(model, images, tta=False)
    assert model.sizes == [2, 2, 1]
    assert np.array_equal(alike, predict_points(model, images, tta=False, batch_size=5))
    images = phantom_data(3, seed=2, size=448).images
    model = create_model("tiny", "dense", weights="none")
    assert predict_points(model, images) == pytest.approx(predict_points(model, images, batch_size=3), abs=1e-5)


@pytest.mark.parametrize("error", FULL, ids=str)
def test_a_full_card_in_a_training_names_a_smaller_batch(tmp_path, monkeypatch, capsys, error):
    def fail(self, *_, **__):
        raise error

    monkeypatch.setattr(runs.LandmarkTrainer, "fit", fail)
    assert cli.main([*TRAIN, "--out", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.endswith("begin anew in another folder with a smaller --batch-size\n")


@pytest.mark.parametrize("error", FULL, ids=str)
def test_a_full_card_after_a_training_does_not_say_to_begin_anew(tmp_path, monkeypatch, capsys, error):
    def fail(*_, **__):
        raise error

    recipe, out = runs.replace(SMALL, likeliest=True, batch_size=4), tmp_path / "steady"
    with monkeypatch.context() as patched, pytest.raises(runs.TrainingBroke, match="trained to the end.*--resume with --device cpu measures it") as caught:
        patched.setattr(runs, "answer_covariance", fail)
        runs.train(recipe, runs.Source(phantoms=40), out, quiet=True)
    assert "anew" not in str(caught.value) and not runs.Run(out).finished
    sizes, measure = [], runs.answer_covariance
    with monkeypatch.context() as patched:
        patched.setattr(runs, "answer_covariance", lambda *given, **options: sizes.append(options["batch_size"]) or measure(*given, **options))
        assert runs.train(recipe, runs.Source(phantoms=40), out, resume=True, quiet=True).finished
    assert sizes == [4]  # as many as fitted the training
    out = tmp_path / "smoke"
    monkeypatch.setattr(evaluate, "evaluate_runs", fail)
    assert cli.main([*TRAIN, "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "trained to the end" in said and said.endswith(f"landmark-thesis evaluate {out} --split val --device cpu\n")
    assert runs.Run(out).finished


@pytest.mark.parametrize(
    ("words", "error", "way"),
    [
        (["evaluate", "run"], FULL[1], "--device cpu"),
        (["predict", "run", "a.png"], FULL[0], "give fewer pictures at a time, or --device cpu"),
        (["predict", "run", "a.png"], MemoryError(), "give fewer pictures at a time"),
        (["evaluate", "run"], MemoryError(), "end other programs, or use a machine with more"),
        (["check-data", "folder"], MemoryError(), "end other programs, or use a machine with more"),
    ],
)
def test_who_is_short_of_memory_is_told_what_the_command_has(monkeypatch, capsys, words, error, way):
    def fail(arguments):
        raise error

    monkeypatch.setattr(cli, f"_{words[0].replace('-', '_')}", fail)
    assert cli.main(words) == 1
    assert capsys.readouterr().err.endswith(f"); {way}\n")


def test_the_peak_of_a_training_on_a_card_is_its_own(tmp_path, monkeypatch):
    """The card's count begins with each training; torch alone would go on from the largest before."""
    asked, device = [], torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda where: asked.append(("reset", where)))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda where: asked.append(("read", where)) or 7)
    monkeypatch.setattr(runs, "LandmarkTrainer", lambda model, where, *given, **options: TRAINER(model, "cpu", *given, **options))
    monkeypatch.setattr(runs, "_loaders", lambda recipe, data, split, seed, where: LOADERS(recipe, data, split, seed, torch.device("cpu")))
    monkeypatch.setattr(runs, "pick_device", lambda _: device)
    monkeypatch.setattr(runs, "environment", lambda _: ENVIRONMENT(torch.device("cpu")))
    run = runs.train(SMALL, runs.Source(phantoms=40), tmp_path / "run", quiet=True)
    assert asked == [("reset", device), ("read", device)]
    assert json.loads((run.path / "environment.json").read_text())["peak_memory_bytes"] == 7
