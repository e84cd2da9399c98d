"""Tests of nbs/15_defense.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


from landmark_thesis import defense as chapter

# The notebook's cells see every name of its module; so do its tests.
globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})


# cell 332da774
def test_both_languages_have_all_words():
    assert WORDS["en"].keys() == WORDS["es"].keys()
    for key, text in WORDS["en"].items():
        import string

        names = [{name for _, name, _, _ in string.Formatter().parse(words) if name} for words in (text, WORDS["es"][key])]
        assert names[0] == names[1], key


# cell 54f3e390
def test_a_defense_that_was_made_is_gone_on_with_and_not_made_again(tmp_path):
    from dataclasses import replace

    from landmark_thesis.data import PreprocessSettings

    small = replace(RECIPES["smoke"], preprocessing=PreprocessSettings(size=64))
    first = defend(Source(phantoms=60), tmp_path, recipe=small, part="val", seeds=(0, 1), lang="es")
    weights = [Run(tmp_path / "runs" / f"seed-{seed}").weights_hash for seed in (0, 1)]
    again = defend(Source(phantoms=60), tmp_path, recipe=small, part="val", seeds=(0, 1), lang="es")
    assert again["val"] == first["val"] and [Run(tmp_path / "runs" / f"seed-{seed}").weights_hash for seed in (0, 1)] == weights
    assert len(first["models"]) == 2 and first["seed_sd_px"] > 0
    assert "error radial medio" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert not (tmp_path / "runs" / "seed-0" / "test_ledger.jsonl").exists()


def test_a_defense_needs_a_known_language_and_seeds_given_once(tmp_path):
    for options in ({"lang": "fr"}, {"seeds": (1, 1)}, {"seeds": ()}):
        try:
            defend(out=tmp_path / "new", **options)
        except RunError:
            pass
        else:
            raise AssertionError(options)
    assert not (tmp_path / "new").exists()
