"""Files of records, claims, drawings and annotations that are damaged, endless or no files: one line that names the file, and nothing is written."""

import json
import os
import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from landmark_thesis import defense, figures
from landmark_thesis.cli import main
from landmark_thesis.data import MAX_NESTING, DataError, read_json, read_rows, verify_files
from landmark_thesis.evaluate import LEDGER, ledger_entries, read_errors
from landmark_thesis.runs import Run
from landmark_thesis.widgets import AnnotationSession

RECORDS = Path(__file__).resolve().parent.parent / "figures" / "records"
HAS_PIPES = hasattr(os, "mkfifo") and Path("/dev/zero").exists()
CLAIM = '[[claim]]\nid = "x"\nen = "Below 9."\nes = "Menos de 9."\ncompute = "count"\nof = "phantom/test"\n'


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    """A hole of one byte more than is read: it takes no disk."""
    with open(path, "xb") as file:
        file.truncate(2**26 + 1)


def holding(content: bytes):
    return lambda path: path.write_bytes(content)


def behind(content: bytes):
    """The same kind of file, with one thing more in it."""
    return lambda path: path.write_bytes(path.read_bytes().rstrip().removesuffix(b"}") + content)


NO_FILES = {"pipe": (pipe, "is a pipe or a device"), "device": (endless, "is a pipe or a device"), "huge": (huge, "has more than 64 MB")}
ANY = NO_FILES | {"folder": (Path.mkdir, "cannot be read"), "Latin-1": (holding(b'{"a": "\xe9"}\n'), "utf-8")}
JSON = ANY | {
    "deep": (holding(b'{"a": ' + b"[" * 100_000), "cannot be read"), "deep, but whole": (behind(b', "more": ' + b"[" * 60 + b"]" * 60 + b"}"), "nested more than 50 deep"),
    "cut": (holding(b'{"a": 1'), "cannot be read"), "list": (holding(b"[1, 2]"), "no values by name"), "empty": (holding(b""), "cannot be read"),
    "NaN": (behind(b', "more": [NaN]}'), "NaN, infinite or far too large"), "infinite": (behind(b', "more": -Infinity}'), "NaN, infinite"),
    "overflow": (behind(b', "more": 1e999}'), "NaN, infinite"), "400 digits": (behind(b', "more": ' + b"9" * 400 + b"}"), "NaN, infinite"),
    "5000 digits": (behind(b', "more": ' + b"9" * 5000 + b"}"), "cannot be read"),
}
CSV = ANY | {
    "a row too short": (behind(b"\nx,1\nx"), "not as many cells"), "a row too long": (behind(b"\n" + b"x," * 999), "not as many cells"),
    "an open quote": (behind(b'\n"x,1'), "cannot be read"), "a cell without end": (behind(b"\n" + b"x" * 2**18), "cannot be read"),
}


def spoil(path: Path, case) -> None:
    content = path.read_bytes() if path.exists() else b""
    path.unlink(missing_ok=True)
    if case[0] not in (pipe, endless, huge, Path.mkdir):
        path.write_bytes(content)
    elif case[0] in (pipe, endless) and not HAS_PIPES:
        pytest.skip("needs pipes and /dev/zero, which this system lacks")
    case[0](path)


def state(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() and path.stat().st_size < 2**26 else None for path in sorted(folder.rglob("*"))}


def complaint(read, kind=DataError) -> str:
    with pytest.raises(kind) as caught:
        read()
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600, str(caught.value)
    return str(caught.value)


@pytest.fixture
def records(tmp_path):
    """A run of phantoms with its results, and two measurements."""
    for name in ("phantom", "shape", "exposure"):
        shutil.copytree(RECORDS / name, tmp_path / "records" / name)
    (tmp_path / "claims.toml").write_text(CLAIM + "above = 9\n")
    return tmp_path / "records"


JSON_READERS = {
    "phantom/results.json": [lambda place, run: defense.Records(place).content("phantom"), lambda place, run: defense._read_results(run.path), lambda place, run: figures._stored_results(run)],
    "phantom/environment.json": [lambda place, run: defense._made(run), lambda place, run: figures._kept_epoch(run)],
    "shape/shape.json": [
        lambda place, run: defense.Records(place).content("shape", "shape.json"), lambda place, run: defense.Records(place).measured,
        lambda place, run: figures.draw_measured(place / "shape", place / "out"),
    ],
}
CSV_READERS = {
    "phantom/errors.csv": [lambda place, run: read_errors(run.path / "errors.csv"), lambda place, run: defense.Records(place).rows("phantom", "test")],
    "shape/errors.csv": [
        lambda place, run: defense._columns(place / "shape" / "errors.csv"), lambda place, run: defense._worst_pictures(place / "shape" / "errors.csv", ["mean_shape"], "en"),
        lambda place, run: defense.disagreements(defense.Records(place), "shape"),
    ],
    "exposure/errors.csv": [lambda place, run: figures.draw_measured(place / "exposure", place / "out")],
}


@pytest.mark.parametrize("case", JSON)
@pytest.mark.parametrize("name", JSON_READERS)
def test_a_json_file_that_is_none(name, case, records):
    run = Run(records / "phantom")  # before: it would refuse a pipe itself
    spoil(records / name, JSON[case])
    before = state(records)
    for read in JSON_READERS[name]:
        line = complaint(lambda read=read: read(records, run))
        assert line.startswith(f"{records / name}: ") and JSON[case][1] in line, line
        assert line.count(str(records / name)) == 1 and line.endswith(("; put the original back", "; put the original back, or remove it", "--json writes it anew"))
    assert state(records) == before


@pytest.mark.parametrize("case", CSV)
@pytest.mark.parametrize("name", CSV_READERS)
def test_a_table_that_is_none(name, case, records):
    run = Run(records / "phantom")
    spoil(records / name, CSV[case])
    before = state(records)
    for read in CSV_READERS[name]:
        line = complaint(lambda read=read: read(records, run))
        assert line.startswith(f"{records / name}: ") and CSV[case][1] in line, line
        assert line.count(str(records / name)) == 1 and line.endswith(("; put the original back", "; evaluate the run again to write it"))
    assert state(records) == before


@pytest.mark.parametrize("name", CSV_READERS)
def test_a_table_of_words(name, records):
    run, path = Run(records / "phantom"), records / name
    header = path.read_text().splitlines()[0]
    path.write_text(f"{header}\n{','.join(['x' * 1000] * len(header.split(',')))}\n")
    for read in CSV_READERS[name]:
        line = complaint(lambda read=read: read(records, run))
        assert f"{path}: " in line and ("no table of exposure" if "exposure" in name else "not a table of errors") in line, line


@pytest.mark.parametrize("text", ["", "image\nx\n", "a,b\n1,2\n", "image,b\nx,1\n"])
@pytest.mark.parametrize("name", ["shape/errors.csv", "exposure/errors.csv"])
def test_a_table_of_something_else(name, text, records):
    shutil.copytree(RECORDS / "dense", records / "dense")  # the run that the exposure is told of
    (records / name).write_text(text)
    line = complaint(lambda: CSV_READERS[name][-1](records, None))
    assert str(records / name) in line or "no exposure is known of 144 of 144 pictures" in line, line


def test_rows_and_values_are_bounded(tmp_path, monkeypatch):
    """A good file of each kind, its limits to the number, and what is missing is told as missing."""
    monkeypatch.setattr("landmark_thesis.data.MAX_ROWS", 3)
    path = tmp_path / "a"
    path.write_text('a,b\n1,"2\n3"\n\n4,5\n6,7\n')
    assert read_rows(path) == [{"a": "1", "b": "2\n3"}, {"a": "4", "b": "5"}, {"a": "6", "b": "7"}]
    path.write_text("a\n1\n2\n3\n4\n")
    assert complaint(lambda: read_rows(path, "mend it")) == f"{path}: cannot be read (has more than 3 rows); mend it"
    path.write_text('{"a": ' + "[" * (MAX_NESTING - 1) + "1.7e308, true, null, -1" + "]" * (MAX_NESTING - 1) + "}")
    content = read_json(path)["a"]
    for _ in range(MAX_NESTING - 2):
        (content,) = content
    assert content == [1.7e308, True, None, -1]
    path.write_text('{"a": ' + "[" * MAX_NESTING + "]" * MAX_NESTING + "}")
    assert "nested more than 50 deep" in complaint(lambda: read_json(path))
    path.write_text('{"a": Infinity}')
    assert read_json(path, finite=False) == {"a": float("inf")}
    for read in (read_json, read_rows):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "b")
        with pytest.raises(NotADirectoryError):
            read(path / "b")


CLAIMS = ANY | {
    "deep": (holding(b"a = " + b"[" * 100_000), "no TOML"), "5000 digits": (holding(b"a = " + b"9" * 5000), "no TOML"),
    **{f"{key} {value}": (holding(f"{CLAIM}is = 9\n{key} = {value}\n".encode()), f"{key} must be a number, not {value[:4]}")
       for key in ("above", "tolerance", "more_than") for value in ("nan", "inf", "-inf", "9" * 400)},
}


@pytest.mark.parametrize("case", CLAIMS)
def test_claims_that_are_none(case, records, capsys):
    place = records.parent / "claims.toml"
    spoil(place, CLAIMS[case])
    assert CLAIMS[case][1].replace("cannot be read", "cannot be read (") in complaint(lambda: defense.read_claims(place), defense.ClaimsError)
    before = state(records.parent)
    for words in ([], ["--claims", str(place)]):  # found beside the records, and named
        assert main(["defend", "--records", str(records), *words, "--out", str(records.parent / "out")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and f"{place}" in error and CLAIMS[case][1] in error, error
    assert state(records.parent) == before


def test_numbers_of_a_claim_that_nothing_contradicts():
    """What `tomllib` reads as a number is one for us only where something lies on either side of it."""
    assert tomllib.loads("a = nan")["a"] != 0  # TOML knows it
    assert defense.read_claims(CLAIM + "above = 9\n")[0].low == 9 and not any(map(defense._is_number, (True, "1", None, [1], 10**400, float("nan"))))
    assert all(map(defense._is_number, (0, -1, 10**300, 1.7e308)))


@pytest.mark.parametrize("case", ["pipe", "huge", "Latin-1", "deep", "NaN"])
@pytest.mark.parametrize("name", ["phantom/results.json", "phantom/environment.json", "shape/shape.json"])
def test_the_command_ends_in_one_line_and_writes_nothing(name, case, records, capsys):
    shutil.rmtree(records / "exposure")  # which wants the run beside it that it tells of
    spoil(records / name, JSON[case])
    before = state(records.parent)
    assert main(["defend", "--records", str(records), "--out", str(records.parent / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{records / name}: " in error and JSON[case][1] in error and "put the original back" in error, error
    assert state(records.parent) == before


@pytest.mark.parametrize("case", ["pipe", "huge", "Latin-1", "a row too short", "a cell without end"])
@pytest.mark.parametrize("name", ["phantom/errors.csv", "shape/errors.csv"])
def test_the_command_and_tables_that_are_none(name, case, records, capsys):
    shutil.rmtree(records / "exposure")
    spoil(records / name, CSV[case])
    before = state(records.parent)
    for words in (["defend", "--records", str(records)], *([["figures", str(records / "phantom")]] if "phantom" in name else [])):
        assert main([*words, "--out", str(records.parent / "out")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and f"{records / name}: " in error and CSV[case][1] in error, error
    assert state(records.parent) == before


@pytest.mark.parametrize("case", NO_FILES)
def test_a_drawing_that_is_none(case, tmp_path):
    spoil(tmp_path / "a.svg", NO_FILES[case])
    for read in (figures.drawn_from, figures.outdated_inputs):
        assert complaint(lambda read=read: read(tmp_path / "a.svg")).startswith(f"{tmp_path / 'a.svg'}: {NO_FILES[case][1]}")


@pytest.mark.parametrize("case", NO_FILES)
def test_an_input_that_is_no_file_any_more(case, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a.svg").write_bytes(b"(\xe9/c sha256:0123456789abcdef; a/b sha256:0123456789abcdef)")
    assert figures.outdated_inputs(tmp_path / "a.svg", tmp_path) == ["\ufffd/c", "a/b"]  # no name of ours is no ASCII
    spoil(tmp_path / "a" / "b", NO_FILES[case])
    assert complaint(lambda: figures.outdated_inputs(tmp_path / "a.svg", tmp_path)).startswith(f"{tmp_path / 'a' / 'b'}: {NO_FILES[case][1]}")


@pytest.mark.parametrize("name", ["points.csv", "points.repeats"])
@pytest.mark.parametrize("case", ["pipe", "device", "huge", "folder"])
def test_an_annotation_table_that_is_none(case, name, tmp_path):
    from PIL import Image

    Image.new("L", (96, 96)).save(tmp_path / "a.png")
    session = AnnotationSession([tmp_path / "a.png"], tmp_path / "points.csv", repeats=1.0)
    place = session.queue[0].again
    spoil(tmp_path / name, ANY[case])
    line = complaint(lambda: AnnotationSession([tmp_path / "a.png"], tmp_path / "points.csv", repeats=1.0))
    assert line.startswith(f"{tmp_path / name}: ") and ANY[case][1] in line and line.endswith("; give a new file")
    for x, y in ((48, 10), (50, 84)):
        session.do({"do": "click", "x": x, "y": y})
    before = state(tmp_path)
    session.do({"do": "next"})
    if place == (name == "points.repeats"):  # the table that this turn goes into
        assert session.refused and session.status == f"not saved: {name} was changed by another program; keep a copy and open the session again"
        assert state(tmp_path) == before and session.draft.complete  # what was clicked is still there
    else:
        assert not session.refused and state(tmp_path) != before


def test_an_annotation_table_in_latin_1(tmp_path):
    from PIL import Image

    Image.new("L", (96, 96)).save(tmp_path / "a.png")
    session = AnnotationSession([tmp_path / "a.png"], tmp_path / "points.csv")
    for x, y in ((48, 10), (50, 84)):
        session.do({"do": "click", "x": x, "y": y})
    session.do({"do": "next"})
    table = tmp_path / "points.csv"
    table.write_bytes(table.read_bytes().replace(b"a.png", b"\xe9.png"))
    assert "points.csv: line 2 is not UTF-8" in complaint(lambda: AnnotationSession([tmp_path / "a.png"], table))


@pytest.mark.parametrize("case", ANY)
def test_a_list_of_hashes_that_is_none(case, tmp_path):
    spoil(tmp_path / "list.csv", ANY[case])
    line = complaint(lambda: verify_files(tmp_path, tmp_path / "list.csv"))
    assert "list.csv: not a list with the columns name,sha256" in line and ANY[case][1] in line


def test_a_deep_line_of_a_ledger(tmp_path):
    (tmp_path / LEDGER).write_text('{"id": ' + "[" * 100_000 + "\n")
    assert "line 1: not an entry of a ledger" in complaint(lambda: ledger_entries(tmp_path))


def test_results_whose_errors_another_evaluation_has_replaced_are_scored_anew(tmp_path):
    record = RECORDS / "dense"
    results = json.loads((record / "results.json").read_text(encoding="utf-8"))
    (tmp_path / "results.json").write_text(json.dumps(results | {"weights": ["abc"]}), encoding="utf-8")
    run, errors = SimpleNamespace(path=tmp_path, weights_hash="abc"), (record / "errors.csv").read_text(encoding="utf-8")
    for text, kept in ((errors, True), (errors.replace(",1.", ",9."), False), ("part\n", False)):
        (tmp_path / "errors.csv").write_text(text, encoding="utf-8")
        assert (defense._scored_before(tmp_path, [run], "val") is not None) == kept
