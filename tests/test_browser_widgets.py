"""The widgets' chapter in JupyterLab and Chromium: all cells, a slider, a training that is stopped, two pictures annotated by mouse."""

import browser
import numpy as np
import pytest
from browser import need, opened

from landmark_thesis.data import check_data, read_annotations
from landmark_thesis.widgets import Draft, click, move

SIDE, PICTURE = 640, 160  # pixels of the canvas on the screen, of the chapter's phantoms


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    need()
    folder = tmp_path_factory.mktemp("lab")
    with opened(folder) as open_chapter:
        chapter = open_chapter("16_widgets")
        chapter.run_all(seconds=420)
        yield chapter, folder


def panel(chapter, text):
    """The output area that holds a text, in sight."""
    area = chapter.page.locator(".jp-Cell-outputWrapper").filter(has_text=text).first
    area.scroll_into_view_if_needed()
    return area


def button(area, text):
    """The ipywidgets button that says a text (its icon is part of its accessible name)."""
    return area.locator("button.jupyter-button").filter(has_text=text)


def redraws(chapter, area, act):
    """Do something to a panel; its figure must become another one, and stay one."""
    picture = area.locator("img")
    before = picture.get_attribute("src")
    act()
    chapter.page.wait_for_function("([area, old]) => area.querySelector('img').src !== old", arg=[area.element_handle(), before], timeout=30_000)
    assert picture.count() == 1


def slider(area, text):
    """The handle of the slider that a text describes."""
    return area.locator(".widget-inline-hbox").filter(has_text=text).locator(".noUi-handle")


def press(chapter, handle, key):
    handle.focus()
    chapter.page.keyboard.press(key)


@pytest.mark.parametrize(("promised", "outcome"), [("", pytest.skip.Exception), ("required", pytest.fail.Exception)])
def test_a_missing_browser_is_passed_over_but_where_it_was_promised(promised, outcome, monkeypatch):
    monkeypatch.setenv("LANDMARK_THESIS_BROWSER", promised)
    monkeypatch.setattr(browser, "why_not", lambda: "needs Chromium")
    with pytest.raises(outcome, match="needs Chromium"):
        need()


def test_every_cell_runs_and_every_widget_has_its_model(lab):
    chapter, _ = lab
    chapter.screenshot("all")
    assert chapter.problems() == []
    assert chapter.page.locator(".lt-annotator").count() == 2
    assert chapter.page.locator(".lt-picture").count() == 6  # phases, augmentation, two trainings, viewer, leak
    assert button(chapter.page, "Start").count() == 2


def test_a_slider_redraws_the_figure_in_place(lab):
    chapter, _ = lab
    area = panel(chapter, "floor (share)")
    before = area.locator("img").get_attribute("src")
    area.locator(".noUi-handle").first.focus()
    chapter.page.keyboard.press("ArrowRight")
    chapter.page.wait_for_function("([area, old]) => area.querySelector('img').src !== old", arg=[area.element_handle(), before], timeout=30_000)
    assert area.locator("img").count() == 1 and area.locator(".widget-readout").first.inner_text() == "16"
    assert chapter.problems() == []


@pytest.mark.slow
def test_the_viewer_leafs_and_keeps_to_a_class(lab):
    chapter, _ = lab
    area = panel(chapter, "as they stand")
    place = slider(area, "picture")
    redraws(chapter, area, lambda: press(chapter, place, "ArrowRight"))
    assert place.get_attribute("aria-valuenow") == "2.0" and place.get_attribute("aria-valuemax") == "24.0"
    classes = area.locator("select").first
    counts = []
    for name in classes.locator("option").all_inner_texts()[1:]:
        redraws(chapter, area, lambda name=name: classes.select_option(label=name))
        chapter.page.wait_for_function("handle => handle.getAttribute('aria-valuenow') === '1.0'", arg=place.element_handle())
        counts.append(float(place.get_attribute("aria-valuemax")))
    assert len(counts) > 1 and sum(counts) == 24
    redraws(chapter, area, lambda: area.locator("select").nth(1).select_option(label="as they stand"))
    chapter.screenshot("viewer")
    assert chapter.problems() == []


@pytest.mark.slow
def test_the_playground_bends_the_picture(lab):
    chapter, _ = lab
    area = panel(chapter, "CLAHE clip")
    for text, key in (("rotation", "End"), ("CLAHE clip", "Home"), ("picture", "ArrowRight"), ("noise", "End")):
        redraws(chapter, area, lambda text=text, key=key: press(chapter, slider(area, text), key))
    assert slider(area, "rotation").get_attribute("aria-valuenow") == "45.0"
    chapter.screenshot("playground")
    assert chapter.problems() == []


@pytest.mark.slow
def test_the_split_explorer_counts_again_and_says_what_it_cannot_draw(lab):
    chapter, _ = lab
    area = panel(chapter, "split that scores")
    members = area.locator("select[multiple]")
    redraws(chapter, area, lambda: members.select_option(label=["42", "123"]))
    redraws(chapter, area, lambda: area.locator("input[type=checkbox]").click())
    members.select_option([])
    chapter.page.wait_for_function("area => area.innerText.includes('choose at least one member')", arg=area.element_handle(), timeout=30_000)
    redraws(chapter, area, lambda: members.select_option(label=["456"]))
    assert "choose at least one" not in area.inner_text()
    chapter.screenshot("leak")
    assert chapter.problems() == []


def test_stop_ends_a_training_and_keeps_the_best(lab):
    chapter, _ = lab
    area = panel(chapter, "not started")
    box = area.element_handle()
    button(area, "Start").click()
    chapter.page.wait_for_function(r"box => /epoch [2-9] of 100; \d+ (s|min).* left/.test(box.innerText)", arg=box, timeout=90_000)
    button(panel(chapter, "of 100"), "Stop").click()
    chapter.page.wait_for_function("box => box.innerText.includes('stopped by hand')", arg=box, timeout=60_000)
    assert "the model holds the weights of phase1, epoch" in box.inner_text()
    assert chapter.problems() == []


def test_two_pictures_annotated_by_mouse_stand_in_the_table_to_the_pixel(lab):
    chapter, folder = lab
    page = chapter.page
    widget = page.locator(".lt-annotator").first
    canvas, status = widget.locator("canvas"), widget.locator(".lt-status")
    canvas.scroll_into_view_if_needed()
    scale = SIDE / (1.06 * PICTURE)

    def hand(point):
        """Where on the page a pixel of the file lies."""
        box = canvas.bounding_box()
        corner = PICTURE * (1 - 1.06) / 2
        return box["x"] + (point[0] + 0.5 - corner) * scale, box["y"] + (point[1] + 0.5 - corner) * scale

    def says(words):
        page.wait_for_function("([box, words]) => box.innerText.includes(words)", arg=[status.element_handle(), words], timeout=30_000)

    wanted = []
    for number, (top, bottom) in enumerate((((78.0, 26.0), (84.0, 124.0)), ((80.0, 30.0), (80.0, 120.0)))):
        says("click the upper end")
        page.wait_for_function("canvas => canvas.dataset.ready", arg=canvas.element_handle())
        draft = Draft()
        for place, words in ((top, "click the lower end"), (bottom, "drag the points")):
            page.mouse.click(*hand(place))
            says(words)
            draft = click(draft, *place)
        for index, target in ((2, (30.0, 51.0)), (14, (140.0, 122.0))):
            page.mouse.move(*hand(draft.points()[index]))
            page.mouse.down()
            page.mouse.move(*hand(target), steps=8)
            page.mouse.up()
            draft = move(draft, index, *target)
        if number == 0:
            chapter.screenshot("annotated", ".lt-annotator")
            canvas.press("u")  # undo the last drag, and take it again
            canvas.press("r")
            canvas.press("n")
        else:
            widget.get_by_role("button", name="Accept, save, next picture").click()
        says(f"{number + 1} saved")
        wanted.append(draft.points())
    (table,) = (folder / "tmp").glob("*/mine.csv")
    found = read_annotations(table)
    assert len(found) == 2 and np.abs(found.points_px - wanted).max() < 0.3
    assert check_data(table.parent).ok
    assert chapter.problems() == []


def test_the_keyboard_alone_places_and_moves_points(lab):
    chapter, _ = lab
    widget = chapter.page.locator(".lt-annotator").nth(1)  # correction: the model's points are there
    canvas, status = widget.locator("canvas"), widget.locator(".lt-status")
    canvas.focus()
    for key in ("Tab", "ArrowRight", "Shift+ArrowDown", "Tab", "Tab", "ArrowLeft"):
        chapter.page.keyboard.press(key)
    chapter.screenshot("corrected", ".lt-annotator >> nth=1")
    chapter.page.keyboard.press("n")
    chapter.page.wait_for_function("box => box.innerText.includes('1 saved')", arg=status.element_handle(), timeout=30_000)
    for _ in range(20):  # Tab goes through the points and then leaves: no trap
        chapter.page.keyboard.press("Tab")
    assert not chapter.page.evaluate("document.activeElement.classList.contains('lt-canvas')")
    assert chapter.problems() == []
