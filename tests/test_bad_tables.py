"""Every kind of broken table: what is certain is read, everything else ends in one line with file and row, and nothing is written."""

import json

import cv2
import numpy as np
import pytest

from landmark_thesis import data
from landmark_thesis.cli import main
from landmark_thesis.data import DataError, check_data, read_annotations
from landmark_thesis.landmarks import FLIP_PERMUTATION, fractions_to_pixels
from landmark_thesis.phantom import phantoms

PICTURES, POINTS, _ = phantoms(6, size=64)
PIXELS = np.rint(fractions_to_pixels(POINTS, 64)).astype(int).clip(1, 62)
NAMES = [f"{('COVID', 'Normal', 'Viral Pneumonia')[k % 3]}-{k + 1}" for k in range(6)]
HEADER = "image," + ",".join(f"{axis}{k}" for k in range(1, 16) for axis in "xy") + "\n"


def rows(points=PIXELS) -> list[list[str]]:
    return [[str(k), *map(str, xy.ravel().tolist()), name] for k, (xy, name) in enumerate(zip(points, NAMES, strict=True))]


def text(table, delimiter=",") -> str:
    return "\n".join(map(delimiter.join, table)) + "\n"


def with_cell(row: int, column: int, value: str) -> str:
    table = rows()
    table[row][column] = value
    return text(table)


def with_commas(table) -> list[list[str]]:
    return [[row[0], *(f"{value},0" for value in row[1:-1]), row[-1]] for row in table]


def headed(count: int) -> str:
    head = "image," + ",".join(f"{axis}{k}" for k in range(1, count + 1) for axis in "xy")
    return head + "\n" + text([[name, *map(str, np.vstack([xy, xy])[:count].ravel())] for xy, name in zip(PIXELS, NAMES, strict=True)])


GOOD = {
    "as the thesis has it": text(rows()),
    "byte order mark": "\ufeff" + text(rows()),
    "UTF-16, as Excel's Unicode text": text(rows(), "\t").encode("utf-16"),
    "semicolons": text(rows(), ";"),
    "decimal commas between semicolons": text(with_commas(rows()), ";"),
    "tabs": text(rows(), "\t"),
    "Excel's first line": "sep=;\n" + text(rows(), ";"),
    "lines of Windows": text(rows()).replace("\n", "\r\n"),
    "lines of an old Macintosh": text(rows()).replace("\n", "\r"),
    "blank lines": text(rows()).replace("\n", "\n\n"),
    "empty columns at the end": text([[*row, "", " "] for row in rows()]),
    "quotes": text([[f'"{cell}"' for cell in row] for row in rows()]),
    "spaces": text([[f" {cell} " for cell in row] for row in rows()]),
    "a header": HEADER + text([[row[-1], *row[1:-1]] for row in rows()]),
    "a header of pandas": ",L1_x,L1_y," + ",".join(f"L{k}_{axis}" for k in range(2, 16) for axis in "xy") + ",image_name\n" + text(rows()),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_is_certain_is_read(case, tmp_path):
    content = GOOD[case]
    (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    read = read_annotations(tmp_path / "t.csv")
    assert np.array_equal(read.points_px, PIXELS) and list(read.names) == NAMES


VIA = "filename,file_size,region_count,region_id,region_shape_attributes\n" + 'COVID-1.png,9,15,0,"{""cx"":1,""cy"":2}"\n' * 3
BAD = {
    "empty": ("", "is empty"),
    "blank": ("\n \n\t\n", "is empty"),
    "a header and no row": (HEADER, "no rows below the header"),
    "Latin-1": (text(rows()).replace("Normal-5", "Normal-\u00e9").encode("latin-1"), "line 5 is not UTF-8"),
    "UTF-16 without a mark": (text(rows()).encode("utf-16-le"), "line 1 holds a NUL byte"),
    "UTF-16, cut": (text(rows()).encode("utf-16")[:-1], "is not UTF-16"),
    "UTF-32": (text(rows()).encode("utf-32"), "is not UTF-8"),
    "a NUL byte": (text(rows()).encode().replace(b"Normal-2", b"Nor\0mal"), "line 2 holds a NUL byte"),
    "zeros at the end": (text(rows()).encode() + bytes(99), "line 7 holds a NUL byte"),
    "a line of 10 MB": (text(rows()[:2]) + "x" * 10**7, "line 3 is not a row of a CSV (it has more than 131072 characters"),
    "more than 64 MB": (b" " * (2**26 + 1), "more than 64 MB"),
    "a number of 200 digits": (with_cell(2, 5, "1" * 200), "row 3: x3 is '1111111111111111111111111111111111111111...', a pixel of no picture"),
    "a number of 400 digits": (with_cell(2, 5, "1" * 400), "row 3: x3 is '1111111111111111111111111111111111111111...', not finite"),
    "nan": (with_cell(3, 7, "nan"), "row 4: x4 is 'nan', not finite"),
    "inf": (with_cell(3, 8, "-Infinity"), "row 4: y4 is '-Infinity', not finite"),
    "N/A": (with_cell(3, 7, "#N/A"), "row 4: x4 is '#N/A', not a number"),
    "a date of Excel": (with_cell(0, 1, "12-Mar"), "row 1: x1 is '12-Mar', not a number"),
    "a hexadecimal": (with_cell(0, 1, "0x10"), "row 1: x1 is '0x10', not a number"),
    "other digits": (with_cell(0, 1, "\uff11\uff12"), "not a number"),
    "one coordinate alone": (with_cell(1, 3, ""), "row 2: point 2 has only one coordinate"),
    "no point": (text([[*rows()[0][:1], *[""] * 30, "COVID-1"], *rows()[1:]]), "row 1: no point at all"),
    "a point of 16": (with_cell(2, 9, "7,8"), "row 3: 33 columns instead of 32"),
    "a decimal comma": (with_cell(4, 9, "7,5"), "row 5: 33 columns instead of 32"),
    "decimal commas between commas": (text(with_commas(rows())), "semicolons between the columns"),
    "a row of 14 points": (text([*rows()[:3], rows()[3][:29] + rows()[3][-1:], *rows()[4:]]), "row 4: 30 columns instead of 32"),
    "the last line cut": (text(rows())[:-70], "row 6: "),
    "14 points": (text([row[:29] + row[-1:] for row in rows()]), "30 columns, 14 points instead of 15"),
    "16 points": (text([[*row[:-1], "1", "2", row[-1]] for row in rows()]), "34 columns, 16 points instead of 15"),
    "a header with a gap": (HEADER.replace("y2", "z2") + text([[row[-1], *row[1:-1]] for row in rows()]), "row 1: the header lacks y2"),
    "a header with a double": (HEADER.replace("y2", "x2") + text([[row[-1], *row[1:-1]] for row in rows()]), "row 1: the header has x2 twice"),
    "a header without a name": (HEADER.replace("image", "patient") + text([[row[-1], *row[1:-1]] for row in rows()]), "call it 'image'"),
    "a header of other words": ("n," + ",".join(f"p{k}" for k in range(30)) + ",image\n" + text(rows()), "row 1: a header that does not name its columns"),
    "a remark": ("# mine\n" + text(rows()), "row 1: 1 columns instead of 32"),
    "fractions": (text([[row[0], *(f"{(int(value) + .5) / 64:.4f}" for value in row[1:-1]), row[-1]] for row in rows()]), "rows 1 to 6: of every picture all its coordinates are about 0 to 1: fractions"),
    "one row of fractions": (text([*rows()[:4], ["4", *["0.5", "0.25"] * 15, "Normal-5"], rows()[5]]), "row 5: all its coordinates are about 0 to 1"),
    "a name twice": (with_cell(3, -1, "COVID-1"), "row 4: 'COVID-1' stands already in row 1; keep one"),
    "a name twice, once with an ending": (with_cell(3, -1, "COVID-1.PNG"), "row 4: 'COVID-1.PNG' stands already in row 1"),
    "a name twice, in two spellings of an accent": (with_cell(0, -1, "a\u00e9-1").replace("COVID-4", "ae\u0301-1"), "stands already in row 1"),
    "no name": (with_cell(3, -1, " "), ""),
    "a way up": (with_cell(3, -1, "../../x"), "row 4: '../../x' names a folder; give the bare file name"),
    "an absolute path": (with_cell(3, -1, "/etc/passwd"), "row 4: '/etc/passwd' names a folder"),
    "a path of Windows": (with_cell(3, -1, "C:\\x.png"), "names a folder"),
    "a drive of Windows": (with_cell(3, -1, "C:x.png"), "names a folder"),
    "the folder above": (with_cell(3, -1, ".."), "row 4: '..' names a folder"),
    "colours of a terminal": (with_cell(3, -1, "\x1b[31mred"), "row 4: the picture name '\\x1b[31mred' holds"),
    "writing backwards": (with_cell(3, -1, "COVID-4\u202e"), "row 4: the picture name 'COVID-4\\u202e' holds"),
    "a very long name": (with_cell(3, -1, "x" * 300), "row 4: the picture name 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...' has 300 characters"),
    "a line break in quotes": (with_cell(2, -1, '"Viral\nPneumonia-3"'), "row 3: the picture name 'Viral\\nPneumonia-3' holds a line break"),
    "a quotation mark never closed": (with_cell(2, -1, '"Viral Pneumonia-3'), "row 3: "),
    "a file of LabelMe": (json.dumps({"version": "5", "shapes": [], "imagePath": "a.png"}), "looks like a file of LabelMe"),
    "a file of COCO": ('{"images": [], "annotations": []}', "looks like a file of COCO"),
    "another JSON": ("[1, 2]", "is JSON, not a table"),
    "an export of VIA": (VIA, "looks like an export of VIA"),
    "a table of DeepLabCut": ("scorer,me,me\nbodyparts,L1,L1\ncoords,x,y\na.png,1,2\n", "looks like a table of DeepLabCut"),
    "a point a line": ("image,label,x,y\nCOVID-1,L1,3,4\n", "one point a line"),
    "bars": (text(rows(), "|"), "most lines have 1 columns"),
    "two columns": ("a,b\n1,2\n", "no landmarks"),
    "a picture": (bytes(range(1, 256)), "is not UTF-8"),
}


@pytest.mark.parametrize("case", BAD)
def test_everything_else_is_one_line_with_its_place(case, tmp_path):
    content, words = BAD[case]
    path = tmp_path / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        read_annotations(path)
    message = str(caught.value)
    assert str(path) in message and words in message, message
    assert len(message.splitlines()[0]) < 450 and message.isprintable() or "\n  " in message


LONG = {
    "half a million short lines": (b"1\n" * 2**18, "most lines have 1 columns", 1000),
    "as many, with a good beginning": (HEADER.encode() + b"1\n" * 2**18, "has more than 200000 rows", 1000),
    "a row of a million cells": (text(rows()).encode() + b"1," * 2**20, "line 7 is not a row of a CSV (it has more than 131072 characters", 10),
    "a row of a million cells, on as many lines": (text(rows()).encode() + b'"\n",' * 2**18, "line 7 is not a row of a CSV (it has more", 10),
}


@pytest.mark.parametrize("case", LONG)
def test_a_table_without_end_costs_no_more_than_a_long_one(case, tmp_path, monkeypatch):
    """Counted in rows that are parsed, not in seconds: half a million lines that are no table took 4 s, and 64 MB of them would take memory, too."""
    content, words, most = LONG[case]
    (tmp_path / "t.csv").write_bytes(content)
    kept, cells = [], data._cells

    def counted(*arguments):
        found = cells(*arguments)
        kept.append(len(found))
        return found

    monkeypatch.setattr(data, "_cells", counted)
    with pytest.raises(DataError) as caught:
        read_annotations(tmp_path / "t.csv")
    assert words in str(caught.value) and max(kept, default=0) <= most


def test_problems_without_end_are_counted_not_kept(tmp_path):
    """Every cell of 2000 rows is wrong: a thousand are told, the others counted."""
    table = HEADER + "".join(f"COVID-{k}," + ",".join(["x"] * 30) + "\n" for k in range(2000))
    good = HEADER + text([[row[-1], *row[1:-1]] for row in rows()])
    (tmp_path / "t.csv").write_text(good + table[len(HEADER) :].replace("COVID", "Normal-x"))
    annotations, problems = data._parse_annotations(tmp_path / "t.csv")
    assert len(annotations) == 6 and len(problems) < 1100 and sum(problem.count for problem in problems) == 60_000
    with pytest.raises(DataError) as caught:
        read_annotations(tmp_path / "t.csv")
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("t.csv: 60000 problems") and lines[-1].strip() == "... and 59980 more" and len(lines) == 22


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data" / "images").mkdir(parents=True)
    for name, picture in zip(NAMES, PICTURES, strict=True):
        cv2.imwrite(str(tmp_path / "data" / "images" / f"{name}.png"), picture)
    return tmp_path / "data"


def fatal(folder, content: str, label_size: int | None = 0) -> list[str]:
    (folder / "labels.csv").write_text(content)
    return [problem.text for problem in check_data(folder, label_size=label_size).problems if problem.fatal]


def test_labels_that_cannot_be_of_these_pictures(folder):
    assert fatal(folder, text(rows())) == []
    swapped = fatal(folder, text(rows(PIXELS[:, list(FLIP_PERMUTATION)])))
    assert len(swapped) == 6 and swapped[3].startswith("row 4: COVID-4: left and right are swapped")
    upside_down = fatal(folder, text(rows([63, 63] - PIXELS)))
    assert len(upside_down) == 6 and "stands on its head" in upside_down[0]
    assert len(fatal(folder, text(rows(PIXELS[..., ::-1])))) == 6
    outside = fatal(folder, text(rows(PIXELS + 500)))
    assert outside[1] == "row 2: Normal-2: every point lies outside the picture (64 x 64)"
    assert "axis takes" in fatal(folder, text(rows()), label_size=100_000)[0]
    assert "one point: no axis" in " ".join(fatal(folder, text(rows(PIXELS * 0 + 30))))
    for count in (14, 16):
        assert fatal(folder, headed(count))[0] == f"the table has {count} points a picture; the scheme has 15, L1 to L15"


@pytest.mark.parametrize("case", ["fractions", "Latin-1", "a way up", "14 points", "a file of LabelMe", "a row of 14 points"])
def test_a_training_stops_at_once_and_leaves_nothing(case, folder, tmp_path, capsys):
    content, words = BAD[case]
    (folder / "labels.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    before = sorted(tmp_path.rglob("*"))
    commands = [["train-landmarks", "--data", folder, "--recipe", "smoke", "--label-size", "0", "--out", tmp_path / "run"], ["check-data", folder, "--label-size", "0"]]
    for command in commands:
        assert main([str(word) for word in command]) == 2
        said = capsys.readouterr()
        assert words in said.err + said.out and "labels.csv" in said.err + said.out + str(folder / "labels.csv")
        assert said.err.count("\n") == (command[0] == "train-landmarks" or not said.out) and "Traceback" not in said.err
        assert sorted(tmp_path.rglob("*")) == before


def test_two_columns_of_classes_are_refused_as_two_of_names_are(tmp_path):
    (tmp_path / "points.csv").write_text("image,label,class,x1,y1,x2,y2\na,film 0,COVID,1,2,3,4\n")
    with pytest.raises(DataError, match="2 columns of classes, not one; call it"):
        read_annotations(tmp_path / "points.csv")
