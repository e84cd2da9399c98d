"""Every table that is written for LaTeX compiles with a real LaTeX, where one is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from landmark_thesis.figures import Difference, ablation_table, class_table, landmark_table, results_table
from landmark_thesis.landmarks import LANDMARK_NAMES

COMMITTED = sorted((Path(__file__).resolve().parent.parent / "figures").rglob("*.tex"))
PAGE = r"""\documentclass[a4paper,11pt]{article}
\usepackage[T1]{fontenc}
\usepackage[margin=25mm]{geometry}
\usepackage{booktabs}
\begin{document}
%s
\end{document}
"""


def rows(category):
    numbers = {f"{name}_{what}": 1.5 + k for k, name in enumerate(LANDMARK_NAMES) for what in ("radial", "dx", "dy", "along", "across")}
    return [{"part": "val", "image": f"{category}-{i}", "category": category, **{key: value + i for key, value in numbers.items()}} for i in range(4)]


def spanish_tables():
    options = {"lang": "es", "decimal_comma": True}
    some = rows("Viral Pneumonia") + rows("50 % & more_$#{}~^\\")
    metrics = {"mre_px": 6.5, "mre_px_ci95": [6.0, 7.1], "median_px": 5.5, "p95_px": 14.0, "sdr": dict.fromkeys(("3", "5", "10"), 0.5)}
    results = {"part": "val", "n_val": 96, "models": [{"run": "a_b"}], "val": metrics, "selected_on_part": True}
    yield landmark_table(some, "latex", stamp="contaminated", **options)
    yield class_table(some, "latex", **options)
    yield results_table([results], "latex", **options)
    yield ablation_table([Difference("log-2px", -0.12, (-0.2, 0.01), 1)], "latex", **options)


def test_every_table_compiles(tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex with booktabs (Debian: texlive-latex-base, texlive-latex-recommended)")
    assert len(COMMITTED) > 10
    tables = [f"\\input{{{path.as_posix()}}}" for path in COMMITTED] + list(spanish_tables())
    (tmp_path / "tables.tex").write_text(PAGE % "\n\n\\bigskip\n".join(f"\\noindent {table}" for table in tables), encoding="utf-8")
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"], cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-1500:]
    wide = [line for line in done.stdout.splitlines() if line.startswith("Overfull \\hbox")]
    assert not wide, wide
