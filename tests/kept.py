"""What a long check found, as a small record: written where LANDMARK_THESIS_CHECKS names a folder, as figures/bench/checks, from which the READMEs state it."""

import datetime
import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from landmark_thesis.data import write_whole
from landmark_thesis.runs import environment


def keep(name: str, config: pytest.Config, found: dict[str, Any], asked: str = "") -> None:
    """NAME.json with what was `found`, the command that found it (`asked`: what stood before it, as "MUTATIONS=1000"), the day, versions and machine; without a folder nothing."""
    folder = os.environ.get("LANDMARK_THESIS_CHECKS")
    if not folder:
        return
    command = " ".join([*[asked] * bool(asked), "pytest", shlex.join(map(str, config.invocation_params.args))])
    content = {"command": command, "date": datetime.date.today().isoformat(), **environment(torch.device("cpu")), **found}
    write_whole(Path(folder) / f"{name}.json", (json.dumps(content, indent=1) + "\n").encode())
