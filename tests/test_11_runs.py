"""Tests of nbs/11_runs.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


from landmark_thesis import runs as chapter

# The notebook's cells see every name of its module; so do its tests.
globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})


# cell 440d4d56
def test_recipes_survive_json_and_name_what_changed():
    for recipe in RECIPES.values():
        assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    shorter = changed(THESIS, weights="none", phase1_epochs=0, image_size=96, batch_size=8)
    assert shorter.deviations[-4:] == (
        "phase1 has 0 epochs, not 15", "weights is none, not auto", "batches of 8, not 16", "the network sees 96 pixels, not 224"
    )
    assert shorter.batch_size == 8
    assert (shorter.phases[0].epochs, shorter.weights, shorter.preprocessing.size) == (0, "none", 96)
    assert changed(DENSE) == DENSE
    stored = changed(THESIS, cache_views=4)
    assert stored.phases == (replace(THESIS.phases[0], cache_views=4), THESIS.phases[1]) and "of 4 views a picture" in stored.deviations[-1]
    assert changed(THESIS, cache_views=0) == THESIS
    for broken in ({**THESIS.to_dict(), "strange": 1}, {**THESIS.to_dict(), "phases": None}, {"name": "thesis"}):
        try:
            Recipe.from_dict(broken)
        except DataError as error:
            assert "recipe: " in str(error)
        else:
            raise AssertionError("a broken recipe was read")


# cell 073249f1
def test_the_time_of_a_run_is_the_sum_of_its_sessions(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from landmark_thesis import runs

    now = [100.0]
    monkeypatch.setattr(runs, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    _write_json(tmp_path / "environment.json", {})
    for session, took in enumerate((20.0, 5.5)):
        clock = _Clock(tmp_path / "environment.json", {"threads": 1, "sessions": _notes_of(tmp_path).get("sessions", [])})
        now[0] += took
        clock.on_epoch_end(None, None, 1, {})
        now[0] += 3.0  # in an epoch that a kill takes away
        assert _read_json(tmp_path / "environment.json") == {"threads": 1, "sessions": [20.0, 5.5][: session + 1]}
    assert clock.seconds() == {"sessions": [20.0, 8.5], "seconds": 28.5}
    (tmp_path / "environment.json").write_text('{"sessions": ["long"]}')
    try:
        _notes_of(tmp_path)
        raise AssertionError("a session of words was added up")
    except RunError as error:
        assert "sessions of the wrong kind" in str(error)


# cell 9bd656c9
def test_the_thesis_recipe_has_the_published_numbers():
    first, second = THESIS.phases
    assert (THESIS.backbone, THESIS.batch_size, dict(THESIS.head_options)) == (
        "resnet18", 16, {"attention": True, "deep": True, "hidden": 768, "dropout": 0.3}
    )
    assert (first.epochs, first.patience, first.rates, first.schedule, first.optimizer) == (15, 5, {"head": 1e-3}, "constant", "adam")
    assert (second.epochs, second.patience, second.rates, second.schedule) == (100, 15, {"backbone": 2e-5, "head": 2e-4}, "cosine")
    assert abs(second.rates["backbone"] * second.floor_ratio - 1e-6) < 1e-15
    assert (THESIS.augmentation.flip, THESIS.augmentation.rotation, THESIS.augmentation.scale) == (0.5, 10.0, 0.0)
    assert (THESIS.preprocessing.clahe_clip, THESIS.preprocessing.clahe_tiles, THESIS.preprocessing.size) == (2.0, 4, 224)


# cell bf9e9d95
def test_a_run_folder_is_refused_unless_it_is_ours(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("")
    for name, resume, words in (("full", False, "holds files already (letter.txt)"), ("full", True, "no run to resume"), ("file", False, "is a file")):
        try:
            train(SMOKE, Source(phantoms=40), tmp_path / name, resume=resume, quiet=True)
        except RunError as error:
            assert words in str(error)
        else:
            raise AssertionError(f"{name}: was overwritten")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["letter.txt"]


# cell 99cb1eb6
def test_a_lock_is_held_once_and_dies_with_its_holder(tmp_path):
    if hasattr(os, "fork"):
        if (child := os.fork()) == 0:  # a process that dies with the lock in its hand
            with locked(tmp_path):
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1 and (tmp_path / "lock").exists()
    with locked(tmp_path):
        try:
            with locked(tmp_path):
                raise AssertionError("two writers in one folder")
        except RunError:
            pass


# cell f34ccb4c
def test_what_differs_between_settings_is_named_to_the_field():
    then = {"seed": 1, "recipe": {"loss": "wing", "phases": [1, 2]}}
    assert _changes(then, then) == []
    assert _changes(then, {"seed": 2, "recipe": {"loss": "dense", "phases": [1, 2]}}) == ["seed: 1 then, 2 now", "recipe.loss: 'wing' then, 'dense' now"]
    phases = [{"name": "phase1", "epochs": 1}, {"name": "phase2", "epochs": 2, "rates": {"head": 0.1}}]
    later = [phases[0], {"name": "phase2", "epochs": 5, "rates": {"head": 0.2}}]
    assert _changes({"recipe": {"phases": phases}}, {"recipe": {"phases": later}}) == ["phase2.epochs: 2 then, 5 now", "phase2.rates.head: 0.1 then, 0.2 now"]
