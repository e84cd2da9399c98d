"""Many runs at once: nothing is trained twice side by side."""

import sys
from pathlib import Path

from landmark_thesis import runs

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "figures"))
import sources


def test_a_run_does_not_wait_for_another_that_begins_with_the_same(tmp_path):
    with runs.locked(tmp_path / "phantom-weights-begin"):
        recipe, source, split = sources.prepare("phantom-weights", runs.DENSE, tmp_path, tmp_path)
    assert (recipe.weights, source.folder, split) == (str(tmp_path / "phantom-weights-begin" / "best.pt"), str(tmp_path), None)
