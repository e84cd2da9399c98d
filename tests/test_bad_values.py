"""Records whose JSON is whole and whose values are not: one line that names the file, a told verdict, or a value that nobody reads; never a traceback."""

import copy
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from landmark_thesis import defense, figures
from landmark_thesis.cli import main
from landmark_thesis.data import DataError
from landmark_thesis.runs import RunError

RECORDS = Path(__file__).resolve().parent.parent / "figures" / "records"
GONE = object()
NO_NUMBERS = (None, "x", "1.5", [], [1, 2], {}, {"a": 1}, True)
VALUES = (GONE, *NO_NUMBERS, -3, 0, -3.5, 1000, 10**5, 10**9, 1e300)
CLAIMS = """
[[claim]]
id = "error"
compute = "metric"
of = "phantom/test"
metric = "mre_px"
below = 2

[[claim]]
id = "ruler"
compute = "ratio"
a = "phantom/test"
over = "baselines.mean_shape_px"
below = 1

[[claim]]
id = "opened"
compute = "unplanned_openings"
record = "phantom"
is = 0

[[claim]]
id = "rounding"
compute = "stored"
record = "limits"
file = "limits.json"
path = "rounding_px"
n = "n"
is = 1.34
tolerance = 0.005

[[claim]]
id = "contour"
compute = "stored"
record = "contour"
file = "contour.json"
path = "contours[run=dense].continued_px"
n = "n"
below = 1.9

[[claim]]
id = "prior"
compute = "stored"
record = "prior"
file = "prior.json"
path = "priors[variance=2.0].gain.difference_px"
below = 0.05

[[claim]]
id = "all"
compute = "disagreements"
is = 0
"""
SMALL = ("phantom", "shape", "limits", "contour", "prior")
EVIDENCE = {  # claim: what it rests on
    "error": ("phantom/results.json", [("test", "mre_px"), ("contaminated",), ("unverified",)]), "ruler": ("phantom/results.json", [("baselines", "mean_shape_px"), ("contaminated",), ("unverified",)]),
    "opened": ("phantom/results.json", [("test_ledger", "opened"), ("test_ledger", "planned"), ("test_fingerprint",)]), "rounding": ("limits/limits.json", [("rounding_px",), ("n",), ("cells",)]),
    "contour": ("contour/contour.json", [("contours", 0, "continued_px"), ("contours", 0, "continued_px_ci95"), ("contours", 0, "continued_px_ci95", 1), ("contours",), ("n",)]),
    "prior": ("prior/prior.json", [("priors", 3, "gain", "difference_px"), ("priors", 3, "gain", "difference_px_ci95"), ("priors", 3, "gain"), ("priors", 3, "variance")]),
    "all": ("phantom/results.json", [("n_test",), ("test", "p95_px"), ("test", "sdr", "5"), ("test", "per_landmark", "L4"), ("test", "contour_px_ci95")]),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Copies of small records with their claims; figures are made, not written, and those of the phantoms, which take long, are not made."""
    monkeypatch.setattr(defense, "draw_all", lambda *given, **options: [])
    monkeypatch.setattr(figures, "save_figure", lambda figure, out, formats=(), inputs=(): [])
    monkeypatch.setattr(defense, "write_pdf", lambda page, path: "")
    for name in SMALL:
        shutil.copytree(RECORDS / name, tmp_path / "records" / name)
    (tmp_path / "claims.toml").write_text(CLAIMS.replace('compute = "', 'en = "2 1.9 1.34 0.05"\nes = "2 1.9 1.34 0.05"\ncompute = "'))
    return tmp_path / "records"


def put(content, path, value):
    """A copy with another value at `path`, or without it."""
    content = place = copy.deepcopy(content)
    for step in path[:-1]:
        place = place[step]
    if value is GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return content


def paths(content, path=()):
    """Every place of stored values; of long lists the first entries."""
    if path:
        yield path
    for step, value in content.items() if isinstance(content, dict) else list(enumerate(content))[:4] if isinstance(content, list) else ():
        yield from paths(value, (*path, step))


def defended(place, capsys, file, path, value):
    """The verdicts by claim of `defend` with one value changed, {} where it refused; the file is put back."""
    out, kept = place.parent / "out", (place / file).read_bytes()
    (place / file).write_text(json.dumps(put(json.loads(kept), path, value)))
    try:
        code = main(["defend", "--records", str(place), "--out", str(out)])
        error = capsys.readouterr().err
        what = f"{file}: {path} is {'gone' if value is GONE else value!r}: exit code {code}, {error}"
        assert code in (0, 2, 3), what
        if code == 2:
            assert error.count("\n") == 1 and Path(file).name in error and not out.exists(), what
            return {}
        verdicts = {one["id"]: one["verdict"] for one in json.loads((out / "claims.json").read_text())}
        assert (code == 3) == ("FAIL" in verdicts.values()), what
        return verdicts
    finally:
        (place / file).write_bytes(kept)
        shutil.rmtree(out, ignore_errors=True)


def held(claim, file, path):
    """Whether a claim rests on this place of this file."""
    resting, places = EVIDENCE[claim]
    return file == resting and any(place[: len(path)] == path for place in places)


def mutate(place, capsys, seed, count, files):
    """`count` random changes, one at a time; how many were refused."""
    rng, refused = random.Random(seed), 0
    for _ in range(count):
        file = rng.choice(files)
        path = rng.choice(list(paths(json.loads((place / file).read_text()))))
        value = rng.choice(VALUES)
        verdicts = defended(place, capsys, file, path, value)
        refused += not verdicts
        if value is not GONE and (isinstance(value, bool) or not isinstance(value, int | float)):
            assert not [claim for claim, verdict in verdicts.items() if claim in EVIDENCE and verdict == "PASS" and held(claim, file, path)], (file, path, value)
    return refused


def json_files(place):
    return sorted(str(path.relative_to(place)) for path in place.glob("*/*.json") if path.name != "split.json")


def test_unchanged_records_pass(place, capsys):
    assert defended(place, capsys, "phantom/results.json", ("mine",), 1) == dict.fromkeys(EVIDENCE, "PASS")


@pytest.mark.parametrize("claim", EVIDENCE)
def test_no_claim_passes_on_what_is_no_number(claim, place, capsys):
    """Judged alone, where a report would have refused the file for another reason."""
    asked = next(one for one in defense.read_claims(place.parent / "claims.toml") if one.id == claim)
    file, places = EVIDENCE[claim]
    kept = (place / file).read_text()
    for path in places:
        for value in NO_NUMBERS:
            if (path[-1], value) in (("contaminated", True), ("unverified", []), ("test_fingerprint", "x"), ("test_fingerprint", "1.5")):
                continue  # values of the right kind
            (place / file).write_text(json.dumps(put(json.loads(kept), path, value)))
            try:
                verdict = defense.judge(asked, defense.Records(place))
            except DataError as error:
                assert Path(file).name in str(error) and "\n" not in str(error), (path, value)
            else:
                assert verdict.verdict != "PASS" and verdict.why("es"), (path, value)


@pytest.mark.parametrize("file, path", [
    ("phantom/results.json", ("baselines",)), ("phantom/results.json", ("test", "max_px")), ("phantom/results.json", ("test", "per_landmark")), ("phantom/results.json", ("versions",)),
    ("phantom/results.json", ("test_ledger", "planned")), ("phantom/results.json", ("models", 0, "seed")), ("phantom/results.json", ("contaminated",)), ("phantom/results.json", ("part",)),
    ("limits/limits.json", ("twice",)), ("limits/limits.json", ("twice", 1, "pair")), ("shape/shape.json", ("modes", 2, "direction")), ("contour/contour.json", ("contours", 1, "run")),
    ("phantom/recipe.json", ("recipe", "phases")), ("phantom/recipe.json", ("seed",)),
])
def test_what_is_missing_is_named_with_its_file(file, path, place, capsys):
    kept = (place / file).read_text()
    (place / file).write_text(json.dumps(put(json.loads(kept), path, GONE)))
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    code = main(["defend", "--records", str(place), "--out", str(place.parent / "out")])
    error = capsys.readouterr().err
    if path == ("twice",):  # then it is of no form that is drawn, and what can be claimed of it is still there
        assert code == 0
        return
    assert code == 2 and error.count("\n") == 1 and str(place / file) in error and str(path[-1]) in error, error
    assert not (place.parent / "out").exists() and before == {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_random_values(place, capsys):
    assert mutate(place, capsys, 0, 24, json_files(place)) >= 8  # else too little of it is read


FORMS = [path.name for path in sorted(RECORDS.iterdir()) if (path / f"{path.name}.json").exists() and figures.forms_of(json.loads((path / f"{path.name}.json").read_text()))]


def drawn(tmp_path, name, seed, count):
    """`count` changes of what one figure is drawn from; each is drawn, or refused in one line that names the file; how many were refused."""
    for kept in {name, "dense", "limits", "shape", "oof"}:
        shutil.copytree(RECORDS / kept, tmp_path / kept)
    file, rng, refused = tmp_path / name / f"{name}.json", random.Random(seed), 0
    content = json.loads(file.read_text())
    for _ in range(count):
        file.write_text(json.dumps(put(content, rng.choice(list(paths(content))), rng.choice(VALUES))))
        try:
            figures.draw_measured(tmp_path / name, tmp_path / "out")
        except (DataError, RunError) as error:
            assert (str(file) in str(error) or "no run folder" in str(error)) and "\n" not in str(error), error  # or the run that it tells of is not there
            refused += 1
    return refused


@pytest.mark.parametrize("name", FORMS)
def test_figures_of_random_values(name, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "save_figure", lambda figure, out, formats=(), inputs=(): [])
    assert drawn(tmp_path, name, 0, 12) >= 2


def test_a_mean_outside_its_interval_is_drawn_with_one_whisker():
    assert figures._whiskers(np.array([[5.0], [6.0], [7.0]])).tolist() == [[0.0], [2.0]]


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_many_figures_of_random_values(name, tmp_path):
    drawn(tmp_path, name, 1, 80)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 7))
def test_many_random_values(seed, place, capsys):
    """Each change is a whole report, a second or more of the processor: in pieces, so that one that takes forever could be told from many."""
    for name in ("test", "oof", "ensemble", "leakage", "phase1", "curve", "outside", "reading"):
        shutil.copytree(RECORDS / name, place / name)
    mutate(place, capsys, seed, 25, json_files(place))


@pytest.mark.slow
def test_all_figures_of_random_values(place, capsys, monkeypatch):
    monkeypatch.setattr(defense, "draw_all", figures.draw_all)
    mutate(place, capsys, 2, 25, [file for file in json_files(place) if file.startswith("phantom/")])
