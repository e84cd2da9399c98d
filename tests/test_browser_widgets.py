"""The widgets' chapter in JupyterLab and Chromium: all cells, a slider, a training that is stopped, two pictures annotated by mouse."""

import numpy as np
import pytest
from browser import opened, why_not

from landmark_thesis.data import check_data, read_annotations
from landmark_thesis.widgets import Draft, click, move

SIDE, PICTURE = 640, 160  # pixels of the canvas on the screen, of the chapter's phantoms


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    if reason := why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("lab")
    with opened(folder) as open_chapter:
        chapter = open_chapter("16_widgets")
        chapter.run_all(seconds=420)
        yield chapter, folder


def panel(chapter, text):
    """The output area that holds a text."""
    return chapter.page.locator(".jp-Cell-outputWrapper").filter(has_text=text).first


def button(area, text):
    """The ipywidgets button that says a text (its icon is part of its accessible name)."""
    return area.locator("button.jupyter-button").filter(has_text=text)


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
    area.scroll_into_view_if_needed()
    before = area.locator("img").get_attribute("src")
    area.locator(".noUi-handle").first.focus()
    chapter.page.keyboard.press("ArrowRight")
    chapter.page.wait_for_function("([area, old]) => area.querySelector('img').src !== old", arg=[area.element_handle(), before], timeout=30_000)
    assert area.locator("img").count() == 1 and area.locator(".widget-readout").first.inner_text() == "16"
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
