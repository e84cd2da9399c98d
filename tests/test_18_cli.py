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
