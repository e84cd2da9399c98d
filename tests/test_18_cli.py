"""Tests of nbs/18_cli.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


from landmark_thesis import cli as chapter

# The notebook's cells see every name of its module; so do its tests.
globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})


# cell 3198bf08
def test_numbers_are_whole_and_in_range():
    assert [_whole(0, 9)(text) for text in ("0", "9", " 7 ", "+3")] == [0, 9, 7, 3]
    for wrong in ("-1", "10", "1.0", "nan", "", "1_0", "x", "9" * 5000, "0" * 40 + "99"):
        try:
            _whole(0, 9)(wrong)
            raise AssertionError(f"{wrong[:40]} was accepted")
        except argparse.ArgumentTypeError as error:
            assert "must be a whole number from 0 to 9" in str(error) and len(str(error)) < 100


# cell fd129806
def test_places_are_looked_at_before_the_work(tmp_path):
    (tmp_path / "file").write_text("here before")
    _can_write("--csv", None)
    _can_write("--csv", tmp_path / "file")
    _can_write("--csv", tmp_path / "new" / "deep" / "points.csv")
    _can_write("--out", tmp_path / "new", folder=True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    for path, folder, word in ((tmp_path, False, "is a folder"), (tmp_path / "file", True, "is a file"), (tmp_path / "file" / "x", False, "is a file")):
        try:
            _can_write("--csv", path, folder)
            raise AssertionError(f"{path} was accepted")
        except _Mistake as error:
            assert word in str(error) and str(error).startswith(f"--csv {path}: ")


# cell 79f47ee6
def test_a_file_that_is_read_or_was_earned_is_not_replaced(tmp_path):
    run, data = tmp_path / "run", tmp_path / "data"
    for path in (run / "recipe.json", run / "best.pt", data / "a.png", data / "labels.csv", tmp_path / "old.csv", tmp_path / "tiny.pt"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(path.name)
    (tmp_path / "away").symlink_to(data)
    (tmp_path / "named.txt").symlink_to(data / "a.png")
    good = (tmp_path / "new.csv", tmp_path / "old.csv", run / "points.csv", data / "points.csv", tmp_path / "results.json")
    for path in good:
        _may_replace("--csv", path, [data / "a.png"], [data, None])
    _may_replace("--json", run / "results.json", allowed=run / ".." / "run" / "results.json")
    _may_replace("--json", None)
    bad = {run / "best.pt": "of the run run", run / "errors.csv": "of the run run", run / "results.json": "of the run run", run / ".." / "run" / "last.pt": "of the run",
           data / "a.png": "is read", tmp_path / "away" / "a.png": "is read", tmp_path / "named.txt": "is read", data / ".." / "data" / "labels.csv": "table among",
           tmp_path / "tiny.pt": "is weights"}
    for path, words in bad.items():
        try:
            _may_replace("--csv", path, [data / "a.png"], [data])
            raise AssertionError(f"{path} was accepted")
        except _Mistake as error:
            assert words in str(error) and str(error).startswith(f"--csv {path}: ")
    _no_second_table("--csv", tmp_path / "new.csv", data)
    _no_second_table("--csv", data / "points.txt", data)
    for path in (data / "points.csv", data / "deep" / "points.csv", tmp_path / "away" / "points.csv"):
        try:
            _no_second_table("--csv", path, data)
            raise AssertionError(f"{path} was accepted")
        except _Mistake as error:
            assert "one table only" in str(error)
    for path, words in {run: "holds a run", data: "holds the pictures", tmp_path / "away": "holds the pictures"}.items():
        try:
            _no_run("--out", path, data)
            raise AssertionError(f"{path} was accepted")
        except _Mistake as error:
            assert words in str(error)
    _no_run("--out", tmp_path / "new", data)
