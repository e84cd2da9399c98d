"""Every chapter in JupyterLab and Chromium, one after the other: minutes, by hand (.ci/slow)."""

import pytest
from browser import ROOT, opened, why_not

CHAPTERS = sorted(path.stem for path in (ROOT / "nbs").glob("*.ipynb") if not path.name.startswith("_"))
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def open_chapter(tmp_path_factory):
    if reason := why_not():
        pytest.skip(reason)
    with opened(tmp_path_factory.mktemp("lab")) as open_it:
        yield open_it


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_runs_without_a_complaint(open_chapter, name):
    chapter = open_chapter(name)
    try:
        chapter.run_all(seconds=600)
        chapter.screenshot("all")
        assert chapter.problems() == []
    finally:
        chapter.close()
