"""The sentences that the repository states with a number, its tables, and its report: all judged again from the records."""

import importlib.util
import json
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from landmark_thesis import defense, figures
from landmark_thesis.cli import main
from landmark_thesis.evaluate import log_opening, read_errors, recorded_openings, write_errors
from landmark_thesis.figures import landmark_table, stored_stamp
from landmark_thesis.landmarks import LANDMARK_NAMES
from landmark_thesis.pixel_error import summarise_errors
from landmark_thesis.runs import Run

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "figures" / "records"
CLAIMS = defense.read_claims(ROOT / "figures" / "claims.toml")
ALL = defense.Records(RECORDS)
specification = importlib.util.spec_from_file_location("make", ROOT / "figures" / "make.py")
make = importlib.util.module_from_spec(specification)
specification.loader.exec_module(make)
EMPTY = {"meta", "img", "br"}
WITHOUT_CLAIM = [question for question in defense.QUESTIONS if question.asks[0].startswith("Does it work equally well in each class")]  # it claims nothing
AWAITED = {"curve", "folds", "oof", "test"}  # records whose claims were written down before they were measured


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_no_claim_fails(claim):
    verdict = defense.judge(claim, ALL)
    assert verdict.verdict != "FAIL", f"{verdict.sentence()}: {verdict.why()}"
    if verdict.reason == "no_record":  # stated before it was measured: not supported until its record is there
        assert verdict.verdict == "NOT SUPPORTED" and verdict.values["name"] in AWAITED
    else:
        assert verdict.evidence is not None and verdict.evidence.command and verdict.evidence.records
    for lang in ("en", "es"):
        assert not re.search(r"[{}]", verdict.sentence(lang)), "an unknown blank in the sentence"
    if claim.chapter:
        assert (ROOT / "nbs" / f"{claim.chapter}.ipynb").exists()


def test_a_claim_without_its_record_is_not_supported_and_names_it(small):
    found = [defense.judge(claim, defense.Records(small)) for claim in CLAIMS if claim.arguments.get("record") in AWAITED]
    assert len(found) >= 4
    for verdict in found:
        assert (verdict.verdict, verdict.reason, verdict.evidence) == ("NOT SUPPORTED", "no_record", None)
        assert f"'{verdict.claim.arguments['record']}'" in verdict.why("en") and f"'{verdict.claim.arguments['record']}'" in verdict.why("es")


@pytest.mark.parametrize("run", ALL.runs, ids=lambda run: run.name)
def test_a_spanish_report_says_in_spanish_what_the_records_hold(run):
    stored = json.loads((run.path / "environment.json").read_text(encoding="utf-8"))
    for sentence in (*run.recipe.deviations, stored["weights_used"]):
        assert defense.in_language(sentence, "es") != sentence


def test_every_answer_to_a_jury_links_a_claim_or_a_figure():
    told = replace(_told("en"), verdicts=tuple(defense.judge(claim, ALL) for claim in CLAIMS))
    page = defense._questions_section(told, [Path("figures") / f"{kind}.svg" for kind in defense.CAPTIONS])
    answers = re.findall(r"<dd>(.*?)</dd>", page, re.S)
    assert len(answers) == len(defense.QUESTIONS)
    for question, answer in zip(defense.QUESTIONS, answers, strict=True):
        assert 'href="#figure-' in answer, question.asks[0]
        assert 'href="#claim-' in answer or question in WITHOUT_CLAIM, question.asks[0]
        assert set(question.claims) <= {claim.id for claim in CLAIMS} and set(question.figures) <= defense.CAPTIONS.keys()


def test_some_claim_is_not_supported_and_says_why():
    found = [defense.judge(claim, ALL) for claim in CLAIMS]
    assert {verdict.reason for verdict in found if verdict.verdict == "NOT SUPPORTED"} >= {"straddles", "flattered"}


@pytest.fixture(scope="module")
def once():
    """Intervals of the same numbers, three forms of a table long, are computed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "bootstrap_interval", lru(figures.bootstrap_interval))
        yield


def lru(interval):
    known = {}
    return lambda values, *rest: known[key] if (key := (values.tobytes(), rest)) in known else known.setdefault(key, interval(values, *rest))


@pytest.mark.parametrize("run", ALL.runs, ids=lambda run: run.name)
def test_every_table_of_a_run_follows_from_its_errors(run, once):
    drawn = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "figures" / run.name).iterdir() if path.suffix != ".svg"}
    part, again = ALL.content(run.name)["part"], {}
    rows = read_errors(run.path / "errors.csv", part)
    for form, ending in figures.ENDINGS.items():
        again |= {f"{table.__name__}_{part}.{ending}": table(rows, form, stamp=stored_stamp(run, rows)) for table in (landmark_table, figures.class_table)}
        again[f"results_table.{ending}"] = figures.results_table([ALL.content(run.name)], form)
    assert drawn == again


def test_the_tables_that_compare_follow_from_the_records(tmp_path, once):
    make.write_headlines(tmp_path)
    tables = make.ledger_tables(Path("research"))
    assert not any("likeliest" in run for run in tables["forest"][0]) and {"dense/0", "dense/1", "dense/2", "stretch-80-likeliest/0"} <= tables["likeliest"][0].keys()
    for form, ending in figures.ENDINGS.items():
        assert (make.HERE / f"headline_table.{ending}").read_bytes() == (tmp_path / f"headline_table.{ending}").read_bytes()
        for name, table in (("table", tables["forest"]), ("likeliest", tables["likeliest"])):
            kept = (make.HERE / "research" / f"ablation_{name}.{ending}").read_text(encoding="utf-8")
            assert kept == figures.ablation_table(figures.paired_differences(table), form)


def test_every_place_that_the_original_s_claims_name_exists():
    for claim in defense.THESIS_CLAIMS:
        for chapter in claim.where.split(", "):
            assert (ROOT / "nbs" / f"{chapter}.ipynb").exists(), chapter
    for question in defense.QUESTIONS:
        assert (ROOT / "nbs" / f"{question.chapter}.ipynb").exists()


class _Page(HTMLParser):
    """Whether tags are balanced, and which ids, links and pictures there are."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.alts = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [value for key, value in attributes.items() if key in ("href", "src")]
        self.alts += [attributes.get("alt", "")] if tag == "img" else []
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing at {self.getpos()}"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The record of the phantoms alone: the quickest report."""
    place = tmp_path_factory.mktemp("records")
    shutil.copytree(RECORDS / "phantom", place / "phantom")
    return place


def _recorded(name):
    return json.loads((RECORDS / name / f"{name}.json").read_text(encoding="utf-8"))


def _told(lang, records=ALL):
    """The defense of all records as `defend_records` makes it, but for verdicts and figures."""
    run = Run(RECORDS / "dense")
    return defense.Defense((run,), ALL.content("dense"), lang=lang, records=records)


@pytest.mark.parametrize("lang", ["en", "es"])
def test_every_question_of_a_jury_is_answered_from_the_records(lang):
    told = _told(lang)
    assert told.known.keys() == defense.EVIDENCE.keys() and defense.asked(told) == list(defense.QUESTIONS)
    for question in defense.QUESTIONS:
        for text in (question.asks, question.answer):
            said = text[lang == "es"].format(**told.facts)
            assert not re.search(r"[{}]|None|\bnan\b|(?<=[ (])-(?=[ ,.;)])", said), said


def test_what_a_jury_is_told_first_is_what_was_measured():
    test, folds, whole, told = _recorded("test"), _recorded("folds"), _recorded("oof"), _told("en")
    first = told.headline
    assert f"{test['n']} test pictures" in first[0] and f"is {test['seeds']['mean_px']:.2f} px@224" in first[0]
    assert "6.75" in first[1] and "3.61" in first[1]
    assert told.opened == {"oof": 1, "test": 1} and told.planned == 2 and "2 by these runs (oof 1, test 1; planned: 2), 5 by first trials" in first[2]
    assert [line.split(":")[1].split()[0] for line in first[3:5]] == [f"{one['oof']['mre_px']:.2f}" for one in (folds, whole)]
    lines = {line.record: line for line in defense.summary_lines(told) if line.record in ("folds", "oof")}
    assert lines["folds"].value == folds["oof"]["mre_px"] and lines["oof"].n == 957 and lines["oof"].worth.endswith("yes") and lines["folds"].worth.endswith("no")
    assert [line.kind for line in defense.summary_lines(told)].count("contaminated") == 3  # the thesis' claims


def test_the_answers_follow_the_records():
    facts, phase1, (alone, told) = _told("en").facts, _recorded("phase1")["results"], _recorded("drift")["results"][:2]
    assert facts["phase1_better"] == sum(one["gain"]["difference_px_ci95"][0] > 0 for one in phase1) and facts["phase1_n"] == len(phase1)
    assert alone["run"] == told["run"] and (alone["told_the_row"], told["told_the_row"]) == (False, True)
    assert (facts["drift_alone"], facts["drift_told"]) == (f"{alone['mre_px']:.2f}", f"{told['mre_px']:.2f}")
    assert facts["leakage_gap"].startswith(f"{_recorded('leakage')['clean_minus_leaky'][-1]['difference_px']:.2f} [")
    assert facts["exposure_rho"].startswith(f"{_recorded('exposure')['with_error']['grey_mean']['rho']:.2f} [")


def _edited(tmp_path, name, **changes):
    """What a defense tells where a record of that name says otherwise, in both languages: table and headline."""
    shutil.copytree(RECORDS / name, tmp_path / name, dirs_exist_ok=True)
    (tmp_path / name / f"{name}.json").write_text(json.dumps(_recorded(name) | changes), encoding="utf-8")
    told = _told("en", defense.Records(tmp_path))
    return [line for line in defense.summary_lines(told) if line.record == name], " ".join(told.headline)


@pytest.mark.parametrize(("name", "sentence"), [("folds", "each picture judged by the model that never saw it"), ("test", "which no model was trained on")])
@pytest.mark.parametrize(("spoilt", "value"), [("contaminated", True), ("unverified", ["dense-0: nobody knows what it was trained on"])])
def test_a_spoilt_measurement_is_told_as_such_and_is_no_headline(tmp_path, name, sentence, spoilt, value):
    lines, headline = _edited(tmp_path, name)
    assert {line.kind for line in lines} == {"unseen"} and sentence in headline
    lines, headline = _edited(tmp_path, name, **{spoilt: value})
    assert {line.kind for line in lines} == {"contaminated"} and all(line.worth.startswith(spoilt.upper()) for line in lines) and sentence not in headline
    assert name == "folds" or f"is no result. {spoilt.upper()}" in headline


def test_no_evidence_asks_no_question(small):
    assert {question.needs for question in defense.asked(_told("en", defense.Records(small)))} == {""}


@pytest.mark.parametrize(("spoilt", "value"), [("contaminated", True), ("unverified", ["dense-0: nobody knows what it was trained on"])])
def test_a_spoilt_test_record_supports_no_claim(tmp_path, spoilt, value):
    def reached():
        evidence = defense.stored(defense.Records(tmp_path), "test", "seeds.mean_px", "test.json", "n", "px@224")
        return evidence.spoilt

    shutil.copytree(RECORDS / "test", tmp_path / "test")
    assert reached() == ""
    (tmp_path / "test" / "test.json").write_text(json.dumps(_recorded("test") | {spoilt: value}), encoding="utf-8")
    assert reached() == spoilt


def _quick_figures(runs, out, lang, formats, part, **options):
    from landmark_thesis.figures import landmark_errors, save_figure

    return save_figure(landmark_errors(read_errors(Run(RECORDS / "phantom").path / "errors.csv", part), lang=lang), out / f"landmark_errors_{part}")


@pytest.mark.parametrize("lang", ["en", "es"])
def test_the_report_is_whole_html_that_loads_nothing(small, tmp_path, monkeypatch, capsys, lang):
    monkeypatch.setattr(defense, "draw_all", _quick_figures)
    results = defense.defend_records(small, tmp_path, lang=lang, command="landmark-thesis defend")
    assert results["verdicts"] == {"PASS": 4, "FAIL": 0, "NOT SUPPORTED": 0}
    assert {"en": " files, ", "es": " archivos, "}[lang] in capsys.readouterr().out.splitlines()[-1]
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = _Page(text)
    assert text.startswith("<!DOCTYPE html>") and page.open == [] and f'<html lang="{lang}">' in text
    assert len(page.ids) == len(set(page.ids)) and all(re.fullmatch(r"[\w-]+", one) for one in page.ids)
    assert all(link.startswith("data:image/") or link[1:] in page.ids for link in page.links)
    assert page.alts and all(len(alt) > 20 for alt in page.alts) and "<script" not in text and "url(" not in text
    assert len(re.findall("<h1>", text)) == 1 and len(re.findall("<dt>", text)) == sum(not question.needs for question in defense.QUESTIONS)
    for name in ("claims.json", "results.json", "environment.json", "commands.txt", "figures"):
        assert (tmp_path / name).exists()
    verdicts = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    assert all(one["evidence"]["n"] and (one["compute"] == "disagreements" or one["evidence"]["split_fingerprint"]) and one["evidence"]["command"] for one in verdicts)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    defense.defend_records(small, tmp_path, lang=lang, command="landmark-thesis defend")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_failing_claim_exits_3_and_a_broken_file_2(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(defense, "draw_all", _quick_figures)
    monkeypatch.setattr(defense, "write_pdf", lambda page, path: "no PDF in this test")
    claims = tmp_path / "claims.toml"
    text = '[[claim]]\nid = "x"\nen = "Below 1."\nes = "Menos de 1."\ncompute = "metric"\nof = "phantom/test"\nmetric = "mre_px"\nbelow = 1\n'
    claims.write_text(text, encoding="utf-8")
    words = ["defend", "--records", str(small), "--claims", str(claims), "--out", str(tmp_path / "out")]
    assert main(words) == 3 and "FAIL" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "claims.json").read_text())[0]["verdict"] == "FAIL"
    claims.write_text(text.replace("mre_px", "mre_pixels"), encoding="utf-8")
    assert main([*words[:-1], str(tmp_path / "other")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "claim 'x'" in said and "mre_pixels" in said and not (tmp_path / "other").exists()
    assert main(["defend", "--records", str(tmp_path / "nowhere")]) == 2 and main([*words, "--seeds", "1"]) == 2
    assert main(["defend", "--main", "phantom"]) == 2


def test_a_tampered_record_fails(small, tmp_path):
    place = tmp_path / "phantom"
    shutil.copytree(small / "phantom", place)
    stated = json.loads((place / "results.json").read_text())
    stated["test"]["mre_px"] = 0.5
    (place / "results.json").write_text(json.dumps(stated))
    claim = defense.read_claims('[[claim]]\nid = "x"\nen = "Below 2."\nes = "Menos de 2."\ncompute = "metric"\nof = "phantom/test"\nmetric = "mre_px"\nbelow = 2\n')[0]
    assert defense.judge(claim, defense.Records(small)).verdict == "PASS"
    verdict = defense.judge(claim, defense.Records(tmp_path))
    assert (verdict.verdict, verdict.reason) == ("FAIL", "contradiction")


FORGERIES = {  # record, where, what is put there, and the claim that it would have carried
    "test": ("seeds.mean_px", 1.0, "test-part-beats-the-honest-thesis"),
    "folds": ("oof.mre_px", 3.0, "folds-below-the-target"),
    "oof": ("oof.mre_px_ci95.1", 4.9, "out-of-fold-below-the-honest-thesis"),
    "ensemble": ("gain_of_the_ensemble.difference_px", -3.0, "ensemble-of-seeds-gains-nothing-to-speak-of"),
    "leakage": ("clean_minus_leaky.3.difference_px", 1.3, "leakage-flatters"),
    "drift": ("p_value", 0.0002, "labels-drift"),
    "curve": ("limits.mre_px.limit_ci95.0", 3.9, "more-pictures-do-not-reach-the-claim"),
    "outside": ("results.1.border_px", 1.2, "border-outside"),
    "phase1": ("results.0.gain.difference_px_ci95.1", -0.3, "phase-1-from-random-weights-costs"),
    "limits": ("rounding_px", 1.30, "label-rounding"),
    "exposure": ("with_error.grey_mean.rho", 0.2, "exposure-explains-nothing"),
    "contour": ("contours.0.continued_px", 1.62, "contour-continued"),
    "prior": ("priors.3.gain.difference_px", 0.03, "prior-of-shape-gains-nothing-to-speak-of"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_number_typed_into_a_record_fails(name, tmp_path):
    path, value, claim = FORGERIES[name]
    for kept in [name, *(["dense"] if name == "exposure" else [])]:  # exposure is that of the pictures that dense was scored on
        shutil.copytree(RECORDS / kept, tmp_path / kept)
    content = place = _recorded(name)
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in steps:
        place = place[step]
    place[last] = value
    (tmp_path / name / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    forged, told = defense.Records(tmp_path), {one.id: one for one in CLAIMS}
    verdict = defense.judge(told[claim], forged)
    assert (verdict.verdict, verdict.reason) == ("FAIL", "contradiction") and f"{name}.json says {defense._number(value)}" in verdict.why(), verdict.why()
    assert defense.judge(told["records-follow-from-their-errors"], forged).verdict == "FAIL"


def _forged(tmp_path, *names):
    """Copies of some records, to be tampered with."""
    for name in names:
        shutil.copytree(RECORDS / name, tmp_path / name)
    return tmp_path


def _put(path, steps, value):
    """Write `value` at `steps` of a JSON file."""
    content = place = json.loads(path.read_text(encoding="utf-8"))
    *above, last = steps
    for step in above:
        place = place[step]
    place[last] = value
    path.write_text(json.dumps(content), encoding="utf-8")


def _judged(place, *claims):
    """Verdict and reason of each of these claims, by id."""
    told, records = {one.id: one for one in CLAIMS}, defense.Records(place)
    return [(found.verdict, found.reason) for found in (defense.judge(told[claim], records) for claim in claims)]


def test_a_claim_is_judged_by_what_the_errors_give_and_not_by_what_is_stated(tmp_path):
    place = _forged(tmp_path, "prior") / "prior" / "prior.json"
    text = '[[claim]]\nid = "x"\nen = "More than 0."\nes = "Más de 0."\ncompute = "stored"\nrecord = "prior"\nfile = "prior.json"\npath = "priors.1.gain.difference_px"\nabove = 0\n'
    claim = defense.read_claims(text)[0]
    honest = defense.judge(claim, ALL)
    assert (honest.verdict, honest.reason) == ("NOT SUPPORTED", "straddles") and honest.evidence.interval[0] < 0 < honest.evidence.interval[1]
    _put(place, ("priors", 1, "gain", "difference_px_ci95", 0), 0.002)
    assert _judged(tmp_path, "records-follow-from-their-errors") == [("FAIL", "contradiction")]
    assert defense.judge(claim, defense.Records(tmp_path)).verdict == "FAIL"
    _put(place, ("priors", 1, "gain", "difference_px_ci95", 0), honest.evidence.interval[0] + 9e-4)  # as near as rounding comes
    found = defense.judge(claim, defense.Records(tmp_path))
    assert (found.verdict, found.evidence.value, found.evidence.interval) == (honest.verdict, honest.evidence.value, honest.evidence.interval)


@pytest.mark.parametrize(("stated", "agrees"), [(0.0506517642239358, True), (0.0487, False), (0.049, False), (0.0, False), (1.0, False), (-0.05, False)])
def test_the_p_value_of_ranks_may_differ_by_what_rounding_does_to_ranks(stated, agrees):
    assert defense._agree("recipes.0.gain.wilcoxon_p", stated, 0.05053393508165931) is agrees


def test_p_values_agree_where_their_logarithms_do():
    for stated, found in ((1.0, 1.0), (0.0, 0.0), (6.895e-10, 7.221e-10), (5.01e-14, 5.16e-14), (0.995, 0.999), (0.578, 0.5786)):
        assert defense._agree("wilcoxon_p", stated, found), (stated, found)
    for stated, found in ((1e-9, 7.2e-10), (1e-14, 1e-13), (0.9, 0.95), (0.0, 1e-300)):
        assert not defense._agree("wilcoxon_p", stated, found), (stated, found)


def _moved(split, count):
    """The same split, consistent in itself, with validation pictures in its training part."""
    parts = dict(split.parts)
    return replace(split, parts=parts | {"train": parts["train"] + parts["val"][:count], "val": parts["val"][count:]})


OF_DENSE = ("dense-error", "dense-below-six", "along-not-across", "dense-tail", "dense-a-third-of-the-mean-shape", "dense-saw-nothing")


def test_a_split_that_does_not_fit_the_errors_beside_it_supports_no_claim(tmp_path):
    place = _forged(tmp_path, "dense") / "dense"
    assert {verdict for verdict, _ in _judged(tmp_path, *OF_DENSE)} == {"PASS"}
    split = Run(place).split
    _moved(split, 140).save(place / "split.json")
    assert set(_judged(tmp_path, *OF_DENSE, "records-follow-from-their-errors")) == {("FAIL", "other_set")}
    replace(split, seed=split.seed + 1, parts=dict(split.parts) | {"train": split.parts["train"][:-1]}).save(place / "split.json")
    assert set(_judged(tmp_path, *OF_DENSE, "records-follow-from-their-errors")) == {("FAIL", "other_split")}
    for removed in ("split.json", "recipe.json"):
        split.save(place / "split.json")
        (place / removed).unlink()
        judged = _judged(tmp_path, *OF_DENSE[:-1])
        assert set(judged) == {("NOT SUPPORTED", "spoilt_unverified")}, removed


def test_what_figures_stamp_claims_do_not_ignore(tmp_path, monkeypatch):
    place = _forged(tmp_path, "dense", "exposure")
    for stamp in ("contaminated", "unverified"):
        monkeypatch.setattr(defense, "stored_stamp", lambda run, rows, stamp=stamp: stamp)
        judged = _judged(place, *OF_DENSE, "dense-better-than-thesis-recipe", "exposure-explains-nothing")
        assert [one for one in judged if one[1] != "no_record"] == [("NOT SUPPORTED", f"spoilt_{stamp}")] * 7


def _rewritten(place, change):
    """The errors of a record changed, and its results made to follow from them."""
    rows = change(read_errors(place / "errors.csv", "val"))
    (place / "errors.csv").unlink()
    write_errors(rows, place / "errors.csv")
    content = json.loads((place / "results.json").read_text(encoding="utf-8"))
    content["val"] |= summarise_errors(rows)
    content["n_val"] = len(rows)
    (place / "results.json").write_text(json.dumps(content), encoding="utf-8")


def _mean_error(row):
    return sum(row[f"{name}_radial"] for name in LANDMARK_NAMES)


def _halved(rows):
    return [{key: value / 2 if key.endswith("_radial") else value for key, value in row.items()} for row in rows]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: sorted(rows, key=_mean_error)[:104], "other_set"), (lambda rows: sorted(rows, key=_mean_error)[:20] * 7, "twice"), (_halved, "no_distance"),
        (lambda rows: [row | {"L3_dx": float("nan")} for row in rows], "no_distance"), (lambda rows: [row | {"L7_along": 0.0} for row in rows], "no_distance"),
    ],
    ids=["the worst left out", "the best repeated", "halved", "a part unknown", "nothing along"],
)
def test_errors_that_are_not_those_of_the_part_support_no_claim(tmp_path, change, reason):
    place = _forged(tmp_path, "dense") / "dense"
    _rewritten(place, lambda rows: rows)
    assert _judged(tmp_path, "dense-below-six", "dense-saw-nothing", "records-follow-from-their-errors") == [("PASS", "inside"), ("PASS", "counted"), ("PASS", "counted")]
    _rewritten(place, change)
    assert _judged(tmp_path, "dense-below-six", "dense-saw-nothing", "records-follow-from-their-errors") == [("FAIL", reason)] * 3


def test_fewer_than_is_not_at_most(tmp_path):
    records = defense.Records(_forged(tmp_path, "dense"))
    counted = defense.count(records, "dense/val", 10.0).value

    def verdict(**limits):
        said = " and ".join(str(value) for value in limits.values())
        return defense.judge(defense._claim({"id": "x", "en": said, "es": said, "compute": "count", "of": "dense/val", "more_than": 10.0, **limits}), records).verdict

    assert verdict(at_most=counted) == verdict(at_least=counted) == verdict(below=counted + 1) == verdict(above=counted - 1) == "PASS"
    assert verdict(below=counted) == verdict(above=counted) == "FAIL"
    assert verdict(below=counted + 1, at_most=counted) == verdict(above=counted - 1, at_least=counted) == "PASS"
    for limits in ({"below": 4, "above": 4}, {"below": 4, "at_least": 4}, {"at_most": 4, "above": 4}):
        with pytest.raises(defense.ClaimsError, match="leave no room"):
            verdict(**limits)
    for low, high, said in ((0.0, 0.0, "FAIL"), (-1.0, 0.0, "NOT SUPPORTED"), (-1.0, -0.5, "PASS")):
        assert defense._against_limits(replace(CLAIMS[0], stated=None, high=0, below=True), defense.Evidence(low, (low, high)))[0] == said


@pytest.mark.parametrize(
    ("said", "number", "tolerance", "cure"),
    [
        ("The error is 500 px", 5, 0.3, "does not contain the number 5"), ("The error is 4 px", 0, 100, "tolerance = 100"), ("4 px", 4, 5, "at most 1,"),
        ("5.26 px", 5.26, 0.05, "at most 0.01,"), ("5,3 px", 5.3, 0.2, "at most 0.1,"), ("35 %", 0.35, 0.02, "at most 0.01,"), ("0.35 %", 0.35, 0.02, "at most 0.01,"), ("35", 0.35, 0, "does not contain"),
    ],
)
def test_a_sentence_says_the_number_that_it_claims_and_a_tolerance_is_its_rounding(said, number, tolerance, cure):
    table = {"id": "x", "en": said, "es": said, "compute": "metric", "of": "dense/val", "metric": "mre_px", "is": number, "tolerance": tolerance}
    with pytest.raises(defense.ClaimsError, match=re.escape(cure)):
        defense._claim(table)


@pytest.mark.parametrize(
    ("said", "number", "tolerance"),
    [("5.26 px", 5.26, 0.01), ("5,26 px", 5.26, 0.005), ("35 %", 0.35, 0.01), ("10.6%", 0.106, 0.001), ("None", 0, 0.5), ("one", 1, 0), ("a gain of -0.3", -0.3, 0.05), ("p = 0.0005", 0.0005, 5e-5), ("12", 12, 1)],
)
def test_a_number_may_be_written_as_people_write_numbers(said, number, tolerance):
    table = {"id": "x", "en": said, "es": said, "compute": "metric", "of": "dense/val", "metric": "mre_px", "is": number, "tolerance": tolerance}
    assert defense._claim(table).tolerance == tolerance


def _opened(place):
    found = defense.unplanned_openings(defense.Records(place))
    return found.n, found.value


def _opened_by(place):
    """As README and figure count it, record by record."""
    measured = {name: json.loads((place / name / f"{name}.json").read_text(encoding="utf-8")) for name in ("test", "oof")}
    return recorded_openings(measured, measured["test"]["test_fingerprint"], sorted(place.iterdir()))


def test_an_opening_is_counted_wherever_it_is_written(tmp_path):
    place = _forged(tmp_path, "dense", "test", "oof")
    assert _opened_by(place) == {"test": 1, "oof": 1}
    assert _opened(place) == (2, 0)
    (place / "test" / "test_ledger.jsonl").unlink()
    assert _opened(place) == (2, 0)  # its result tells of it
    entry = json.loads((place / "oof" / "test_ledger.jsonl").read_text(encoding="utf-8").splitlines()[0])
    log_opening([place / "oof"], {key: entry[key] for key in ("fingerprint", "part")})
    assert _opened(place) == (3, 1) and _judged(place, "test-part-closed") == [("FAIL", "states")]
    log_opening([place / "dense", place / "oof"], {key: entry[key] for key in ("fingerprint", "part")})  # one look by both
    assert _opened(place)[0] == 4 and _opened_by(place) == {"test": 1, "oof": 3}
    log_opening([place / "dense"], {key: entry[key] for key in ("fingerprint", "part")})  # of a run that states none
    assert _opened(place)[0] == 5 and _opened_by(place) == {"test": 1, "oof": 3, "dense": 1}
    run = Run(place / "dense")
    known = defense.Defense((run,), json.loads((run.path / "results.json").read_text(encoding="utf-8")), records=defense.Records(place))
    assert known.opened == _opened_by(place)


@pytest.mark.parametrize("removed", [True, False], ids=["without ledger", "with its ledger"])
def test_an_opening_of_nobody_knows_what_is_no_evidence(tmp_path, removed):
    place = _forged(tmp_path, "test", "oof")
    _put(place / "oof" / "oof.json", ("test_fingerprint",), "")
    if removed:
        (place / "oof" / "test_ledger.jsonl").unlink()
    assert _judged(place, "test-part-closed") == [("NOT SUPPORTED", "no_value")]


def test_a_record_that_only_its_ledger_betrays_is_counted(tmp_path):
    place = _forged(tmp_path, "test", "oof")
    _put(place / "oof" / "oof.json", ("test_fingerprint",), "0" * 16)
    assert _opened(place) == (2, 0)


@pytest.mark.parametrize(
    ("name", "steps", "value"), [("test", ("baselines", "mean_shape_px"), 40.0), ("test", ("runs", 1, "mre_px"), 4.0), ("test", ("runs", 0, "mre_px_ci95", 0), 3.0), ("outside", ("results", 1, "border_mm"), 1.2)]
)
def test_what_is_told_first_is_computed_again(tmp_path, name, steps, value):
    place = _forged(tmp_path, *{name, "shape"})
    assert _judged(place, "records-follow-from-their-errors") == [("PASS", "counted")]
    _put(place / name / f"{name}.json", steps, value)
    assert _judged(place, "records-follow-from-their-errors") == [("FAIL", "contradiction")]


@pytest.mark.parametrize(("lang", "mark"), [("en", "recorded only: nothing that is stored gives it again"), ("es", "solo consta: nada de lo guardado lo vuelve a dar")])
def test_a_number_that_nothing_gives_again_is_told_as_recorded_only(lang, mark):
    told = _told(lang)
    lines = {line.what: line.worth for line in defense.summary_lines(told)}
    assert [what for what, worth in lines.items() if mark in worth] == [told.say("line_together", seeds=3)]
    assert (told.facts["limits_only"], told.facts["folds_only"]) == (f" ({mark})", f" ({mark})")
    heading, table, note = defense._test_table(told)
    cells = [re.findall(r"\d\*?<br>", row) for row in table.split("<tr>")[2:]]
    assert [[cell.count("*") for cell in row] for row in cells] == [[0, 1, 1, 1, 1, 1]] * 3 + [[1] * 6]
    assert note == f'<p class="note">* {mark}.</p>'
    answers = {question.needs: question.answer[lang == "es"].format(**told.facts) for question in defense.QUESTIONS}
    assert f"({mark})" in answers["limits"] and f"({mark})" in answers["folds"]


def test_all_together_is_computed_again_where_its_errors_were_kept(tmp_path):
    table, stated = tmp_path / "test" / "errors.csv", _recorded("test")["test"]["mre_px"]
    _forged(tmp_path, "test")
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([f"{header},together", *(f"{row},{stated:.3f}" for row in rows), ""]), encoding="utf-8")
    told = _told("en", defense.Records(tmp_path))
    assert defense.recomputed(told.records, "test", "test.json")["test"]["mre_px"] == pytest.approx(stated, abs=1e-3)
    assert told.only_recorded("test", "test.mre_px") == "" and told.only_recorded("test", "test.contour_px")
    assert told.facts["test_alike"] == _told("en").facts["test_alike"]  # of the runs alone


@pytest.mark.parametrize(("stamp", "word"), [("contaminated", "CONTAMINATED"), ("unverified", "UNVERIFIED"), ("selected", "the best epoch was selected on it")])
def test_what_figures_stamp_the_summary_says(monkeypatch, stamp, word):
    monkeypatch.setattr(defense, "stored_stamp", lambda run, rows: stamp)
    told = replace(_told("en", None), records=None)
    lines = [line for line in defense.summary_lines(told) if line.record == "dense" and line.n == 144]
    assert lines[0].worth.startswith(word) and lines[0].kind != "unseen"
    assert ("no model was trained on" in " ".join(told.headline)) is (stamp == "selected")


def test_every_record_with_errors_is_computed_again():
    compared = {name: defense.disagreements(ALL, name).n for name in ALL.folders if (ALL.folder(name) / "errors.csv").exists() or name == "limits"}
    assert ALL.folders.keys() - compared.keys() == {"causes"}  # it keeps no errors, and no claim rests on it
    assert min(compared.values()) >= 1 and sum(compared.values()) == defense.disagreements(ALL).n
    assert compared["ensemble"] >= 40 and compared["limits"] == 1
    assert (compared["contour"], compared["prior"]) == (19, 50)  # three runs, each both ways with both ends of the interval; seven variances, each with its gain; and n


def test_every_number_of_the_contours_and_of_the_prior_is_computed_again():
    """The ranks of gains of a thousandth of a pixel aside, which rounded errors do not give."""
    for name, ranks in (("contour", {}), ("prior", {"wilcoxon_p", "effect_size"})):
        again, stated = defense.recomputed(ALL, name, f"{name}.json"), _recorded(name)
        for one, other in zip(again[f"{name}s"], stated[f"{name}s"], strict=True):
            assert one.keys() == other.keys() and (name == "contour" or one["gain"].keys() == other["gain"].keys() - ranks)
    best = max(one["gain"]["difference_px_ci95"][1] for one in _recorded("prior")["priors"])
    assert best < 0.05  # what is claimed of variance 2 holds of every variance


def test_a_name_that_nobody_can_write_down_is_told(small, tmp_path, capsys):
    try:
        shutil.copytree(small / "phantom", tmp_path / "records" / os.fsdecode(b"bad\xff"))
    except OSError:
        pytest.skip("this file system has no such names")
    assert main(["defend", "--records", str(tmp_path / "records"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "bad\\udcff" in said and "rename that folder" in said and not (tmp_path / "out").exists()


def test_a_bar_in_a_name_is_a_bar_in_the_report():
    table = figures.results_table([ALL.content("dense")], "markdown", labels=["x|y"])
    assert ">x|y<" in defense._markdown_table(table, 2)


def test_a_pdf_is_printed_undated_or_one_line_says_why_not(tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    page.write_text("<!DOCTYPE html><title>t</title><p>one page", encoding="utf-8")
    if problem := defense.write_pdf(page, tmp_path / "a.pdf"):
        assert problem.startswith("no PDF: ") and "\n" not in problem and not (tmp_path / "a.pdf").exists()
    else:
        content = (tmp_path / "a.pdf").read_bytes()
        assert content.startswith(b"%PDF") and re.search(rb"/CreationDate ?\(D:0+", content)
    monkeypatch.setattr(defense.shutil, "which", lambda name: None)
    assert defense.write_pdf(page, tmp_path / "b.pdf").startswith("no PDF: none of chromium") and not (tmp_path / "b.pdf").exists()


def test_the_folder_above_the_records_will_do():
    assert defense.Records(RECORDS.parent).folders == ALL.folders
