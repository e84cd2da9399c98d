"""Tests of nbs/15_defense.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


from landmark_thesis import defense as chapter

# The notebook's cells see every name of its module; so do its tests.
globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})


# cell 95e35e43
def test_every_sentence_that_runs_store_is_known_in_spanish():
    from landmark_thesis.model import resolve_weights
    from landmark_thesis.runs import changed

    asked = changed(RECIPES["thesis"], backbone="tiny", weights="none", phase1_epochs=1, phase2_epochs=2, precision="fp32", image_size=64)
    for sentence in (*asked.deviations, resolve_weights("tiny", "none")[1], resolve_weights("tiny")[1], *vars(asked.augmentation)):
        if sentence not in ("gamma", "permutation"):
            assert in_language(sentence, "es") != sentence == in_language(sentence, "en"), sentence
    assert in_language("phase1 has 5 epochs, not 15", "es") == "la fase 1 tiene 5 épocas, no 15"
    assert in_language("a note by hand", "es") == "a note by hand"


# cell 0bc797d7
def test_both_languages_have_all_words():
    import string

    for key, texts in {**TEXTS, **REPORT, **CAPTIONS}.items():
        names = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in texts]
        assert names[0] == names[1] and all(texts), key
    for question in QUESTIONS:
        names = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in question.answer]
        assert names[0] == names[1], question.asks[0]
    assert not TEXTS.keys() & REPORT.keys() and 25 <= len(QUESTIONS) <= 35
    assert {question.needs for question in QUESTIONS} <= {"", *EVIDENCE}


# cell 9cabf83f
def test_the_rule_of_the_three_verdicts():
    def verdict(low, high, interval, **evidence):
        claim = Claim("x", {"en": "", "es": ""}, "metric", low=low, high=high)
        return _against_limits(claim, Evidence(5.0, interval, **evidence))[0]

    infinite = math.inf
    assert verdict(-infinite, 6.75, (4.8, 5.9)) == "PASS"
    assert verdict(-infinite, 5.9, (4.8, 5.9)) == "PASS"
    assert verdict(-infinite, 5.5, (4.8, 5.9)) == "NOT SUPPORTED"
    assert verdict(-infinite, 4.9, (4.8, 5.9)) == "NOT SUPPORTED"
    assert verdict(-infinite, 4.7, (4.8, 5.9)) == "FAIL"
    assert verdict(6.0, infinite, (4.8, 5.9)) == "FAIL"
    assert verdict(4.0, 6.0, (4.8, 5.9)) == "PASS" and verdict(5.0, 6.0, (4.8, 5.9)) == "NOT SUPPORTED"
    assert verdict(-infinite, 6.75, None) == "NOT SUPPORTED"
    assert verdict(-infinite, 6.75, (4.8, 5.9), pushed=frozenset({-1})) == "NOT SUPPORTED"
    assert verdict(4.0, infinite, (4.8, 5.9), pushed=frozenset({-1})) == "PASS"  # flattered against the claim: it holds all the more
    assert verdict(5, 5, None, exact=True) == "PASS" and verdict(-infinite, 4, None, exact=True) == "FAIL"


# cell 0494adb3
def test_a_broken_claims_file_names_file_claim_and_cure(tmp_path):
    good = {"id": '"a"', "en": '"It is 5."', "es": '"Es 5."', "compute": '"metric"', "of": '"dense/val"', "metric": '"mre_px"', "is": "5"}

    def text(**changes):
        lines = {**good, **{key.rstrip("_"): value for key, value in changes.items()}}
        return "[[claim]]\n" + "\n".join(f"{key} = {value}" for key, value in lines.items() if value is not None)

    assert read_claims(text())[0].stated == 5 and read_claims(text(en='"It is 5.0 %."', is_="0.05", es='"Es 5 %."'))[0].stated == 0.05
    mistakes = {
        text(en=None): "needs en", text(compute='"eval"'): "choose one of metric", text(of=None): "metric needs of", text(colour='"red"'): "does not know colour",
        text(is_=None): "nothing could contradict it", text(is_="6"): "does not contain the number 6", text(es='"Es 4."'): "sentence (es)", text(is_='"5"'): "is must be a number",
        text(tolerance="-1"): "tolerance", text(below="4", above="5", is_=None, en='"4 5"', es='"4 5"'): "leave no room", text(of="3"): "must be a text",
        text() + "\n" + text(): "two of that id", "[[claim]\n": "no TOML", "title = 1": "each claim begins", "": "holds nothing",
    }
    for broken, cure in mistakes.items():
        path = tmp_path / "claims.toml"
        path.write_text(broken, encoding="utf-8")
        try:
            read_claims(path)
        except ClaimsError as error:
            assert str(error).startswith(str(path)) and cure in str(error) and "\n" not in str(error), error
        else:
            raise AssertionError(broken)


# cell 0c738a2a
from dataclasses import replace


def _record(folder, errors, part="val", select="last", **changes):
    """A record of made errors: `errors` (N,) px, the same at each landmark, all along x."""
    from landmark_thesis.evaluate import error_rows, write_errors
    from landmark_thesis.phantom import sample_shapes

    target = sample_shapes(len(errors), seed=1).astype(np.float64)
    moved = target + np.stack([np.asarray(errors) / 224, np.zeros(len(errors))], 1)[:, None]
    names, categories = [f"p{i}" for i in range(len(errors))], ["a", "b"] * (len(errors) // 2)
    folder.mkdir(parents=True)
    write_errors(error_rows(moved, target, names, categories, part), folder / "errors.csv")
    recipe = RECIPES["dense"]
    recipe = replace(recipe, phases=tuple(replace(phase, select=select) for phase in recipe.phases))
    split = Split(parts={"train": ("t0", "t1"), part: tuple(names)}, pixel_hash={}, seed=42, dropped={})
    split.save(folder / "split.json")
    _write_json(folder / "recipe.json", {"recipe": recipe.to_dict(), "seed": 0, "split_seed": 42, "source": {"folder": None, "label_size": None, "phantoms": 4, "phantom_seed": 0}})
    metrics = {"mre_px": float(np.mean(errors)), "mre_px_ci95": list(bootstrap_interval(np.asarray(errors)))}
    results = {"part": part, f"n_{part}": len(errors), part: metrics, "contaminated": False, "unverified": [], "split_fingerprint": split.fingerprint, "command": "made", "models": [{}],
               "baselines": {"mean_shape_px": 16.0}} | changes
    _write_json(folder / "results.json", results)


def _claim_of(**table):
    return _claim({"id": "x", "en": "a", "es": "a", **table})


def test_computations_give_exact_numbers(tmp_path):
    errors = np.arange(1.0, 21.0)
    _record(tmp_path / "a", errors)
    _record(tmp_path / "b", errors + 2)
    records = Records(tmp_path)
    assert abs(metric(records, "a/val", "mre_px").value - 10.5) < 1e-3 and metric(records, "a/val", "mre_px").n == 20
    assert abs(metric(records, "a/val", "sdr.5").value - 0.25) < 0.02
    moved = difference(records, "a/val", "b/val")
    assert abs(moved.value + 2) < 1e-3 and abs(moved.interval[0] + 2) < 1e-3 and abs(moved.interval[1] + 2) < 1e-3  # paired: no spread
    assert abs(ratio(records, "a/val", "b/val").value - 10.5 / 12.5) < 1e-3
    assert abs(ratio(records, "a/val", over="baselines.mean_shape_px").value - 10.5 / 16) < 1e-3
    assert count(records, "a/val").value == 20 and count(records, "a/val", 10.5).value == 10
    assert trained_on(records, "a/val").value == 0
    assert stored(records, "a", "val.mre_px").interval == bootstrap_interval(errors)
    assert (disagreements(records).value, disagreements(records).n) == (0, 8)  # of both: mean, both ends of its interval, and how many pictures
    assert judge(_claim_of(compute="count", of="a/val", more_than=10.5, **{"is": 10, "en": "10", "es": "10"}), records).verdict == "PASS"


def test_a_stored_number_that_its_errors_do_not_give_is_a_failure_and_one_that_nothing_gives_is_recorded_only(tmp_path):
    errors = np.arange(1.0, 21.0)
    place = tmp_path / "test"
    spread = seed_spread(np.stack([errors, errors + 1]))
    content = {"n": 20, "runs": [{"run": "a", **_mean(errors)}, {"run": "b", **_mean(errors + 1)}], "seeds": spread, "test": {"mre_px": 9.0}, "split_fingerprint": "s"}
    write_whole(place / "errors.csv", b"image,a,b\n" + "".join(f"p{k},{value:.3f},{value + 1:.3f}\n" for k, value in enumerate(errors)).encode())

    def found(path="seeds.mean_px", **changes):
        _write_json(place / "test.json", content | changes)
        return judge(_claim_of(compute="stored", record="test", file="test.json", path=path, n="n", below=99, en="99", es="99"), Records(tmp_path))

    assert found().verdict == "PASS" and found().evidence.n == 20 and found("runs[run=b].mre_px").evidence.interval == bootstrap_interval(errors + 1)
    for changes, stated, value in (({"seeds": spread | {"mean_px": 1.0}}, "1", "11"), ({"seeds": spread | {"mean_px_ci95": [10.9, 11.1]}}, "10.90", "8.4"), ({"n": 500}, "500", "20")):
        verdict = found(**changes)
        assert (verdict.verdict, verdict.reason) == ("FAIL", "contradiction") and f"says {stated} (" in verdict.why() and f"gives {value}" in verdict.why()
        assert judge(_claim_of(compute="disagreements", **{"is": 0}), Records(tmp_path)).verdict == "FAIL"
    only = found("test.mre_px")
    assert (only.verdict, only.reason) == ("NOT SUPPORTED", "recorded_only") and "test.mre_px" in only.why("es")


def test_a_claim_on_a_landmark_that_a_picture_lacks_is_told_and_nothing_is_divided_by_zero(tmp_path):
    from landmark_thesis.evaluate import write_errors

    for name, errors in (("a", np.arange(1.0, 21.0)), ("b", np.arange(1.0, 21.0)), ("exact", np.zeros(20))):
        _record(tmp_path / name, errors, baselines={"mean_shape_px": 0.0})
    rows = read_errors(tmp_path / "a" / "errors.csv")
    for row in rows:
        row |= {key: math.nan for key in row if key.startswith("L3_") or (key.startswith("L2_") and row is rows[4])}
    write_errors(rows, tmp_path / "a" / "errors.csv")
    records, below = Records(tmp_path), {"below": 99, "en": "99", "es": "99"}
    for claim, reason, words in (
        ({"compute": "difference", "a": "a/val/L2", "b": "b/val/L1"}, "unknown_errors", "a/val/L2: unknown of 1 of 20 pictures"),
        ({"compute": "difference", "a": "b/val/L1", "b": "a/val/L2"}, "unknown_errors", "a/val/L2: unknown of 1 of 20 pictures"),
        ({"compute": "ratio", "a": "b/val/L2", "b": "a/val/L2"}, "unknown_errors", "a/val/L2: unknown of 1 of 20"), ({"compute": "ratio", "a": "a/val/L3", "over": "n_val"}, "unknown_errors", "a/val/L3: unknown of 20 of 20"),
        ({"compute": "ratio", "a": "b/val", "over": "baselines.mean_shape_px"}, "no_division", "record 'b' gives 0 for baselines.mean_shape_px"),
        ({"compute": "ratio", "a": "b/val", "b": "exact/val"}, "no_division", "record 'exact' gives 0 for exact/val"), ({"compute": "metric", "of": "a/val", "metric": "per_landmark.L3"}, "no_value", "record 'a' states no val.per_landmark.L3"),
    ):
        verdict = judge(_claim_of(**claim, **below), records)
        assert (verdict.verdict, verdict.reason) == ("NOT SUPPORTED", reason) and words in verdict.why(), claim
    whole = judge(_claim_of(compute="difference", a="a/val", b="b/val", **below), records)
    assert whole.verdict == "PASS" and whole.evidence.n == 20  # the mean over the landmarks that there are


def test_what_is_no_number_is_no_evidence(monkeypatch):
    for found in (Evidence(math.nan, (1.0, 2.0)), Evidence(1.0, (math.nan, 2.0)), Evidence(math.inf, exact=True)):
        monkeypatch.setitem(COMPUTATIONS, "count", lambda records, of, found=found: found)
        for asked in ({"is": 1, "tolerance": 1}, {"below": 9}):
            verdict = judge(_claim_of(compute="count", of="a/val", **asked, en="1 9", es="1 9"), None)
            assert (verdict.verdict, verdict.reason) == ("NOT SUPPORTED", "no_number") and as_dict(verdict)["evidence"]["value"] in (None, 1.0)


def test_what_a_record_states_instead_of_a_number_contradicts_its_errors():
    again = {"val": {"mre_px": 10.5, "mre_px_ci95": [9.0, 12.0], "p95_px": 20.0, "along_px": None}}
    for stated, said in ((None, "-"), ("10.5", "10.5"), (True, "True"), ([10.5], "[10.5]"), ({}, "{}")):
        pairs = list(_pairs({"val": {"mre_px": stated, "mre_px_ci95": None, "along_px": 3.0}}, again))
        assert pairs == [("val.mre_px", stated, 10.5), ("val.mre_px_ci95", None, [9.0, 12.0])]  # what it does not state, and what nobody knows, is not held against it
        assert not any(_agree(*one) for one in pairs) and _contradiction("a", "results.json", *pairs[0]).values["stated"] == said
    assert list(_pairs({"val": 7}, again)) == [("val", 7, again["val"])] and not list(_pairs({}, again))


def test_openings_count_over_all_records_of_a_test_part(tmp_path):
    closed, plan = {"test_fingerprint": "f", "test_ledger": {"opened": 0, "planned": 1}}, {"test_fingerprint": "f", "test_ledger": {"opened": 1, "planned": 1}}
    _record(tmp_path / "a", np.arange(1.0, 21.0), **closed)
    _record(tmp_path / "other", np.arange(1.0, 21.0), test_fingerprint="g", test_ledger={"opened": 7, "planned": 1})
    _write_json(tmp_path / "final" / "final.json", plan)
    assert unplanned_openings(Records(tmp_path), of="f").value == 0 and unplanned_openings(Records(tmp_path), of="f").n == 1
    _write_json(tmp_path / "folds" / "folds.json", plan)  # another experiment, which planned its own look
    assert unplanned_openings(Records(tmp_path), of="f").value == 0 and unplanned_openings(Records(tmp_path), of="f").n == 2
    _write_json(tmp_path / "final" / "final.json", plan | {"test_ledger": {"opened": 10, "planned": 1}})
    assert unplanned_openings(Records(tmp_path), of="f").value == 9
    assert unplanned_openings(Records(tmp_path), "other").value == 6
    nobody = judge(_claim_of(compute="unplanned_openings", of="h", **{"is": 0, "en": "0", "es": "0"}), Records(tmp_path))
    assert nobody.verdict == "NOT SUPPORTED" and nobody.reason == "no_test_part"


def test_what_spoils_a_record_spoils_its_claims(tmp_path):
    errors = np.arange(1.0, 21.0)
    below = _claim_of(compute="metric", of="a/val", metric="mre_px", below=20, en="20", es="20")
    cases = {"PASS": {}, "spoilt_contaminated": {"contaminated": True}, "spoilt_unverified": {"unverified": ["x"]}, "contradiction": {"val": {"mre_px": 3.61}}, "no_record": None, "flattered": {}}
    for number, (reason, changes) in enumerate(cases.items()):
        place = tmp_path / str(number)
        if changes is not None:
            _record(place / "a", errors, select="best" if reason == "flattered" else "last", **changes)
        else:
            _record(place / "other", errors)
        found = judge(below, Records(place))
        assert found.verdict == {"PASS": "PASS", "contradiction": "FAIL"}.get(reason, "NOT SUPPORTED"), reason
        assert reason == "PASS" or found.reason == reason
        assert found.why("en") != found.why("es")


def test_a_claim_that_asks_for_what_cannot_be_is_an_error(tmp_path):
    _record(tmp_path / "a", np.arange(1.0, 21.0))
    for table in ({"compute": "metric", "of": "a", "metric": "mre_px"}, {"compute": "metric", "of": "a/val", "metric": "mre"}, {"compute": "stored", "record": "a", "path": "val"},
                  {"compute": "ratio", "a": "a/val"}, {"compute": "count", "of": "a/val/colour"}, {"compute": "stored", "record": "a", "path": "models[run=x].seed"}):
        try:
            judge(_claim_of(below=1, **table), Records(tmp_path))
        except ClaimsError as error:
            assert str(error).startswith("claim 'x': ")
        else:
            raise AssertionError(table)


# cell 294b28cc
def test_a_defense_that_was_made_is_gone_on_with_and_opens_nothing_again(tmp_path, monkeypatch):
    from landmark_thesis.data import PreprocessSettings
    from landmark_thesis.evaluate import ledger_entries

    def folder():
        return {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix not in (".pt", ".log", ".lock")}

    def one_figure(runs, out, lang, formats, part, **options):
        from landmark_thesis.figures import error_histogram, save_figure

        return save_figure(error_histogram(read_errors(runs[0].path / "errors.csv", part), lang=lang), out / f"error_histogram_{part}_seed-0")

    monkeypatch.setattr("landmark_thesis.defense.draw_all", one_figure)  # all of them take long; chapter 14 tests them
    small = replace(RECIPES["smoke"], preprocessing=PreprocessSettings(size=64))
    first, before = defend(Source(phantoms=60), tmp_path, recipe=small, seeds=(0, 1), lang="es"), folder()
    again = defend(Source(phantoms=60), tmp_path, recipe=small, seeds=(0, 1), lang="es")
    assert again == first and folder() == before
    assert len(first["models"]) == 2 and first["seed_sd_px"] > 0 and sum(first["verdicts"].values()) == 5
    assert first["test_ledger"]["opened"] == 3 == first["test_ledger"]["planned"]
    assert len(ledger_entries(tmp_path / "runs" / "seed-0")) == 2
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "error radial medio" in page and '<html lang="es">' in page and not list(tmp_path.glob(".new-*"))
    assert page.count("<img ") == 1 and re.search(r'<img alt="[^"]{20,}" src="data:image/svg', page) and not re.search(r'(src|href)="(?!data:|#)', page)


def test_decimal_commas_stand_in_what_is_read_and_nowhere_else():
    page = '<p title="6.75">6.75 px [4.81, 5.85], torch 2.14.1+cu130, p = 0.0005.</p><code>--tau 0.5</code><style>a { b: 1.5rem }</style>'
    assert _with_commas(page) == '<p title="6.75">6,75 px [4,81; 5,85], torch 2.14.1+cu130, p = 0,0005.</p><code>--tau 0.5</code><style>a { b: 1.5rem }</style>'


def test_a_report_that_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "kept.txt").write_text("mine")
    (tmp_path / "report.html").write_text("the old one")
    try:
        with _whole(tmp_path) as (scratch, _):
            (scratch / "report.html").write_text("half")
            raise OSError("disk full")
    except OSError:
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.txt", "report.html"] and (tmp_path / "report.html").read_text() == "the old one"
    try:
        with _whole(tmp_path / "new"):
            raise OSError("disk full")
    except OSError:
        pass
    assert not (tmp_path / "new").exists()


def test_a_defense_needs_a_known_language_and_seeds_given_once(tmp_path):
    for options in ({"lang": "fr"}, {"seeds": (1, 1)}, {"seeds": ()}, {"claims": tmp_path / "none.toml"}):
        try:
            defend(out=tmp_path / "new", **options)
        except (RunError, ClaimsError):
            pass
        else:
            raise AssertionError(options)
    assert not (tmp_path / "new").exists()
