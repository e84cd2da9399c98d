"""Every chapter in JupyterLab and Chromium, one after the other: minutes, by hand (.ci/slow)."""

import nbformat
import pytest
from browser import ROOT, need, opened

CHAPTERS = sorted(path.stem for path in (ROOT / "nbs").glob("*.ipynb") if not path.name.startswith("_"))
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def open_chapter(folder):
    need()
    with opened(folder) as open_it:
        yield open_it


def test_a_broken_chapter_is_found_broken(open_chapter, folder):
    cells = [
        "import ipywidgets as widgets\nimage = widgets.Image()\nimage.tooltip = 'ipywidgets 8.1.9 cannot draw this one'\nimage",
        "from IPython.display import display\ndisplay({'application/vnd.jupyter.widget-view+json': {'model_id': 'of-no-kernel', 'version_major': 2, 'version_minor': 0}}, raw=True)",
        "1 / 0",
        "print('never reached')",
    ]
    kernel = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata=kernel)
    nbformat.write(notebook, folder / "nbs" / "broken.ipynb")
    chapter = open_chapter("broken")
    try:
        chapter.run_all(seconds=120)
        chapter.page.wait_for_selector(':text("model not found")', timeout=60_000)  # "Loading widget", before
        found = "\n".join(chapter.problems())
        assert "ZeroDivisionError" in found and "never ran" in found and "Could not create a view" in found
        assert "1 outputs say 'model not found'" in found
    finally:
        chapter.close()


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_runs_without_a_complaint(open_chapter, name):
    chapter = open_chapter(name)
    try:
        chapter.run_all(seconds=600)
        chapter.tour()
        assert chapter.problems() == []
    finally:
        chapter.close()
