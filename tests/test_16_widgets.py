"""Tests of nbs/16_widgets.ipynb, written by nbs/_sync.py: edit the notebook, not this file."""


from landmark_thesis import widgets as chapter

# The notebook's cells see every name of its module; so do its tests.
globals().update({name: value for name, value in vars(chapter).items() if not name.startswith("__")})


# cell 9f07d547
from landmark_thesis.data import check_data, phantom_data
from landmark_thesis.model import create_model
from landmark_thesis.phantom import phantoms, sample_shapes
from landmark_thesis.trainer import LandmarkTrainer


# cell ec23fcf4
def test_a_playground_redraws_and_shows_its_errors():
    def draw(x):
        if x == 3:
            raise ValueError("three is <too> much")
        figure = Figure(figsize=(1, 1))
        figure.text(0, 0, str(x))
        return figure

    panel = playground(draw, {"x": widgets.IntSlider(1, 1, 4)}, "a number")
    first = panel.still()
    assert first.startswith(b"\x89PNG") and panel.error is None
    panel.controls["x"].value = 3
    assert isinstance(panel.error, ValueError) and "three is &lt;too&gt; much" in panel.widget.children[1].value
    panel.controls["x"].value = 2
    assert panel.error is None and panel.widget.children[1].value == "" and panel.still() != first


def test_a_still_is_small():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    kind, content = smallest(cv2.imencode(".png", noise)[1].tobytes())
    assert kind == "image/jpeg" and len(content) < 64 * 64 and cv2.imdecode(np.frombuffer(content, np.uint8), 0).shape == (64, 64)
    line = cv2.imencode(".png", np.eye(64, dtype=np.uint8) * 255)[1].tobytes()
    assert smallest(line) == ("image/png", line)


def test_a_display_carries_a_widget_and_a_still_picture():
    panel = playground(lambda x: Figure(figsize=(1, 1)), {"x": widgets.IntSlider(1, 1, 4)}, "nothing")
    bundle = panel._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]) == panel.still()  # a drawing; a radiograph is smaller as a JPEG
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.widget.model_id


# cell 93a27d72
def test_phase_rates_end_at_the_floor_and_keep_their_ratio():
    phase = Phase("phase2", 10, {"backbone": 2e-5, "head": 2e-4}, schedule="cosine", floor_ratio=0.05)
    rates = phase_rates(phase, ["backbone", "head", "attention"])
    assert list(rates) == ["backbone", "head", "attention"] and len(rates["head"]) == 1000
    np.testing.assert_allclose(rates["head"] / rates["backbone"], 10)
    assert rates["attention"][0] == 2e-4 and abs(rates["backbone"][-1] - 1e-6) < 1e-9
    assert list(phase_rates(Phase("phase1", 2, {"head": 1e-3}, trainable="head"), ["backbone", "head"])) == ["head"]


def test_parameters_are_counted_without_touching_the_model():
    model = create_model("tiny", "dense", "none")
    next(model.parameters()).requires_grad_(False)
    before = [p.requires_grad for p in model.parameters()]
    (trains, whole), (head, head_too) = trained_parameters(model, "head").values()
    assert trains == 0 and whole > 0 and head == head_too > 0
    assert trained_parameters(model, "all")["backbone"] == (whole, whole)
    assert [p.requires_grad for p in model.parameters()] == before


# cell 81b2ab1c
def test_views_are_those_of_training_and_the_share_outside_counts_points():
    image, points = phantoms(1, seed=3, size=64)[0][0], sample_shapes(1, seed=3)[0]
    still, same = augmented_views(image, points, Augmentation(flip=0, rotation=0, brightness=0, contrast=0), views=2)
    np.testing.assert_array_equal(still, np.stack([image / np.float32(255)] * 2))
    np.testing.assert_array_equal(same, [points, points])
    far = augmented_views(image, points, Augmentation(shift=0.3), seed=1)
    assert not np.array_equal(far[1], augmented_views(image, points, Augmentation(shift=0.3), seed=2)[1])
    assert share_outside(np.array([[0.5, 0.5], [1.01, 0.5], [0.2, -0.1], [np.nan, np.nan]])) == 2 / 3


# cell bf6bbdce
def test_remaining_time_in_words():
    assert remaining_seconds(10, 0, 5) is None and remaining_seconds(10, 2, 6) == 20 and remaining_seconds(10, 7, 6) == 0
    assert [duration(s) for s in (None, 0.4, 59.4, 60, 3599, 3725)] == ["?", "0 s", "59 s", "1 min 00 s", "59 min 59 s", "1 h 02 min"]


# cell 40d11621
class Doubles(torch.nn.Module):
    """A model of two numbers that obeys the protocol."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = torch.nn.Linear(1, 1), torch.nn.Linear(1, 4)

    def features(self, images):
        return self.backbone(images.mean((1, 2, 3))[:, None])

    def forward(self, images):
        return self.head(self.features(images))

    def freeze_all_except_head(self):
        self.backbone.requires_grad_(False)

    def unfreeze_all(self):
        self.requires_grad_(True)

    def parameter_groups(self):
        return {"backbone": list(self.backbone.parameters()), "head": list(self.head.parameters())}


class Pictures:
    """A loader of four batches of fixed pictures; the batch of number `fails` raises."""

    def __init__(self, wait=0.0, fails=None):
        self.wait, self.fails, self.given = wait, fails, 0

    def __len__(self):
        return 4

    def __iter__(self):
        for _ in range(4):
            self.given += 1
            if self.given == self.fails:
                raise OSError("the disk is gone")
            time.sleep(self.wait)
            yield torch.full((2, 1, 8, 8), 0.5), torch.full((2, 4), 0.25), {"image_name": ["a", "b"]}


def live(loader, epochs=3):
    torch.manual_seed(0)  # the front end's messages draw too, whenever they come: one start in a hundred has its best epoch before the last
    phases = [Phase("phase1", epochs, {"head": 1e-2}, trainable="head"), Phase("phase2", epochs, {"backbone": 1e-3, "head": 1e-2})]
    trainer = LandmarkTrainer(Doubles(), "cpu", save_dir=None, quiet=True, precision="fp32")
    return LiveTraining(trainer, phases, loader, Pictures(), torch.nn.functional.mse_loss)


def test_a_thread_trains_to_the_end():
    panel = live(Pictures())
    history = panel.start().wait(60)
    assert [len(columns["val_error_px"]) for columns in history.values()] == [3, 3]
    assert panel.outcome.startswith("finished: the model holds the weights of phase2, epoch 3") and panel.bar.value == 1.0
    assert not panel.running and panel.stop_button.disabled and not panel.start_button.disabled and not panel.trainer.callbacks
    assert panel.run().keys() == history.keys()  # again, in the foreground


def test_stop_keeps_the_best_and_no_later_phase_begins():
    panel = live(Pictures(wait=0.005), epochs=1000)
    panel.start()
    while len(panel.trainer.history.get("phase1", {}).get("val_error_px", ())) < 2:
        time.sleep(0.005)
    panel.stop_button.click()
    history = panel.wait(60)
    assert list(history) == ["phase1"] and 2 <= len(history["phase1"]["val_error_px"]) < 1000
    assert panel.outcome.startswith("stopped by hand in phase1") and panel.error is None
    held, best = panel.trainer.model.state_dict(), panel.trainer.best_state
    assert all(torch.equal(held[name], best[name]) for name in best)


def test_what_goes_wrong_in_the_thread_is_shown_and_raised():
    panel = live(Pictures(fails=7))
    panel.start()
    try:
        panel.wait(60)
        raise AssertionError("the error was lost")
    except OSError as error:
        assert str(error) == "the disk is gone"
    assert "the disk is gone" in panel.message.value and "epoch 1" in panel.outcome


def test_a_panel_does_one_training_at_a_time():
    panel = live(Pictures(wait=0.005), epochs=1000)
    panel.start()
    try:
        for action in (panel.start, panel.run):
            try:
                action()
                raise AssertionError("two trainings at once")
            except RuntimeError as error:
                assert "runs already" in str(error)
        try:
            panel.wait(0.01)
            raise AssertionError("no time-out")
        except TimeoutError:
            pass
    finally:
        panel.stop()
        panel.wait(60)


# cell d643f508
def test_the_worst_come_first_within_their_class():
    errors, categories = np.array([1.0, 5.0, np.nan, 3.0, 5.0]), ["a", "b", "a", "a", "b"]
    assert viewing_order(errors, categories).tolist() == [1, 4, 3, 0, 2]
    assert viewing_order(errors, categories, "a").tolist() == [3, 0, 2]
    assert viewing_order(errors, categories, "a", worst_first=False).tolist() == [0, 2, 3]
    assert viewing_order(errors, categories, "z").tolist() == []


def test_picture_errors_leave_missing_points_out():
    truth = np.zeros((2, 3, 2))
    truth[0, 1] = truth[1] = np.nan
    radial, mean = picture_errors(np.full((2, 3, 2), [3 / 224, 4 / 224]), truth)
    np.testing.assert_allclose(radial[0], [5, np.nan, 5])
    assert abs(mean[0] - 5) < 1e-9 and np.isnan(mean[1])


# cell 52e07170
def test_the_viewer_follows_its_controls():
    data = phantom_data(6, seed=2, size=48)
    truth = data.points.numpy()
    panel = viewer(data, truth + np.arange(6)[:, None, None] * np.float32(0.01))
    first = panel.still()
    panel.controls["place"].value = 6
    assert panel.still() != first and panel.error is None
    counts = Counter(data.categories)
    for name, count in counts.items():
        panel.controls["place"].value = count
        panel.controls["category"].value = name
        assert panel.controls["place"].max == count and panel.controls["place"].value == 1 and panel.error is None
    try:
        viewer(data, truth[:3])
        raise AssertionError("three predictions for six pictures")
    except ValueError as error:
        assert "(3, 15, 2)" in str(error)


# cell a2f8a04f
def test_the_counts_are_those_of_the_thesis():
    seen = seen_by((42, 123, 456, 321, 789, 111, 222, 333, 444, 555, 666))
    assert (seen == 0).sum(1).tolist() == [0, 68, 74, 71, 67, 77, 72, 73, 73, 72, 72]
    assert (seen == 1).sum(1).tolist() == [0, 16, 9, 11, 19, 15, 15, 12, 16, 15, 11]
    last_four = seen_by((123, 321, 111, 666))
    assert ((last_four == 0).sum(0) == 0).sum() == 0 and ((last_four == 0).sum(0) == 4).sum() == 34
    assert seen_by(()).shape == (0, 96)


# cell 1b408e54
def clicked(*places):
    draft = Draft()
    for place in places:
        draft = click(draft, *place)
    return draft


def test_two_clicks_make_fifteen_points_in_the_mean_proportions():
    draft = clicked((112, 200), (100, 20))  # the lower end first
    assert draft.ends == ((100, 20), (112, 200)) and draft.points().shape == (15, 2)
    ratio = math.dist(*draft.ends) / math.dist(SHAPE_MEAN[:2], SHAPE_MEAN[2:4])
    np.testing.assert_allclose(draft.distances, SHAPE_MEAN[4:] * ratio)
    assert click(draft, 5, 5) == draft
    assert len(clicked((3, 4)).points()) == 1 and len(Draft().guides()) == 0


def test_a_lateral_point_stays_on_its_perpendicular_and_nothing_else_moves():
    before = clicked((100, 20), (130, 200))
    after = move(before, 5, 190.0, 70.0)  # L6, far from its line
    moved = np.abs(after.points() - before.points()).max(1)
    assert (moved > 1e-9).tolist() == [k == 5 for k in range(15)]
    axis = np.subtract(*before.ends[::-1])
    step = after.points()[5] - before.points()[5]
    assert abs(step @ axis) < 1e-9 * np.linalg.norm(axis) * max(1, np.linalg.norm(step))
    assert abs((np.array([190.0, 70.0]) - after.points()[5]) @ step) < 1e-6  # the nearest place on the line


def test_the_axis_takes_its_points_along():
    before = clicked((100, 20), (100, 200))
    after = move(before, 1, 100, 160)
    assert after.distances == before.distances
    np.testing.assert_allclose(after.points()[[8, 9, 10]], [[100, 55], [100, 90], [100, 125]])
    assert move(before, 9, 0, 0) == before  # L10 follows; it is not dragged
    assert move(before, 0, 100, 199) == before  # no axis without length


def test_a_step_of_the_keyboard_is_exact():
    draft = clicked((100, 20), (130, 200))
    for index in (0, 1, 4, 13):
        step = nudge(draft, index, 0.1, 0).points()[index] - draft.points()[index]
        assert abs(np.linalg.norm(step) - 0.1) < 1e-9 and step[0] > 0.09
    assert nudge(draft, 4, 0, 1) == draft  # along the axis a lateral point has no freedom


def test_guides_run_through_the_points_of_their_level():
    draft = clicked((90, 30), (120, 210))
    left, right = draft.guides().transpose(1, 0, 2)
    points = draft.points()
    for level, k in enumerate(LEFT_CONTOUR):
        a, b = points[k] - left[level], right[level] - left[level]
        assert abs(a[0] * b[1] - a[1] * b[0]) < 1e-8


def test_a_draft_survives_its_points():
    draft = move(clicked((90, 30), (120, 210)), 2, 20, 80)
    np.testing.assert_allclose(Draft.of(draft.points()).points(), draft.points(), atol=1e-9)


# cell 48bc5846
def test_a_share_of_the_pictures_comes_again_and_late_enough():
    names = [f"p{i}" for i in range(400)]
    queue = annotation_queue(names, repeats=0.1, gap=10)
    assert [slot.picture for slot in queue if not slot.again] == list(range(400))
    first, second = ({slot.picture: place for place, slot in enumerate(queue) if slot.again is again} for again in (False, True))
    assert 20 < len(second) < 60
    assert all(sum(not slot.again for slot in queue[first[k] + 1 : place]) >= min(10, 399 - k) for k, place in second.items())
    assert [slot.picture for slot in annotation_queue(names[:3], repeats=1.0) if slot.again] == [0, 1, 2]


def test_more_pictures_do_not_change_who_comes_again():
    names = [f"p{i}" for i in range(400)]
    again = [{slot.picture for slot in annotation_queue(names[:n], 0.2) if slot.again} for n in (200, 400)]
    assert again[0] == {k for k in again[1] if k < 200} and again[0] != {slot.picture for slot in annotation_queue(names[:200], 0.2, seed=1) if slot.again}


# cell 0c76f1ff
def test_observer_error_finds_the_error_that_was_put_in():
    rng = np.random.default_rng(0)
    truth = sample_shapes(300, seed=3).astype(np.float64)
    first, second = (truth + rng.normal(0, 2 / 224, truth.shape) for _ in range(2))  # 2 px in x and in y: 2 * sqrt(2) radially
    found = observer_error(first, second)
    assert abs(found["error_px"] - 2 * math.sqrt(2)) < 0.05
    assert found["error_px_ci95"][0] < 2 * math.sqrt(2) < found["error_px_ci95"][1]
    assert abs(found["difference_px"] - 2 * math.sqrt(math.pi)) < 0.05  # Rayleigh: sigma sqrt(pi / 2), sigma = 2 sqrt 2
    shifted = observer_error(truth, truth + 3 / 224)
    assert abs(shifted["difference_px"] - 3 * math.sqrt(2)) < 1e-9 and abs(shifted["error_px"] - 3) < 1e-9


# cell fdef3aa7
def three_pictures(folder, n=3):
    """Phantoms as PNG files of a folder; their paths."""
    images, _, _ = phantoms(n, seed=5, size=96)
    paths = [folder / f"phantom-{i:03d}.png" for i in range(n)]
    for path, image in zip(paths, images, strict=True):
        write_whole(path, cv2.imencode(".png", image)[1].tobytes())
    return paths


def annotate(session, top, bottom):
    for x, y in (top, bottom):
        session.do({"do": "click", "x": x, "y": y})


def test_a_session_writes_what_check_data_accepts_and_goes_on_where_it_stopped(tmp_path):
    paths = three_pictures(tmp_path)
    table = tmp_path / "points.csv"
    session = AnnotationSession([tmp_path], table)
    annotate(session, (48.25, 10), (50, 84))
    session.do({"do": "drag", "index": 2, "x": 20, "y": 30})
    session.do({"do": "drop"})
    wanted = session.draft.points()
    session.do({"do": "next"})
    np.testing.assert_allclose(read_annotations(table).points_px[0], wanted, atol=0.005)

    again = AnnotationSession(paths, table)
    assert again.position == 1 and again.path == paths[1] and not again.draft.ends
    again.do({"do": "next"})  # passed over
    annotate(again, (47, 12), (47, 80))
    again.do({"do": "next"})
    assert "2 annotated" in again.status and "1 turns passed over" in again.status
    report = check_data(tmp_path)
    assert report.ok, report.text()
    assert report.data.names == ("phantom-000.png", "phantom-002.png")
    assert table.read_text().splitlines()[0].endswith(",y15,file_width,file_height") and ",96,96" in table.read_text().splitlines()[1]
    again.do({"do": "previous"})
    again.do({"do": "previous"})
    np.testing.assert_allclose(again.draft.points(), wanted, atol=0.01)


def test_undo_takes_a_whole_drag_back_and_redo_does_it_again(tmp_path):
    session = AnnotationSession(three_pictures(tmp_path), tmp_path / "points.csv")
    annotate(session, (48, 10), (50, 84))
    start = session.draft
    session.do({"do": "grab", "index": 3})
    for x in (70, 75, 80):
        session.do({"do": "drag", "index": 3, "x": x, "y": 30})
    session.do({"do": "drop"})
    end = session.draft
    session.do({"do": "nudge", "dx": 0.1, "dy": 0})
    session.do({"do": "undo"})
    assert session.draft == end
    session.do({"do": "undo"})
    assert session.draft == start
    session.do({"do": "redo"})
    assert session.draft == end
    for _ in range(4):
        session.do({"do": "undo"})
    assert session.draft == Draft() and "nothing to undo" in session.status and not (tmp_path / "points.csv").exists()


def test_what_must_not_be_saved_is_not_and_says_why(tmp_path):
    session = AnnotationSession(three_pictures(tmp_path), tmp_path / "points.csv")
    session.do({"do": "click", "x": 48, "y": 10})
    session.do({"do": "next"})
    assert session.position == 0 and "lower end" in session.status
    session.do({"do": "click", "x": 49, "y": 11})
    assert "within 4 pixels" in session.status and len(session.draft.ends) == 1
    session.do({"do": "click", "x": 48, "y": 80})
    session.do({"do": "drag", "index": 0, "x": 48, "y": 95})
    session.do({"do": "next"})
    assert session.position == 0 and "L1 lies below L2" in session.status and not (tmp_path / "points.csv").exists()


def test_a_table_of_somebody_else_is_never_overwritten(tmp_path):
    paths, table = three_pictures(tmp_path), tmp_path / "points.csv"
    session = AnnotationSession(paths, table)
    annotate(session, (48, 10), (50, 84))
    table.write_text("image,note\nphantom-000,mine\n")
    session.do({"do": "next"})
    assert "another program" in session.status and session.position == 0 and "mine" in table.read_text()
    try:
        AnnotationSession(paths, table)
        raise AssertionError("a foreign table was taken")
    except DataError as error:
        assert "was not written by the annotator" in str(error)


def test_hidden_repeats_give_the_observer_error(tmp_path):
    paths = three_pictures(tmp_path)
    session = AnnotationSession(paths, tmp_path / "points.csv", repeats=1.0)
    for shift in (0, 0, 0, 2, 2, 2):
        assert not any(path.stem in session.status for path in paths)
        annotate(session, (48 + shift, 10), (48 + shift, 82))
        session.do({"do": "next"})
    error = observer_error(*session.repeated())
    assert error["n"] == 3 and abs(error["difference_px"] - 2 * 224 / 96) < 0.02  # 2 px of 96, to a hundredth
    assert check_data(tmp_path).ok  # the repeats are no second table
    assert "Your own error" in session.status


def test_a_table_from_before_sizes_were_written_is_taken_up(tmp_path):
    paths, table = three_pictures(tmp_path), tmp_path / "points.csv"
    points = Draft(((48, 10), (50, 84)), tuple(SHAPE_MEAN[4:] * 96)).points()
    write_whole(table, points_csv(paths[:1], points[None]).encode())
    session = AnnotationSession(paths, table)
    assert session.position == 1
    annotate(session, (48, 10), (50, 84))
    session.do({"do": "next"})
    assert [line.split(",")[-2:] for line in table.read_text().splitlines()[1:]] == [["", ""], ["96", "96"]]


def test_who_accepts_every_answer_of_a_model_is_not_told_to_make_no_error(tmp_path):
    paths = three_pictures(tmp_path)
    answer = Draft(((48, 10), (50, 84)), tuple(SHAPE_MEAN[4:] * 96)).points()
    session = AnnotationSession(paths, tmp_path / "points.csv", start={path.name: answer for path in paths}, repeats=1.0)
    for _ in session.queue:
        session.do({"do": "next"})
    assert "3 annotated" in session.status and "3 turns passed over" in session.status and "own error" not in session.status

    session = AnnotationSession(paths, tmp_path / "points.csv", start={path.name: answer for path in paths}, repeats=1.0)
    for _ in paths:
        assert session.queue[session.position].again and not session.draft.ends  # what the model said stands nowhere
        annotate(session, (48, 12), (50, 84))
        session.do({"do": "next"})
    assert observer_error(*session.repeated())["difference_px"] > 1
    assert "Your own error (once corrected, once from nothing)" in session.status


def test_correction_begins_with_the_answer_of_a_model(tmp_path):
    paths = three_pictures(tmp_path)
    answer = Draft(((48, 10), (50, 84)), tuple(SHAPE_MEAN[4:] * 96)).points()
    session = AnnotationSession(paths, tmp_path / "points.csv", start={paths[0].name: answer})
    np.testing.assert_allclose(session.draft.points(), answer, atol=1e-6)
    session.do({"do": "next"})
    assert session.position == 1 and not session.draft.ends
    session.do({"do": "enter"})
    session.do({"do": "enter"})
    assert session.draft.complete and session.chosen == 1
