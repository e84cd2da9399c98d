"""The recorded results: every published number follows from the stored errors, and nothing in a record names a machine or a picture's place."""

import argparse
import csv
import datetime
import importlib
import importlib.util
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from landmark_thesis import cli, figures
from landmark_thesis.defense import Defense, Records
from landmark_thesis.evaluate import openings, read_errors
from landmark_thesis.figures import draw_measured, drawn_from, outdated_inputs
from landmark_thesis.landmarks import LANDMARK_NAMES
from landmark_thesis.runs import RECORD_FILES, Run

ROOT = Path(__file__).resolve().parent.parent
RECORDS = sorted(path.parent for path in (ROOT / "figures" / "records").glob("*/recipe.json"))
sys.path.insert(0, str(ROOT / "figures"))  # for its scripts
specification = importlib.util.spec_from_file_location("make", ROOT / "figures" / "make.py")
make = importlib.util.module_from_spec(specification)
specification.loader.exec_module(make)


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_the_results_follow_from_the_stored_errors(record):
    results = json.loads((record / "results.json").read_text(encoding="utf-8"))
    part = results["part"]
    rows = read_errors(record / "errors.csv", part)
    radial = np.array([[row[f"{name}_radial"] for name in LANDMARK_NAMES] for row in rows])
    assert len(rows) == results[f"n_{part}"]
    assert results[part]["mre_px"] == pytest.approx(radial.mean(1).mean(), abs=1e-4)
    assert results[part]["median_px"] == pytest.approx(np.median(radial), abs=1e-3)
    assert results[part]["sdr"]["5"] == pytest.approx((radial <= 5).mean(), abs=1e-3)
    for k, name in enumerate(LANDMARK_NAMES):
        assert results[part]["per_landmark"][name] == pytest.approx(radial[:, k].mean(), abs=1e-4)


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_a_record_is_whole_and_honest(record):
    run, results = Run(record), json.loads((record / "results.json").read_text(encoding="utf-8"))
    assert {path.name for path in record.iterdir()} <= set(RECORD_FILES)
    assert run.finished and run.split.fingerprint == results["split_fingerprint"] == run.settings["split_fingerprint"]
    scored = {row["image"] for row in read_errors(record / "errors.csv", results["part"])}
    assert scored == set(run.part(results["part"])) and not scored & set(run.part("train"))
    assert results["contaminated"] is False and results["unverified"] == []
    assert json.loads((record / "environment.json").read_text(encoding="utf-8"))["command"].startswith(
        "landmark-thesis "
    )
    assert not any(re.search(r"(^|[\s\"'])/[a-z]+/", path.read_text(encoding="utf-8")) for path in record.iterdir())


def test_the_test_part_of_the_real_pictures_is_still_closed():
    for record in RECORDS:
        if Run(record).source.folder is not None:
            assert not (record / "test_ledger.jsonl").exists() and not read_errors(record / "errors.csv", "test")


@pytest.mark.parametrize("lang", make.READMES)
def test_the_readme_states_what_the_records_say(lang):
    text = make.READMES[lang].read_text(encoding="utf-8")
    assert make.with_block(text, lang) == text


def test_what_the_readme_says_of_the_records_has_the_same_numbers_in_both_languages():
    for english, spanish in make.TEXTS.values():
        assert sorted(re.findall(r"\{[^}]*\}", english)) == sorted(re.findall(r"\{[^}]*\}", spanish))


def test_readme_figure_and_defense_count_the_openings_of_the_test_part_as_the_ledgers_do(tmp_path, monkeypatch):
    test, best = make.measured("test"), Run(make.RECORDS / make.BEST)
    counted = openings(sorted(make.RECORDS.iterdir()), test["test_fingerprint"])
    assert counted > test["test_ledger"]["opened"]  # folds over all pictures opened it too
    drawn, draw = [], figures.claim_and_limit
    monkeypatch.setattr(figures, "claim_and_limit", lambda *given, **options: drawn.append(options["opened"]) or draw(*given, **options))
    draw_measured(make.RECORDS / "test", tmp_path)
    defense = Defense((best,), make.results(best), records=Records(make.RECORDS))
    assert drawn == [counted] == [sum(defense.opened.values())]
    by, known = ", ".join(f"`{name}` {number}" for name, number in defense.opened.items()), test["test_ledger"]["known_before"]
    for lang, sentence in (("en", f"({counted} times: {by}), and {known} times before"), ("es", f"({counted} veces: {by}), y {known} veces antes")):
        assert make.READMES[lang].read_text(encoding="utf-8").count(sentence) == 1


def test_wherever_the_mean_shape_is_told_its_interval_stands_beside_it():
    best, told = Run(make.RECORDS / make.BEST), {part: one["mre_px_ci95"] for part, one in make.measured("shape")["mean_shape_errors"].items()}
    told["outside"] = next(one["border_px_ci95"] for one in make.measured("outside")["results"] if one["model"] == "mean shape")
    val, test, outside = (f"[{low:.2f}, {high:.2f}]" for low, high in (told["val"], told["test"], told["outside"]))
    for path in make.READMES.values():
        text = path.read_text(encoding="utf-8")
        assert text.count(val) == text.count(outside) == 1
    facts = Defense((best,), make.results(best), records=Records(make.RECORDS)).facts
    assert [facts[name].partition(" ")[2] for name in ("ruler", "test_ruler", "main_ruler", "outside_ruler")] == [val, test, test, outside]
    alone = Defense((best,), make.results(best)).facts["ruler"]
    assert facts["ruler"] == f"{alone} {val}"  # nobody tells it where there is no other record


def test_a_search_without_the_rival_that_the_readme_names_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "HERE", tmp_path)
    assert make.rival_lines(None) == []  # no search, no sentence
    ledger = tmp_path / "research" / "runs.csv"
    ledger.parent.mkdir()
    ledger.write_text("run,mre_px,mre_px_ci95\ndense/0,5.1,4.8 to 5.4\n")
    with pytest.raises(SystemExit, match=r"runs\.csv: no run regression/0.*research\.py run regression --seeds 0"):
        make.rival_lines(None)
    ledger.write_text("run,mre_px,mre_px_ci95\nregression/0,6.375,5.87 to 7.02\n")
    told = make.rival_lines(lambda key, **values: f"{key} {values}")
    assert told[0] == "" and {"'regression': 6.375", "'low': 5.87", "'high': 7.02"} <= set(told[1].removesuffix("}").split(", "))


def test_every_committed_figure_and_table_is_what_make_py_wrote():
    """A figure that was touched by hand, and one that nothing drew; .ci/slow draws them all again."""
    assert (make.HERE / make.LIST).read_text(encoding="utf-8") == make.hashes(), "python figures/make.py draws them anew, and lists them"
    listed = {line.split(",")[0] for line in make.hashes().splitlines()[1:]}
    assert listed >= {path.relative_to(make.HERE).as_posix() for path in DRAWN} and "headline_table.tex" in listed


def test_a_recoloured_figure_is_seen(tmp_path, monkeypatch):
    shutil.copytree(make.HERE, tmp_path / "figures")
    monkeypatch.setattr(make, "HERE", tmp_path / "figures")
    monkeypatch.setattr(make, "RECORDS", tmp_path / "figures" / "records")
    listed, figure = (make.HERE / make.LIST).read_text(encoding="utf-8"), make.HERE / "test" / "claim_and_limit.svg"
    assert make.hashes() == listed
    figure.write_bytes(figure.read_bytes().replace(b"#0072b2", b"#d55e00"))
    assert outdated_inputs(figure, make.RECORDS, make.HERE) == [] and make.hashes() != listed


@pytest.mark.parametrize("record", make.experiments(), ids=lambda path: path.name)
def test_the_figure_of_a_measurement_is_drawn_byte_for_byte(record, tmp_path):
    for path in draw_measured(record, tmp_path):
        assert path.read_bytes() == (make.HERE / record.name / path.name).read_bytes(), f"{path.name}: python figures/make.py"


@pytest.mark.parametrize("record", make.experiments(), ids=lambda path: path.name)
def test_a_measurement_says_how_with_what_and_on_which_pictures_it_was_made(record):
    content = json.loads((record / f"{record.name}.json").read_text(encoding="utf-8"))
    assert content["command"].startswith("python figures/") and content["versions"]["landmark_thesis"] and content["device"]
    folds = [run.get("split_fingerprint") for run in content.get("runs", ()) if isinstance(run, dict)]  # one split a fold
    assert content.get("split_fingerprint") or content.get("labels_sha256") or (folds and all(folds))
    if record.name in ("causes", "curve", "drift", "ensemble", "leakage", "outside", "phase1", "test"):
        assert content["trained_by"]


class Parsed(Exception):
    """What a script's parser made of its arguments, in place of the work."""


def _understood(words):
    """What the program that a command names makes of its arguments; SystemExit where it refuses them."""
    if words[0] == "landmark-thesis":
        return cli.parser().parse_args(words[1:])
    assert words[0] == "python" and (ROOT / words[1]).is_file()
    if "ArgumentParser" not in (text := (ROOT / words[1]).read_text(encoding="utf-8")) and "compare_runs" not in text:
        assert len(words) == 3  # one folder
        return argparse.Namespace()
    whole = argparse.ArgumentParser.parse_args

    def parse(parser, *_):
        raise Parsed(whole(parser, words[2:]))

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Parsed) as parsed:
        patched.setattr(argparse.ArgumentParser, "parse_args", parse)
        importlib.import_module(Path(words[1]).stem).main()
    return parsed.value.args[0]


def _commands():
    for path in sorted(make.RECORDS.glob("*/*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            for command in sorted({content.get("command"), *content.get("trained_by", ())} - {None}):  # workers must collect alike
                yield pytest.param(path.parent, command, id=f"{path.parent.name}/{path.name}: {command[:60]}")


@pytest.mark.parametrize(("record", "command"), list(_commands()))
def test_a_recorded_command_is_one_that_its_program_takes(record, command):
    found = _understood(shlex.split(command))
    if record.name == "phantom-weights" and "reading.py" in command:
        assert found.record == Path("figures/records/phantom-weights")  # not over the other record of that script


@pytest.mark.parametrize("command", ["python figures/curve.py judge", "python figures/research.py run dense --seeds 1", "landmark-thesis train-landmarks --data d --fold 5 --out o"])
def test_a_command_that_lacks_something_is_found(command):
    with pytest.raises(SystemExit):
        _understood(shlex.split(command))


CHECKS = make.checks()


def test_the_long_checks_left_a_record_each():
    assert set(CHECKS) == {"kills", "mutations", "soak"}


@pytest.mark.parametrize("name", CHECKS)
def test_a_record_of_a_long_check_says_how_when_and_with_what_it_was_made(name):
    found = CHECKS[name]
    command = re.fullmatch(r"(MUTATIONS=\d+ )?pytest (-\w+ )*-m slow (tests/test_\w+\.py)( -\w+)*", found["command"])
    assert command and (ROOT / command.group(3)).is_file()
    assert datetime.date.fromisoformat(found["date"]) and found["versions"]["torch"] and found["device"]
    assert not re.search(r"[\s\"']/[a-z]+/", json.dumps(found))


def test_the_counts_of_the_long_checks_add_up():
    kills, mutations, soak = (CHECKS[name] for name in ("kills", "mutations", "soak"))
    assert kills["killed"] >= 30 and kills["interrupted"] >= 6 and 30 <= kills["compared"] <= kills["killed"] + kills["interrupted"]
    assert mutations["refused"] + mutations["as_they_were"] + mutations["another_file"] == mutations["tried"] >= 30_000
    assert soak["trainings"] == 200 and all(first == last for first, last in (soak["files"], soak["threads"], soak["figures"]))


def test_what_the_readmes_say_of_the_search_holds():
    with open(make.HERE / "research" / "runs.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    errors = {}
    for row in rows:
        errors.setdefault(row["run"].rsplit("/", 1)[0], []).append(float(row["mre_px"]))
    means = {name: sum(found) / len(found) for name, found in errors.items() if len(found) >= 3}
    assert min(means, key=means.get) == "phantom-weights" and len(means) > 1  # the best of those with several seeds
    tried, told = make.variants(), make.measured_values()["begun"]
    ledgers = [make.read_rows(make.HERE / "research" / place / "runs.csv") for place in (".", "short", "cuda")]
    assert tried == {name: len({row["run"] for ledger in ledgers for row in ledger if row["run"].startswith(f"{name}/")}) for name in tried}
    assert (told["variants"], told["several"]) == (len(tried) - 1, sum(seeds > 1 for seeds in tried.values()) - 1)  # `dense` is the reference
    assert make.measured_values()["begun_folds"]["n"] == 860  # and what five folds say of it is told
    assert len(tried) > len(errors)  # those of a card and of half schedules are counted, too


LARGER = {"landmark_curves": 225, "anatomy_errors": 215, "ablation": 250}  # kB: fifteen panels, four marks a picture, a text a row; all others 150
DRAWN = sorted((ROOT / "figures").rglob("*.svg"))


@pytest.mark.parametrize("figure", DRAWN, ids=lambda path: path.relative_to(ROOT / "figures").as_posix())
def test_a_committed_figure_was_drawn_from_what_the_records_hold_today(figure):
    assert outdated_inputs(figure, make.RECORDS, figure.parents[1]) == [], "its data have changed: python figures/make.py"
    assert drawn_from(figure) or figure.stem == "landmark_scheme"  # it shows no data
    kind = figure.stem.rsplit("_", 1)[0]
    assert figure.stat().st_size < 1000 * LARGER.get(kind, 150), "too large for a repository"
