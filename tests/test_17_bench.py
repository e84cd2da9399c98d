"""Tests of nbs/17_bench.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


from landmark_thesis import bench as chapter

# The notebook's cells see every name of its module; so do its tests.
globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})


# cell 4dfdad71
def test_things_are_timed_in_turn_and_the_first_call_does_not_count():
    told, now = [], [0.0]

    def taking(name, seconds):
        def thing():
            told.append(name)
            now[0] += seconds * (10 if told.count(name) == 1 else 1)  # the first call is slow

        return thing

    times = interleaved({"a": taking("a", 1.0), "b": taking("b", 3.0)}, rounds=3, clock=lambda: now[0])
    assert "".join(told) == "ab" + "ababab"
    assert times["a"].values == (1.0,) * 3 and times["b"].values == (3.0,) * 3
    assert (times["b"] / times["a"]).median == 3.0


# cell 4f3a31e2
def test_a_measurement_without_a_round_is_refused():
    try:
        interleaved({"a": lambda: None}, rounds=0)
    except ValueError as error:
        assert "at least 1" in str(error)
    else:
        raise AssertionError("it was not refused")


# cell 60cfd9ae
def test_the_stopwatch_sorts_each_operation_under_its_kind():
    image, kernel = torch.rand(1, 1, 8, 8, requires_grad=True), torch.rand(1, 1, 3, 3, requires_grad=True)

    def timed(job: Callable[[], Any]) -> set[str]:
        with _Stopwatch(lambda: None) as watch:
            job()
        return {kind for kind, seconds in watch.seconds.items() if seconds > 0}

    mapped = nn.functional.conv2d(image, kernel)
    assert timed(lambda: nn.functional.conv2d(image, kernel)) == {"convolution_forward"}
    assert timed(lambda: torch.autograd.grad(mapped, [image, kernel], torch.ones_like(mapped))) - {"rest"} == {"convolution_backward"}
    assert timed(lambda: nn.functional.max_pool2d(image, 2)) == {"pooling"}
    assert timed(lambda: nn.functional.group_norm(image, 1)) - {"rest"} == {"normalisation"}
    assert timed(lambda: image.relu()) == {"rest"}


# cell ae2d5390
def test_every_promised_number_is_there_finite_and_between_its_extremes():
    nano = Size("tiny", side=64, batch=4, phase1_pictures=8, phase1_epochs=2, steps=2, predicted=2, scale=(8, 16), matrix=64, rounds=2)
    found = bench(nano, device="cpu")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    promised = {
        "phase1_plain_over_cached", "phase1_plain_over_cached_4views", "phase2_epoch_over_plain", "phase2_epoch_over_bare_step",
        "predict_pictures_per_s", "predict_single_ms", "help_seconds", "scale_cost_per_picture_ratio", *SENTENCES, *LIMITS,
    } - {"phase2_epoch_over_compiled"}
    assert found["phase2_epoch_over_compiled"] is None  # only asked of a card
    for name in promised:
        assert 0 < found[f"{name}_min"] <= found[name] <= found[f"{name}_max"] < float("inf"), name
        assert name in table(found)
    assert found["scale_bytes_per_picture"] == 64 * 64 and found["side"] == 64 and found["rounds"] == 2
    assert platform.node() not in json.dumps(found).split('"')


# cell 5edd4039
def test_the_check_names_what_is_outside_its_limits_and_nothing_else():
    good = {name: min(low + 0.1, high) for name, (low, high) in LIMITS.items()}
    assert regressions(good) == []
    bad = regressions({**good, "phase1_plain_over_cached": 0.5, "phase2_epoch_over_bare_step": 9.0})
    assert len(bad) == 2 and bad[0].startswith("phase1_plain_over_cached is 0.50") and bad[1].startswith("phase2_epoch_over_bare_step is 9.00")
