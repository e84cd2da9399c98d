"""The opening of the test part: one line in every run's ledger, a record that follows from its errors, and no second time."""

import csv
import json
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

HERE = Path(__file__).resolve().parents[1] / "figures"
sys.path.insert(0, str(HERE))
import final  # noqa: E402

from landmark_thesis.defense import Records, disagreements, recomputed  # noqa: E402
from landmark_thesis.evaluate import LeakageError  # noqa: E402
from landmark_thesis.runs import RECIPES, Run, Source, train  # noqa: E402


def follows_from_its_errors(record: Path) -> dict:
    content = json.loads((record / f"{record.name}.json").read_text(encoding="utf-8"))
    with open(record / "errors.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {run["run"]: np.array([float(row[run["run"]]) for row in rows]) for run in content["runs"]}
    assert len(rows) == content["n"]
    assert [run["mre_px"] for run in content["runs"]] == pytest.approx([values.mean() for values in columns.values()], abs=1e-3)
    assert content["seeds"]["mean_px"] == pytest.approx(np.mean(list(columns.values())), abs=1e-3)
    assert content["test_ledger"]["opened"] == content["test_ledger"]["planned"] == 1
    assert not content["contaminated"]
    return content


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs whose test part nobody opens."""
    smoke, place = RECIPES["smoke"], tmp_path_factory.mktemp("closed")
    recipe = replace(smoke, phases=tuple(replace(phase, epochs=1) for phase in smoke.phases))
    return [train(recipe, Source(phantoms=40), place / f"smoke-{seed}", seed=seed, quiet=True) for seed in (0, 1)]


@pytest.fixture
def runs(trained, tmp_path):
    """Copies of them, to be opened."""
    return [Run(shutil.copytree(run.path, tmp_path / run.name)) for run in trained]


def refused(runs, tmp_path, monkeypatch) -> str:
    """What the script says as it ends, having opened nothing."""
    monkeypatch.setattr(sys, "argv", ["final.py", *(str(run.path) for run in runs), "--record", str(tmp_path / "test")])
    with pytest.raises(SystemExit) as ended:
        final.main()
    assert not any((run.path / "test_ledger.jsonl").exists() for run in runs) and not (tmp_path / "test").exists()
    return str(ended.value)


def test_a_single_run_opens_nothing(runs, tmp_path, monkeypatch):
    assert refused(runs[:1], tmp_path, monkeypatch).endswith("name two or more; nothing was opened")


def test_two_runs_of_one_name_open_nothing(runs, tmp_path, monkeypatch):
    other = Run(shutil.copytree(runs[1].path, tmp_path / "elsewhere" / "smoke-0"))
    told = refused([runs[0], other], tmp_path, monkeypatch)
    assert told == "smoke-0, smoke-0: the record tells runs by these names, so each needs its own, and none may be 'together' or 'image'; nothing was opened"


@pytest.mark.parametrize("name", ["together", "image"])
def test_a_run_with_the_name_of_another_column_opens_nothing(runs, tmp_path, monkeypatch, name):
    other = Run(shutil.copytree(runs[1].path, tmp_path / name))
    assert refused([runs[0], other], tmp_path, monkeypatch).startswith(f"smoke-0, {name}: the record tells runs by these names")


def test_a_missing_label_opens_nothing(runs, tmp_path, monkeypatch):
    whole, name = Source.load, runs[0].part("test")[2]

    def spoiled(source, settings):
        data = whole(source, settings)
        points = data.points.clone()
        points[data.names.index(name), 7] = math.nan
        return replace(data, points=points)

    monkeypatch.setattr(Source, "load", spoiled)
    assert refused(runs, tmp_path, monkeypatch) == f"{name}: a label is missing, and the record means all of them; nothing was opened"


def test_runs_of_two_sizes_open_nothing(runs, tmp_path, monkeypatch):
    content = json.loads((runs[1].path / "recipe.json").read_text(encoding="utf-8"))
    content["recipe"]["preprocessing"]["size"] = 192
    (runs[1].path / "recipe.json").write_text(json.dumps(content), encoding="utf-8")
    assert "smoke-1: prepares its pictures otherwise" in refused(runs, tmp_path, monkeypatch)


def test_a_run_that_was_not_trained_to_the_end_opens_nothing(runs, tmp_path, monkeypatch):
    (runs[1].path / "environment.json").unlink()
    assert refused(runs, tmp_path, monkeypatch).startswith(f"{runs[1].path}: not trained to the end yet")


def test_it_opens_once_and_refuses_to_open_again(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["final.py", *(str(run.path) for run in runs), "--record", str(tmp_path / "test")])
    assert final.main() == 0
    content = follows_from_its_errors(tmp_path / "test")
    again = recomputed(Records({"test": tmp_path / "test"}), "test", "test.json")
    assert content["test"]["mre_px"] == pytest.approx(again["test"]["mre_px"], abs=1e-3) and content["test"]["mre_px_ci95"] == pytest.approx(again["test"]["mre_px_ci95"], abs=1e-3)
    assert disagreements(Records({"test": tmp_path / "test"}), "test").value == 0
    assert (tmp_path / "test" / "test_ledger.jsonl").read_bytes() == (runs[0].path / "test_ledger.jsonl").read_bytes()
    ledgers = [(run.path / "test_ledger.jsonl").read_text(encoding="utf-8") for run in runs]
    assert [ledger.count("\n") for ledger in ledgers] == [1, 1]
    assert final.main() == 2
    assert "a second opening is not planned" in capsys.readouterr().err
    assert [(run.path / "test_ledger.jsonl").read_text(encoding="utf-8") for run in runs] == ledgers


def without_signatures(run: Run) -> None:
    """As runs were that kept none."""
    contents = torch.load(run.path / "best.pt", weights_only=True)
    del contents["extra"]["signatures_sha256"]
    torch.save(contents, run.path / "best.pt")
    (run.path / "signatures.npz").unlink()


def test_copies_are_looked_for_again_by_a_run_of_the_same_split_and_nothing_is_opened(runs, tmp_path, monkeypatch):
    without_signatures(runs[0])
    old, other = (Run(run.path) for run in runs)
    content, columns, names = final.judge([old, other])
    assert content["unverified"] == ["smoke-0: near-duplicates not checked: no signatures recorded"]
    final.write_record(tmp_path / "test", content, names, columns)
    before = (tmp_path / "test" / "errors.csv").read_bytes(), (other.path / "test_ledger.jsonl").read_bytes()
    monkeypatch.setattr(sys, "argv", ["final.py", "--copies", str(other.path), "--record", str(tmp_path / "test")])
    assert final.main() == 0
    again = json.loads((tmp_path / "test" / "test.json").read_text(encoding="utf-8"))
    assert again.pop("copies_looked_for")["why"] == content["unverified"] and again.pop("unverified") == []
    assert again == {key: value for key, value in json.loads(json.dumps(content)).items() if key != "unverified"}
    assert ((tmp_path / "test" / "errors.csv").read_bytes(), (other.path / "test_ledger.jsonl").read_bytes()) == before
    with pytest.raises(SystemExit, match="no signatures recorded, so it cannot tell either"):
        final.looked_again(content, old)
    with pytest.raises(SystemExit, match="other pictures were trained on"):
        final.looked_again(content | {"split_fingerprint": "0" * 16}, other)


def test_a_copy_that_is_found_again_is_an_error(runs, monkeypatch):
    monkeypatch.setattr(final, "refuse_seen", lambda *_: (_ for _ in ()).throw(LeakageError("a copy")))
    with pytest.raises(LeakageError, match="a copy"):
        final.looked_again({"split_fingerprint": runs[0].split.fingerprint, "unverified": ["x"]}, runs[0])


def test_the_record_follows_from_its_errors():
    if not (final.RECORD / "test.json").exists():
        pytest.skip("the test part is still closed: python figures/final.py")
    content = follows_from_its_errors(final.RECORD)
    (line,) = (json.loads(line) for line in (final.RECORD / "test_ledger.jsonl").read_text(encoding="utf-8").splitlines())
    assert line["weights"] == [run["weights"] for run in content["runs"]] and line["fingerprint"] == content["test_fingerprint"]
    assert (content["n"], content["unit"], {run["recipe"] for run in content["runs"]}) == (96, "px@224", {"dense"})
