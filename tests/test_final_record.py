"""The opening of the test part: one line in every run's ledger, a record that follows from its errors, and no second time."""

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parents[1] / "figures"
sys.path.insert(0, str(HERE))
import final  # noqa: E402

from landmark_thesis.runs import RECIPES, Source, train  # noqa: E402


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


def test_it_opens_once_and_refuses_to_open_again(tmp_path, monkeypatch, capsys):
    smoke = RECIPES["smoke"]
    recipe = replace(smoke, phases=tuple(replace(phase, epochs=1) for phase in smoke.phases))
    runs = [train(recipe, Source(phantoms=40), tmp_path / f"smoke-{seed}", seed=seed, quiet=True) for seed in (0, 1)]
    monkeypatch.setattr(sys, "argv", ["final.py", *(str(run.path) for run in runs), "--record", str(tmp_path / "test")])
    assert final.main() == 0
    follows_from_its_errors(tmp_path / "test")
    assert (tmp_path / "test" / "test_ledger.jsonl").read_bytes() == (runs[0].path / "test_ledger.jsonl").read_bytes()
    ledgers = [(run.path / "test_ledger.jsonl").read_text(encoding="utf-8") for run in runs]
    assert [ledger.count("\n") for ledger in ledgers] == [1, 1]
    assert final.main() == 2
    assert "a second opening is not planned" in capsys.readouterr().err
    assert [(run.path / "test_ledger.jsonl").read_text(encoding="utf-8") for run in runs] == ledgers


def test_the_record_follows_from_its_errors():
    if not (final.RECORD / "test.json").exists():
        pytest.skip("the test part is still closed: python figures/final.py")
    content = follows_from_its_errors(final.RECORD)
    (line,) = (json.loads(line) for line in (final.RECORD / "test_ledger.jsonl").read_text(encoding="utf-8").splitlines())
    assert line["weights"] == [run["weights"] for run in content["runs"]] and line["fingerprint"] == content["test_fingerprint"]
    assert (content["n"], content["unit"], {run["recipe"] for run in content["runs"]}) == (96, "px@224", {"dense"})
