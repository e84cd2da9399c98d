"""Pictures and folders as they come: read by their content, or refused by name; no loop, no foreign program, no way out of the folder."""

import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from landmark_thesis.cli import main
from landmark_thesis.data import DataError, find_dataset, load_data, read_image
from landmark_thesis.evaluate import picture_files
from landmark_thesis.landmarks import fractions_to_pixels
from landmark_thesis.phantom import phantoms

GREY = phantoms(1, size=64)[0][0]


def saved(path: Path, image: Image.Image = None, **options) -> Path:
    (Image.fromarray(GREY) if image is None else image).save(path, **options)
    return path


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def test_every_kind_of_picture_is_read_as_the_same_grey(tmp_path):
    picture = Image.fromarray(GREY)
    exact = {
        "grey.png": {}, "grey.tif": {}, "grey.bmp": {}, "wrong-ending.jpg": {"format": "PNG"}, "no-ending": {"format": "PNG"}, "UPPER.PNG": {"format": "PNG"},
        "n\u00e4me \u80ba.png": {}, f"{'x' * 200}.png": {},
    }
    for name, options in exact.items():
        assert np.array_equal(read_image(saved(tmp_path / name, **options)), GREY), name
    alpha = Image.merge("LA", (picture, Image.new("L", picture.size, 255)))
    for name, variant in {"rgb": picture.convert("RGB"), "rgba": alpha.convert("RGBA"), "la": alpha, "palette": picture.convert("P")}.items():
        assert np.array_equal(read_image(saved(tmp_path / f"{name}.png", variant)), GREY), name
    sixteen = Image.fromarray(GREY.astype(np.uint16) * 257)
    stretched = np.rint((GREY.astype(float) - GREY.min()) * 255 / float(np.ptp(GREY)))
    assert np.array_equal(read_image(saved(tmp_path / "sixteen.png", sixteen)), stretched)
    for name, variant in {"cmyk.jpg": picture.convert("CMYK"), "cmyk.tif": picture.convert("CMYK")}.items():
        assert np.abs(read_image(saved(tmp_path / name, variant)).astype(int) - GREY).mean() < 5, name  # of 255: what JPEG loses of such a small picture; an inverted one differs by 100
    wide, turned = Image.fromarray(GREY[:40]), Image.Exif()
    turned[0x0112] = 6
    assert read_image(saved(tmp_path / "turned.jpg", wide, exif=turned, quality=95)).shape == (64, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tif", "jpg", "lzw.tif"])
def test_a_turned_picture_stands_upright_whatever_its_file(kind, orientation, tmp_path):
    picture, turned = Image.fromarray(np.repeat(np.arange(40, 240, 4, np.uint8)[:, None], 30, 1)), Image.Exif()  # a ramp: what is scattered shows
    turned[0x0112] = orientation
    options = {"jpg": {"quality": 100}, "lzw.tif": {"compression": "tiff_lzw"}}.get(kind, {})
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(saved(tmp_path / f"x.{kind}", picture, exif=turned, **options).read_bytes())))
    assert np.array_equal(read_image(tmp_path / f"x.{kind}"), np.asarray(upright)) and upright.size == ((50, 30) if orientation > 4 else (30, 50))
    steps = np.abs(np.diff(np.asarray(upright).astype(int), axis=1 if orientation > 4 else 0))
    assert abs(steps.mean() - 4) < 0.1


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_in_which_0_is_white_is_turned_round_at_any_depth(bits, tmp_path):
    ramp = np.repeat(np.arange(64, dtype=np.uint16)[None] * 4, 64, 0) * (1 if bits == 8 else 257)
    grey = {}
    for name, photometric in (("black", 1), ("white", 0)):
        entries = [(256, 3, 64), (257, 3, 64), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8), (277, 3, 1), (278, 3, 64), (279, 4, 4096 * bits // 8)]
        pixels = ramp.astype("<u2" if bits == 16 else np.uint8).tobytes()
        tags = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHIHH", tag, kind, 1, value, 0) for tag, kind, value in entries) + bytes(4)
        (tmp_path / f"{name}.tif").write_bytes(b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + tags)
        grey[name] = read_image(tmp_path / f"{name}.tif").astype(int)
    assert np.array_equal(grey["white"], 255 - grey["black"]) and grey["black"][0, 0] == 0 and grey["black"][0, -1] > 250


def test_colour_of_16_bits_is_refused_and_not_cut_to_8(tmp_path):
    deep = np.stack([GREY.astype(np.uint16) * 16] * 3, -1)  # 12 bits in 16, as many detectors write
    for name, pixels in {"rgb.png": deep, "rgba.png": np.dstack([deep, deep[..., :1]]), "rgb.tif": deep}.items():
        assert cv2.imwrite(str(tmp_path / name), pixels)
        with pytest.raises(DataError, match="of 16 bits, of which Pillow keeps 8; save it as 16-bit grey"):
            read_image(tmp_path / name)
    cv2.imwrite(str(tmp_path / "grey.png"), deep[..., 0])
    assert read_image(tmp_path / "grey.png").max() == 255


BROKEN = {
    "truncated.png": lambda path: path.write_bytes(saved(path).read_bytes()[:900]),
    "truncated.jpg": lambda path: path.write_bytes(saved(path).read_bytes()[:700]),
    "zero.png": lambda path: path.write_bytes(b""),
    "text.png": lambda path: path.write_text("a letter"),
    "one.png": lambda path: saved(path, Image.fromarray(GREY[:1, :1])),
    "film.png": lambda path: saved(path, save_all=True, append_images=[Image.fromarray(255 - GREY)]),
    "film.tif": lambda path: saved(path, save_all=True, append_images=[Image.fromarray(255 - GREY)]),
    "bomb.png": lambda path: path.write_bytes(png_that_claims(9000, 9000)),
    "great-bomb.png": lambda path: path.write_bytes(png_that_claims(2**31 - 1, 2**31 - 1)),
    "ribbon.png": lambda path: path.write_bytes(png_that_claims(16, 1_000_000)),
    "nothing-wide.png": lambda path: path.write_bytes(png_that_claims(0, 9)),
    "gif.png": lambda path: saved(path, format="GIF"),
    "webp.png": lambda path: saved(path, format="WEBP"),
    "program.png": lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nquit\n"),
    "nan.tif": lambda path: saved(path, Image.fromarray(np.full((64, 64), np.nan, np.float32))),
    "folder.png": lambda path: path.mkdir(),
    "below/a-file.png": lambda path: path.parent.write_text("no folder"),
    "missing.png": lambda path: None,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BROKEN)
def test_broken_pictures_are_refused_by_name_in_one_line(name, tmp_path):
    BROKEN[name](tmp_path / name)
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ") and "\n" not in str(caught.value) and len(str(caught.value)) < 400


def film(count: int) -> bytes:
    """A TIFF of `count` pictures that share their pixels."""
    entries = [(256, 3, 32), (257, 3, 32), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 3, 32), (279, 4, 1024)]
    length, start = 2 + 12 * len(entries) + 4, 8 + 1024
    content = b"II*\0" + struct.pack("<I", start) + bytes(range(256)) * 4
    for number in range(count):
        content += struct.pack("<H", len(entries))
        content += b"".join(struct.pack("<HHIHH", tag, kind, 1, value, 0) for tag, kind, value in entries)
        content += struct.pack("<I", start + (number + 1) * length if number < count - 1 else 0)
    return content


def test_a_film_of_thousands_is_refused_at_its_second_picture(tmp_path, monkeypatch):
    from PIL import TiffImagePlugin

    steps, seek = [], TiffImagePlugin.TiffImageFile._seek
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "_seek", lambda self, frame: (steps.append(frame), seek(self, frame))[1])
    (tmp_path / "film.tif").write_bytes(film(3000))
    with pytest.raises(DataError, match="several pictures in one file"):
        read_image(tmp_path / "film.tif")
    assert max(steps) == 1
    (tmp_path / "one.tif").write_bytes(film(1))
    assert np.array_equal(read_image(tmp_path / "one.tif"), np.tile(np.arange(256, dtype=np.uint8), 4).reshape(32, 32))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes, which this system lacks")
def test_a_pipe_or_a_device_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "endless.png"):
        with pytest.raises(DataError, match=f"{name}: is a pipe or a device"):
            read_image(tmp_path / name)


def data_folder(place: Path, names=("COVID-1", "Normal-2")) -> Path:
    pictures, points, _ = phantoms(len(names), size=64)
    place.mkdir(parents=True, exist_ok=True)
    lines = []
    for k, (name, picture, xy) in enumerate(zip(names, pictures, points, strict=True)):
        Image.fromarray(picture).save(place / f"{name}.png")
        lines.append(",".join(map(str, [k, *np.rint(fractions_to_pixels(xy, 64)).astype(int).ravel().tolist(), name])))
    (place / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return place


def test_links_lead_round_but_not_for_ever(tmp_path):
    folder = data_folder(tmp_path / "data")
    (folder / "loop").symlink_to(folder)
    (folder / "deep").mkdir()
    (folder / "deep" / "up").symlink_to(tmp_path)
    (folder / "itself").symlink_to(folder / "itself")
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    if hasattr(os, "mkfifo"):  # Windows has neither
        os.mkfifo(folder / "pipe.csv")
        (folder / "endless.csv").symlink_to("/dev/zero")
    assert set(find_dataset(folder).images) == {"COVID-1", "Normal-2"}


def test_a_name_never_leads_out_of_the_folder(tmp_path):
    folder = data_folder(tmp_path / "data")
    Image.fromarray(GREY).save(tmp_path / "outside.png")
    table = (folder / "labels.csv").read_text()
    for name in ("../outside", "../outside.png", str(tmp_path / "outside.png")):
        (folder / "labels.csv").write_text(table.replace("COVID-1", name))
        with pytest.raises(DataError, match="names a folder; give the bare file name"):
            load_data(folder, label_size=0)


def test_names_in_any_script_and_either_spelling(tmp_path):
    names = ["\u80ba-1", "n\u00e9e-2", "\u0440\u0435\u043d\u0442\u0433\u0435\u043d-3", "x" * 240, "-rf", "a b.c-4"]
    folder = data_folder(tmp_path / "data", names)
    assert load_data(folder, label_size=0).names == tuple(names)
    (folder / "n\u00e9e-2.png").rename(folder / "ne\u0301e-2.png")  # as a Macintosh spells it
    assert load_data(folder, label_size=0).names == tuple(names)


def test_two_tables_or_none_are_one_line(tmp_path, capsys):
    folder = data_folder(tmp_path / "data")
    (folder / "again.csv").write_bytes((folder / "labels.csv").read_bytes())
    (tmp_path / "none").mkdir()
    (tmp_path / "wrong").mkdir()
    for number in range(5):
        (tmp_path / "wrong" / f"{number}.csv").write_text("a,b\n1,2\n")
    for place, words in ((folder, "2 tables of landmarks"), (tmp_path / "none", "no .csv below it"), (tmp_path / "wrong", "and 2 more CSV files"),
                         (tmp_path / "nowhere", "no such folder"), (folder / "labels.csv", "no such folder"), (Path("x" * 5000), "x")):
        assert main(["check-data", str(place)]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1, error


def test_a_folder_of_pictures_to_predict_on(tmp_path):
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "nowhere", Path("x" * 5000)):
        with pytest.raises((DataError, OSError)):
            picture_files([place])
