"""Tests of nbs/03_data.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


from landmark_thesis import data as chapter

# The notebook's cells see every name of its module; so do its tests.
globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})


# cell d160530f
def sample_folder(folder, n=6, size=299, start=0):
    """A small data set in the thesis' layout, from phantoms; returns the folder."""
    images, points, _ = phantoms(n, start=start, size=size)
    lines = []
    for k, (image, xy) in enumerate(zip(images, points, strict=True)):
        name = f"{('COVID', 'Normal', 'Viral Pneumonia')[k % 3]}-{k + 1}"
        path = folder / "images" / name.rsplit("-", 1)[0].replace(" ", "_") / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
        pixels = np.rint(fractions_to_pixels(xy, size)).astype(int).ravel()
        lines.append(",".join(map(str, [k, *pixels, name])))
    (folder / "landmarks.csv").write_text("\n".join(lines) + "\n")
    return folder


def complaint(function, *arguments, **options):
    """The text of the DataError that a call must end in."""
    try:
        function(*arguments, **options)
    except DataError as error:
        return str(error)
    raise AssertionError("no DataError was raised")


# cell f4caa94e
def test_write_whole_leaves_old_or_new(tmp_path, monkeypatch):
    path = write_whole(tmp_path / "deep" / "split.json", b"old")
    assert path.read_bytes() == b"old"

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    try:
        write_whole(path, b"new and longer")
        raise AssertionError("the interrupt was swallowed")
    except KeyboardInterrupt:
        pass
    assert path.read_bytes() == b"old"
    assert [file.name for file in path.parent.iterdir()] == ["split.json"]


# cell 3619f7d6
def test_every_format_gives_the_same_grey(tmp_path):
    grey = phantoms(1, size=64)[0][0]
    picture = Image.fromarray(grey)
    palette = picture.convert("P")
    variants = {"L": picture, "RGB": picture.convert("RGB"), "RGBA": picture.convert("RGBA"), "LA": picture.convert("LA"), "P": palette}
    for mode, variant in variants.items():
        variant.save(tmp_path / f"{mode}.png")
        assert np.array_equal(read_image(tmp_path / f"{mode}.png"), grey), mode
    stretched = np.rint((grey.astype(float) - grey.min()) * (255 / (grey.max() - grey.min()))).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "deep.png"), grey.astype(np.uint16) * 16)  # 12 bits in 16
    assert np.array_equal(read_image(tmp_path / "deep.png"), stretched)
    picture.save(tmp_path / "picture.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "picture.jpg").astype(int) - grey).mean() < 2
    assert pixel_hash(read_image(tmp_path / "RGB.png")) == pixel_hash(grey) != pixel_hash(grey.reshape(32, 128))


# cell cfddc529
def test_exif_rotation_and_transparency(tmp_path):
    grey = phantoms(1, size=64)[0][0][:40]
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: show it turned clockwise
    Image.fromarray(grey).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png"), np.rot90(grey, -1))
    clear = np.dstack([np.full((20, 20, 3), 200, np.uint8), np.zeros((20, 20), np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png") == 0).all()


# cell cbc7727c
def test_broken_pictures_are_refused_by_name(tmp_path):
    image = Image.fromarray(phantoms(1, size=64)[0][0])
    image.save(tmp_path / "whole.png")
    for extension in ("png", "jpg"):
        image.save(tmp_path / f"cut.{extension}")
        content = (tmp_path / f"cut.{extension}").read_bytes()
        (tmp_path / f"cut.{extension}").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not a picture")
    image.resize((1, 1)).save(tmp_path / "dot.png")
    image.save(tmp_path / "film.png", save_all=True, append_images=[image.rotate(5)])
    header = bytearray((tmp_path / "whole.png").read_bytes())
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(header)
    words = {"cut.png": "cannot be read", "cut.jpg": "cannot be read", "empty.png": "cannot be read", "text.png": "cannot be read"}
    words |= {"dot.png": "1 x 1", "film.png": "several pictures", "bomb.png": "", "missing.png": "no such picture"}
    for name, word in words.items():
        text = complaint(read_image, tmp_path / name)
        assert name in text and word in text and "\n" not in text, text


# cell 73724512
def test_frame_and_preprocess_agree_on_a_dot():
    for height, width in ((100, 60), (61, 100), (300, 300), (700, 500)):
        image = np.zeros((height, width), np.uint8)
        where = np.array([[width * 0.7, height * 0.3]])
        y, x = np.mgrid[:height, :width]
        image = np.rint(255 * np.exp(-((x - where[0, 0]) ** 2 + (y - where[0, 1]) ** 2) / (2 * (max(height, width) / 25) ** 2))).astype(np.uint8)
        frame = Frame(height, width)
        square = preprocess(image, PreprocessSettings(clahe_clip=0)).astype(float)
        rows, columns = np.mgrid[:224, :224]
        seen = np.array([(columns * square).sum(), (rows * square).sum()]) / square.sum()
        assert np.allclose(seen, fractions_to_pixels(frame.to_square(where), 224)[0], atol=0.02)


def test_preprocess_sizes_and_refusals():
    image = phantoms(1, size=299)[0][0]
    assert np.array_equal(preprocess(image, PreprocessSettings(size=299, clahe_clip=0)), image)
    assert preprocess(image[:50], PreprocessSettings(size=96)).shape == (96, 96)
    assert np.array_equal(preprocess(image), cv2.resize(cv2.createCLAHE(2.0, (4, 4)).apply(image), (224, 224)))
    assert "uint8" in complaint(preprocess, image.astype(float)) and "(H, W)" in complaint(preprocess, image[None])


# cell 18d8b036
def test_dialects_of_one_table(tmp_path):
    folder = sample_folder(tmp_path, n=3, size=64)
    plain = read_annotations(folder / "landmarks.csv")
    assert plain.points_px.shape == (3, 15, 2) and plain.rows == (1, 2, 3)
    assert plain.categories == ("COVID", "Normal", "Viral Pneumonia") and plain.names[2] == "Viral Pneumonia-3"
    text = (folder / "landmarks.csv").read_text()
    header = "image,class," + ",".join(f"{axis}{k}" for k in range(1, 16) for axis in "xy") + "\n"
    rows = [line.split(",") for line in text.splitlines()]
    named = header + "".join(",".join([row[-1] + ".png", "A", *row[1:-1]]) + "\n" for row in rows)
    variants = {"bom": "\ufeff" + text, "crlf": text.replace("\n", "\r\n"), "semicolon": text.replace(",", ";"), "tab": text.replace(",", "\t")}
    variants |= {"comma": "\n".join(";".join([r[0], *[v + ",0" for v in r[1:-1]], r[-1]]) for r in rows), "UTF-16": text}
    variants |= {"excel": "sep=;\n" + text.replace(",", ";"), "spare": text.replace("\n", ",,\n"), "header": named}
    for kind, variant in variants.items():
        (tmp_path / "variant.csv").write_bytes(variant.encode("utf-16" if kind == "UTF-16" else "utf-8"))
        read = read_annotations(tmp_path / "variant.csv")
        assert np.array_equal(read.points_px, plain.points_px), kind
    assert read.names[0] == "COVID-1.png" and read.categories == ("A", "A", "A") and read.rows == (2, 3, 4)


# cell 79c357fe
def test_all_faults_at_once_with_their_rows(tmp_path):
    folder = sample_folder(tmp_path, n=9, size=64)
    rows = [line.split(",") for line in (folder / "landmarks.csv").read_text().splitlines()]
    rows[0] = rows[0][:-2] + rows[0][-1:]
    rows[1][3], rows[2][4], rows[3][5] = "1_000", "nan", "-inf"
    rows[4][-1] = rows[5][-1]
    rows[6][-1], rows[7][-1] = "images/COVID-7", ""
    rows[8][1] = ""
    (folder / "landmarks.csv").write_text("\n".join(map(",".join, rows)))
    lines = complaint(read_annotations, folder / "landmarks.csv").splitlines()
    assert lines[0].endswith("8 problems")
    wanted = ["row 1: 31 columns instead of 32", "row 2: x2 is '1_000', not a number", "row 3: y2 is 'nan', not finite"]
    wanted += ["row 4: x3 is '-inf', not finite", f"row 6: '{rows[5][-1]}' stands already in row 5; keep one"]
    wanted += ["row 7: 'images/COVID-7' names a folder", "row 8: no picture name", "row 9: point 1 has only one coordinate"]
    for line, text in zip(lines[1:], wanted, strict=True):
        assert line.strip().startswith(text), line


# cell c48751a1
def test_missing_points_and_hopeless_tables(tmp_path):
    folder = sample_folder(tmp_path, n=3, size=64)
    text = (folder / "landmarks.csv").read_text()
    rows = [line.split(",") for line in text.splitlines()]
    rows[0][1] = rows[0][2] = ""
    table = folder / "landmarks.csv"
    table.write_text("\n".join(map(",".join, rows)))
    assert np.isnan(read_annotations(table).points_px[0, 0]).all() and np.isfinite(read_annotations(table).points_px[1:]).all()
    hopeless = {"is empty": b"", "UTF-8": "n\u00e4me;1".encode("latin-1"), "line 1 holds a NUL byte": text.encode("utf-16-le"), "no landmarks": b"a,b\n1,2\n"}
    hopeless |= {"62 columns": "\n".join(",".join([r[0], *[v + ",5" for v in r[1:-1]], r[-1]]) for r in rows[1:]).encode()}
    hopeless |= {"header lacks y2": b"image,x1,y1,x2\na,1,2,3\n", "one; call it 'image'": b"x1,y1\n1,2\n"}
    for word, content in hopeless.items():
        table.write_bytes(content)
        message = complaint(read_annotations, table)
        assert word in message and "\n" not in message, message


# cell 8b6e305d
def test_layouts_links_and_double_pictures(tmp_path):
    folder = sample_folder(tmp_path / "data", n=3, size=64)
    for path in sorted((folder / "images").iterdir()):  # now as Kaggle has it, masks beside images
        (path / "images").mkdir()
        (path / "masks").mkdir()
        for picture in path.glob("*.png"):
            (path / "masks" / picture.name).write_bytes(picture.read_bytes())
            picture.rename(path / "images" / picture.name)
    (folder / "loop").symlink_to(folder)
    (folder / "provenance.csv").write_text("name,class\nCOVID-1,COVID\n")
    cv2.imwrite(str(folder / "contact_sheet.png"), np.zeros((64, 64), np.uint8))
    files = find_dataset(folder)
    assert set(files.images) == {"COVID-1", "Normal-2", "Viral Pneumonia-3"} and files.unlabelled == 1
    assert [path.name for path in files.ignored] == ["provenance.csv"]
    assert len(load_data(folder, label_size=0)) == 3
    (folder / "copy").mkdir()
    (folder / "copy" / "COVID-1.png").write_bytes(files.images["COVID-1"].read_bytes())
    assert "row 1: 'COVID-1' is found 2 times" in complaint(load_data, folder, label_size=0)
    (folder / "again.csv").write_bytes(files.csv.read_bytes())
    assert "2 tables of landmarks" in complaint(find_dataset, folder)
    assert "no such folder" in complaint(find_dataset, folder / "nowhere")
    assert "no .csv below it" in complaint(find_dataset, folder / "copy")


# cell 93559571
def test_labels_keep_their_place_at_any_size(tmp_path):
    folder = sample_folder(tmp_path, n=2, size=64)
    wanted = load_data(folder, label_size=64).points
    assert torch.equal(load_data(folder, label_size=0).points, wanted)
    for path in folder.rglob("*.png"):  # the same pictures at twice the size; labels still of 64
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path), 0), (128, 128)))
    assert torch.allclose(load_data(folder, label_size=64).points, wanted, atol=1e-6)
    assert torch.allclose(load_data(folder, label_size=0).points, (wanted * 64) / 128, atol=1e-6)
    assert "--label-size 299" in complaint(load_data, folder) and "-1" in complaint(load_data, folder, label_size=-1)


def stated(folder, size):
    """The table of a sample folder again, with a header and the size of the labelled files as it would state it: a list, one a row."""
    columns = [f"{axis}{k}" for k in range(1, 16) for axis in "xy"]
    rows = [line.split(",") for line in (folder / "landmarks.csv").read_text().splitlines()]
    lines = [["image", *columns, "file_width", "file_height"], *([row[-1], *row[1:-1], *sides] for row, sides in zip(rows, size, strict=True))]
    (folder / "landmarks.csv").write_text("\n".join(map(",".join, lines)) + "\n")
    return folder


def test_a_table_may_say_on_files_of_which_size_it_was_made(tmp_path):
    wanted = load_data(sample_folder(tmp_path / "a", n=2, size=64), label_size=0).points
    folder = stated(tmp_path / "a", [("64", "64")] * 2)
    assert torch.equal(load_data(folder).points, wanted) and check_data(folder).ok
    cv2.imwrite(str(find_dataset(folder).images["COVID-1"]), np.zeros((128, 128), np.uint8))
    assert "row 2: COVID-1 was labelled as 64 x 64, but is 128 x 128" in complaint(load_data, folder)
    assert len(load_data(folder, label_size=0)) == 2  # who says it on the command line knows better, and is told what the table says
    told = check_data(folder, label_size=0)
    assert told.ok and "row 2: the table says that COVID-1 was labelled as 64 x 64; --label-size 0 overrules it" in str(told.problems)
    assert "overrules" not in str(check_data(folder, label_size=64).problems)
    silent = complaint(load_data, stated(sample_folder(tmp_path / "b", n=2, size=64), [("64", "64"), ("", "")]))
    assert "1 of 2 pictures are of another size (row 3" in silent
    assert "'64' x 'wide' is no size" in complaint(load_data, stated(sample_folder(tmp_path / "c", n=1, size=64), [("64", "wide")]))
    half = (tmp_path / "b" / "landmarks.csv")
    half.write_text(half.read_text().replace("file_height", "height"))
    assert "one column file_width and one column file_height" in complaint(read_annotations, half)


# cell d9b3a2d0
def test_bad_pictures_come_all_at_once(tmp_path):
    folder = sample_folder(tmp_path, n=6)
    files = find_dataset(folder).images
    files["COVID-1"].unlink()
    files["Normal-5"].write_bytes(b"broken")
    cv2.imwrite(str(files["Viral Pneumonia-6"]), np.zeros((5, 5), np.uint8))
    text = complaint(load_data, folder)
    assert "3 problems" in text and "row 1: no picture 'COVID-1'" in text
    assert "row 5" in text and "Normal-5.png" in text and "row 6" in text and "5 x 5" in text


# cell b2120a98
def test_subset_and_device(device):
    data = phantom_data(4, size=64).to(device)
    half = data.subset([data.names[3], data.names[1]])
    assert half.names == ("phantom-000003", "phantom-000001") and half.images.device.type == device.type
    assert torch.equal(half.images[0], data.images[3]) and torch.equal(half.points[1], data.points[1])
    assert half.pixel_hash == {name: data.pixel_hash[name] for name in half.names}
    assert "phantom-9" in complaint(data.subset, ["phantom-9"])
    assert torch.equal(phantom_data(2, start=2, size=64).images, data.images[2:].cpu())


# cell e686ebc3
def test_a_chapter_says_on_what_it_runs(monkeypatch, capsys):
    import pytest

    monkeypatch.delenv("LANDMARK_THESIS_DATA", raising=False)
    assert chapter_setting(device="cpu") == "cpu"
    assert capsys.readouterr().out.endswith("device: cpu | data: phantoms | weights: none\n")
    monkeypatch.setenv("LANDMARK_THESIS_DATA", "folder")
    chapter_setting(weights="tiny")
    assert "data: real pictures (LANDMARK_THESIS_DATA) | weights: tiny" in capsys.readouterr().out
    monkeypatch.setitem(OLDEST, "torch", "99.0")
    with pytest.raises(ImportError, match="need torch 99.0 or newer.*pip install -U"):
        chapter_setting()


# cell ac6667aa
def test_label_grid():
    points = np.random.default_rng(0).integers(0, 64, (50, 15, 2))
    assert label_grid(np.rint(points * 299 / 64), 299) == LabelGrid(64, 299)
    assert round(LabelGrid(64, 299).rounding_px224, 2) == 1.34
    assert label_grid(np.random.default_rng(0).integers(0, 299, (50, 15, 2)), 299) == LabelGrid(299, 299)
    assert label_grid(points + 0.25, 299) is None and label_grid(points[:2], 299) is None


# cell 801ed3ab
def test_copies_are_found_and_strangers_are_not(tmp_path):
    known = phantom_data(30)
    stored = Signatures.of(known.images, known.names)
    assert stored.match() == []
    image = known.images[7].numpy()
    dark = np.rint(255 * (image / 255.0) ** 1.5).astype(np.uint8)
    turned = cv2.warpAffine(image, cv2.getRotationMatrix2D((112, 112), 6, 1.0), (224, 224))
    jpeg = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 0)
    small = cv2.resize(cv2.resize(image, (150, 150), interpolation=cv2.INTER_AREA), (224, 224))
    cropped = cv2.resize(image[19:, 19:], (224, 224))
    copies = {"same": image, "dark": dark, "turned": turned, "jpeg": jpeg, "small": small, "cropped": cropped, "mirrored": image[:, ::-1]}
    copies |= {"clahe": cv2.createCLAHE(2.0, (8, 8)).apply(image)}
    found = find_copies(np.stack(list(copies.values())), list(copies), stored)
    assert {name for name, _, _ in found} == set(copies) and {name for _, name, _ in found} == {"phantom-000007"}
    assert found[0][2] == KEYPOINTS
    again = Signatures.load(stored.save(tmp_path / "signatures.npz"))
    assert again.names == stored.names and all(
        np.array_equal(getattr(again, field), getattr(stored, field)) for field in ("counts", "places", "descriptors", "digests")
    )
    assert stored.subset(["phantom-000007"]).match(again) == [(0, 7, KEYPOINTS)]
    for empty in (Signatures.of([]), stored.subset(["phantom-000003"])):
        assert Signatures.load(empty.save(tmp_path / "signatures.npz")).names == empty.names
    (tmp_path / "signatures.npz").write_bytes(b"no")
    assert "signatures.npz" in complaint(Signatures.load, tmp_path / "signatures.npz")


def test_signatures_that_cannot_be_are_refused(tmp_path):
    path, good = tmp_path / "signatures.npz", Signatures.of(phantom_data(3, size=32).images)
    wrong = {
        "counts is float64": {"counts": good.counts.astype(float)}, "descriptors is float32": {"descriptors": good.descriptors.astype(np.float32)},
        "speak of 2 and 3 pictures": {"names": good.names[:2]}, "cannot be, or a name": {"counts": good.counts - 151}, "a name that comes twice": {"names": ("0", "1", "1")},
        "count of keypoints that cannot be": {"counts": good.counts + 151}, "places is uint8 (3, 150)": {"places": good.places[..., 0]},
        "digests is uint8 (3, 16)": {"digests": good.digests[:, :16]}, "2 and 3": {"descriptors": good.descriptors[:2]},
    }
    for why, change in wrong.items():
        assert why in complaint(Signatures.load, replace(good, **change).save(path))
    np.savez_compressed(path, counts=good.counts)
    assert "it holds counts, not" in complaint(Signatures.load, path)
    np.savez_compressed(path, **{key: getattr(good, key) for key in ("counts", "places", "descriptors", "digests")}, names=np.array(["0", 1, None], object))
    assert "names is object (3,)" in complaint(Signatures.load, path)


def test_signatures_do_not_unfold_to_any_size(tmp_path):
    path, good = tmp_path / "signatures.npz", Signatures.of(phantom_data(3, size=32).images)
    for shape, zeros, why in (((2**22,), 2**25, "would unfold to 32 MB"), ((2**40,), 8, "counts is int64 (1099511627776,)")):
        good.save(path)
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": shape})
        with zipfile.ZipFile(path) as old:
            others = {name: old.read(name) for name in old.namelist() if name != "counts.npy"}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, content in others.items():
                archive.writestr(name, content)
            with archive.open("counts.npy", "w") as file:
                file.write(header.getvalue())
                for _ in range(max(1, zeros >> 20)):
                    file.write(bytes(min(zeros, 2**20)))
        assert path.stat().st_size < 2**21 and why in complaint(Signatures.load, path)


def test_blank_pictures_do_not_trip_the_search():
    blank = np.zeros((3, 224, 224), np.uint8)
    blank[2] = 7
    assert Signatures.of(blank).match() == [(0, 1, KEYPOINTS)]
    assert near_duplicates(np.zeros((0, 224, 224), np.uint8), []) == []
    assert find_copies(blank, ["a", "b", "c"], Signatures.of([])) == []


# cell c6e1b0bd
def test_real_near_duplicates(real_data):
    data = load_data(real_data)
    pairs = near_duplicates(data.images, data.names)
    assert [pair[:2] for pair in pairs] == [("COVID-192", "COVID-334"), ("COVID-57", "COVID-1054")]
    assert pairs[0][2] >= 90 and pairs[1][2] >= 50
    split = thesis_split(data.names, data.categories, duplicates=pairs, pixel_hash=data.pixel_hash)
    assert [len(names) for names in split.parts.values()] == [716, 144, 96] and len(split.development) == 860
    assert list(split.dropped) == ["COVID-334"] and "COVID-192 in test" in split.dropped["COVID-334"]
    assert split.fingerprint == THESIS_SPLIT_FINGERPRINT and split.fingerprint_of("test") == THESIS_TEST_FINGERPRINT


# cell cdd522ad
def test_split_is_repeatable_saved_and_guarded(tmp_path):
    names = [f"{c}-{k}" for c in "ab" for k in range(40)]
    categories = [name[0] for name in names]
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    split = thesis_split(names, categories, pixel_hash=hashes)
    assert split == thesis_split(names, categories, pixel_hash=hashes) and [len(p) for p in split.parts.values()] == [60, 12, 8]
    assert sorted(name for part in split.parts.values() for name in part) == sorted(names)
    assert thesis_split(names, categories, seed=1).fingerprint != thesis_split(names, categories).fingerprint != split.fingerprint
    assert Split.load(split.save(tmp_path / "split.json")) == split
    shuffled = replace(split, parts={part: members[::-1] for part, members in split.parts.items()})
    assert shuffled.fingerprint == split.fingerprint
    moved = split.to_json().replace(split.parts["test"][0], "a-new", 1)
    assert "changed after it was made" in complaint(Split.from_json, moved)
    for text in ("[]", "{}", "no", '{"parts": 3}'):
        assert "not a split" in complaint(Split.from_json, text)
    assert "two places" in complaint(Split, {"train": ("a",), "test": ("a",)})
    assert "cannot be split" in complaint(thesis_split, names[:3], categories[:3])


# cell fac6a704
def test_near_duplicates_leave_the_earlier_part():
    names = [f"{c}-{k}" for c in "ab" for k in range(40)]
    categories = [name[0] for name in names]
    plain = thesis_split(names, categories).parts
    train, val, test = (plain[part][0] for part in ("train", "val", "test"))
    pairs = [(test, train, 99), (val, test), (plain["train"][1], plain["train"][2]), ("unknown", train)]
    split = thesis_split(names, categories, duplicates=pairs)
    assert set(split.dropped) == {train, val} and split.parts["test"] == plain["test"]
    assert split.dropped[train] == f"left out of train: near-duplicate of {test} in test"
    assert len(split.parts["train"]) == len(plain["train"]) - 1 and len(split.parts["val"]) == len(plain["val"]) - 1


# cell 6223044d
def test_folds():
    names = [f"{c}-{k}" for c in "ab" for k in range(30)]
    categories = [name[0] for name in names]
    chain = [("a-0", "a-9"), ("a-9", "b-3"), ("a-5", "a-6")]
    folds = kfold_splits(names, categories, 5, duplicates=chain, validation=1 / 6)
    assert sorted(name for fold in folds for name in fold.parts["oof"]) == sorted(names)
    for fold in folds:
        assert sorted(name for part in fold.parts.values() for name in part) == sorted(names)
        for part in map(set, fold.parts.values()):
            assert len(part & {"a-0", "a-9", "b-3"}) in (0, 3) and len(part & {"a-5", "a-6"}) in (0, 2)
        assert 10 <= len(fold.parts["oof"]) <= 14 and 7 <= len(fold.parts["val"]) <= 11
    assert kfold_splits(names, categories, 5)[0].parts["val"] == ()
    assert [f.fingerprint for f in kfold_splits(names, categories, 3)] == [f.fingerprint for f in kfold_splits(names, categories, 3)]
    for k in (1, 31):
        assert f"{k} folds" in complaint(kfold_splits, names, categories, k)


# cell bc234818
def test_a_split_holds_nothing_that_the_guard_would_refuse():
    few = phantom_data(6)
    near = {f"near-{k}": phantom_data(1, start=k).images for k in (279, 296)}  # of the phantoms 0 to 399, two that the guard takes for copies
    images = torch.cat([few.images, *near.values(), few.images[:1].flip(2)])
    names = ("0", "1", "2", "3", "4", "5", *near, "mirrored")
    data = LandmarkData(images, torch.zeros(9, 15, 2), names, ("a",) * 9, (Frame(224, 224),) * 9, dict.fromkeys(names, ""))
    signatures = Signatures.of(images, names)
    assert near_duplicates(images, names) == []
    harmless = Split({"train": ("0", "1", "mirrored"), "val": ("2", "3"), "oof": (*near, "4", "5")})
    assert keep_apart(harmless, data, signatures) is harmless
    split = Split({"train": ("1", "2", "mirrored"), "val": ("near-296", "3"), "test": ("0", "near-279", "4")}, dropped={"5": "before"})
    kept = keep_apart(split, data, signatures)
    assert kept.parts == {"train": ("1", "2"), "val": ("3",), "test": split.parts["test"]} and kept.dropped == {
        "5": "before", "mirrored": "left out of train: near-duplicate of 0 in test", "near-296": "left out of val: near-duplicate of near-279 in test"}
    assert keep_apart(Split({"train": ("0", "1"), "val": (), "oof": ("mirrored",)}), data, signatures).parts == {"train": ("1",), "val": (), "oof": ("mirrored",)}
    for later, earlier in (("val", ("train",)), ("test", ("train",)), ("test", ("val",)), ("test", ("train", "val"))):
        known = signatures.subset(name for part in earlier for name in kept.parts[part])
        assert find_copies(data.subset(kept.parts[later]).images, kept.parts[later], known) == []


# cell 2686325f
def test_shape_faults():
    good = phantoms(1, size=64)[1][0].astype(float)
    assert _shape_faults(good) == []
    swapped = good.copy()
    for a, b in SYMMETRIC_PAIRS:
        swapped[[a, b]] = swapped[[b, a]]
    assert _shape_faults(swapped) == [(True, "left and right are swapped: L3, L5, L7, L12, L14 belong to the picture's left")]
    one = good.copy()
    one[[2, 3]] = one[[3, 2]]
    assert _shape_faults(one) == [(False, "the contours cross at L3/L4")]
    back = good.copy()
    back[[2, 4]] = back[[4, 2]]
    assert _shape_faults(back) == [(False, "the left contour runs back on itself")]
    assert _shape_faults(good[:, :] * [1, -1]) == [(True, "L1 lies below L2: the axis stands on its head")]
    good[1] = good[0]
    assert _shape_faults(good) == [(True, "L1 and L2 are one point: no axis")]


# cell 6bfec832
def test_report_names_everything(tmp_path):
    folder = sample_folder(tmp_path, n=9)
    images = find_dataset(folder).images
    images["Normal-2"].write_bytes(images["COVID-1"].read_bytes())
    cv2.imwrite(str(images["Normal-5"]), np.full((299, 299), 9, np.uint8))
    report = check_data(folder)
    assert report.ok and report.counts == {"COVID": 3, "Normal": 3, "Viral Pneumonia": 3}
    assert report.near_duplicates == (("COVID-1", "Normal-2", KEYPOINTS),)
    assert report.grid == LabelGrid(299, 299) and 0 < report.shape_px224 < 0.5
    assert "Normal-5: a single grey value" in report.text()
    assert "error: 9 pictures cannot be split by class: 3 classes" in report.text() and not report.ready and report.text().splitlines()[-1].startswith("not ready")
    images["COVID-7"].unlink()
    report = check_data(folder)
    assert not report.ok and "error: row 7: no picture 'COVID-7'" in report.text() and len(report.data) == 8


# cell e468e61a
def test_real_pictures(real_data):
    files, annotations, data, problems = _load(real_data, PreprocessSettings(), None)
    assert problems == [] and _geometry_problems(data, annotations) == []
    assert Counter(data.categories) == {"COVID": 306, "Normal": 468, "Viral Pneumonia": 183}
    assert set(data.frames) == {Frame(299, 299)} and data.images.shape == (957, 224, 224)
    assert len(set(data.pixel_hash.values())) == 957
    for name in ("Viral Pneumonia-654", "Viral Pneumonia-752"):
        with Image.open(files.images[name]) as image:
            assert image.mode == "RGB" and np.array_equal(read_image(files.images[name]), np.asarray(image)[..., 0])
    grid = label_grid(annotations.points_px, 299)
    assert grid == LabelGrid(64, 299) and round(grid.rounding_px224, 2) == 1.34
    assert torch.equal(data.images[5], torch.from_numpy(preprocess(read_image(files.images[data.names[5]]))))
    split = thesis_split(data.names, data.categories)
    category = dict(zip(data.names, data.categories, strict=True))
    counts = [tuple(Counter(category[name] for name in names)[c] for c in ("COVID", "Normal", "Viral Pneumonia")) for names in split.parts.values()]
    assert counts == [(229, 351, 137), (46, 70, 28), (31, 47, 18)]


def test_chapters_never_touch_the_test_part(real_data, monkeypatch, capsys):
    monkeypatch.setenv("LANDMARK_THESIS_DATA", str(real_data))
    data = chapter_data(n=2000, size=32)
    assert len(data) == 861 and capsys.readouterr().out == "data: real pictures (LANDMARK_THESIS_DATA), n=861\n"


# cell 28a232b5
def test_order_depends_on_seed_and_epoch_only(device):
    data = phantom_data(10, size=32)

    def order(loader):
        return [name for _, _, meta in loader for name in meta["image_name"]]

    loader = batches(data, batch_size=4, shuffle=True, seed=3, device=device)
    assert len(loader) == 3 and [len(images) for images, _, _ in batches(data, batch_size=4, device=device)] == [4, 4, 2]
    first, second = order(loader), order(loader)
    assert first != second and sorted(first) == sorted(second) == sorted(data.names) and loader.epoch == 2
    torch.manual_seed(99)
    resumed = batches(data, batch_size=5, shuffle=True, seed=3)
    resumed.epoch = 1
    assert order(resumed) == second and order(batches(data, shuffle=True, seed=4)) != first
    assert order(batches(data)) == list(data.names)


def test_batches_hold_what_the_data_set_holds(device):
    data = phantom_data(5, size=32)
    (images, points, meta), (last, _, _) = list(batches(data, batch_size=3, device=device))
    assert images.shape == (3, 1, 32, 32) and images.dtype == torch.float32 and points.shape == (3, 30) and last.shape[0] == 2
    assert images.device.type == device.type and torch.equal((images[:, 0] * 255).round().byte().cpu(), data.images[:3])
    assert torch.equal(points.cpu(), data.points[:3].flatten(1)) and meta["category"] == list(data.categories[:3])


# cell 6414c481
def test_augmentation_gets_whole_batches_and_its_own_generator(device):
    data, calls = phantom_data(6, size=32), []

    def noisy(images, points, generator):
        calls.append((tuple(images.shape), tuple(points.shape), generator.device.type))
        return images + torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device), points

    def run():
        return torch.cat([images for images, _, _ in batches(data, 4, augmentation=noisy, seed=5, device=device)])

    one, _ = run(), torch.rand(7)
    assert torch.equal(one, run()) and calls[:2] == [((4, 1, 32, 32), (4, 15, 2), device.type), ((2, 1, 32, 32), (2, 15, 2), device.type)]
    shift = (one.cpu()[:, 0] - data.images.float() / 255).mean((1, 2))
    assert len(set(shift.round(decimals=4).tolist())) == 6
    try:
        batches(data, batch_size=0)
        raise AssertionError("a batch of none was accepted")
    except ValueError as error:
        assert "at least 1" in str(error)


# cell 2b83d6de
def test_spawned_workers_serve_the_same_batches():
    from torch.utils.data import DataLoader

    data = phantom_data(5, size=32)
    spawned = DataLoader(
        LandmarkDataset(data), batch_size=3, num_workers=1, multiprocessing_context="spawn", collate_fn=collate_landmarks, timeout=120
    )
    for (images, points, meta), (images_, points_, meta_) in zip(spawned, batches(data, batch_size=3), strict=True):
        assert torch.equal(images, images_) and torch.equal(points, points_) and meta == meta_


# cell 3d8ba471
def test_verify_files(tmp_path):
    folder = sample_folder(tmp_path, n=3, size=64)
    hashes = file_hashes(folder)
    assert set(hashes) == {"COVID-1", "Normal-2", "Viral Pneumonia-3"}
    listing = tmp_path / "list.txt"
    del hashes["COVID-1"]
    listing.write_text("\n".join(["name,sha256", *(f"{n},{h}" for n, h in hashes.items()), "Normal-9,00"]).replace(hashes["Normal-2"], "00"))
    assert verify_files(folder, listing) == ["COVID-1: not on the list", "Normal-2: differs from the listed file", "Normal-9: missing"]
    listing.write_text("a,b\n1,2\n")
    assert "name,sha256" in complaint(verify_files, folder, listing)


def test_real_files_are_the_listed_ones(real_data):
    assert verify_files(real_data, Path(__file__).parent.parent / "figures" / "data" / "sha256.csv") == []
