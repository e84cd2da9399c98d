"""Where a variant of the search has its first weights or its pictures from, if not as `dense` has them (research.py names them).

Both come from phantoms, drawn radiographs whose points are known exactly: the weights begin with them, or they are among the training pictures.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landmark_thesis import runs
from landmark_thesis.data import (
    DataError,
    LandmarkData,
    PreprocessSettings,
    Signatures,
    Split,
    keep_apart,
    thesis_split,
)
from landmark_thesis.model import LandmarkRegressor, create_model
from landmark_thesis.runs import DENSE, Recipe, Source, train

START_SEED = 1000  # one that no other run of the search has


@dataclass(frozen=True)
class Start:
    """A training on phantoms alone, with whose backbone some variants begin: how many are drawn (its split trains on three quarters), for how many epochs."""

    phantoms: int
    epochs: int

    def recipe(self, name: str) -> Recipe:
        return replace(DENSE, name=name, phases=(DENSE.phases[0], replace(DENSE.phases[1], epochs=self.epochs)))


STARTS = {"phantom-weights-begin": Start(2000, 20), "phantom-weights-more-begin": Start(4000, 40)}
START_OF = {
    "phantom-weights": "phantom-weights-begin",
    "phantom-weights-bn-eval": "phantom-weights-begin",
    "phantom-weights-stretch-60": "phantom-weights-begin",
    "phantom-weights-80": "phantom-weights-begin",
    "phantom-weights-more": "phantom-weights-more-begin",
}
MIXED_PHANTOMS = 717  # as many as the first draw leaves real pictures to train on

Prepared = tuple[Recipe, Source, Split | None]


class MixedSource(Source):
    """The pictures of a folder and, after them, `phantoms` drawn ones. A run keeps its fields as a plain `Source`: it is evaluated on the folder."""

    def check(self, preprocessing: PreprocessSettings) -> tuple[LandmarkData, list[tuple], Signatures]:
        """As `Source.check`; also DataError where a picture has the name of a phantom. Near-duplicates are pairs of the folder's pictures."""
        data, duplicates, signatures = super().check(preprocessing)
        drawn, _, theirs = Source(phantoms=self.phantoms, phantom_seed=self.phantom_seed).check(preprocessing)
        if both := sorted(set(data.names) & set(drawn.names)):
            raise DataError(f"{self.folder}: {both[0]} is the name of a phantom, too ({len(both)} such names)")
        return _with(data, drawn), duplicates, Signatures(
            (*signatures.names, *theirs.names),
            *(np.concatenate([getattr(signatures, key), getattr(theirs, key)]) for key in ("counts", "places", "descriptors", "digests")),
        )


def _with(data: LandmarkData, drawn: LandmarkData) -> LandmarkData:
    return LandmarkData(
        images=torch.cat([data.images, drawn.images]),
        points=torch.cat([data.points, drawn.points]),
        names=(*data.names, *drawn.names),
        categories=(*data.categories, *drawn.categories),
        frames=(*data.frames, *drawn.frames),
        pixel_hash={**data.pixel_hash, **drawn.pixel_hash},
    )


def phantoms_mixed(recipe: Recipe, data: Path) -> Prepared:
    """The thesis' split of the folder's pictures, its training part with phantoms added; what `keep_apart` takes for a copy leaves, as in every run."""
    source = MixedSource(Source.of(data).folder, phantoms=MIXED_PHANTOMS)
    joined, duplicates, signatures = source.check(recipe.preprocessing)
    drawn = joined.names[-source.phantoms :]
    real = joined.subset(joined.names[: -source.phantoms])
    split = thesis_split(real.names, real.categories, duplicates=duplicates, pixel_hash=real.pixel_hash)
    parts = {**split.parts, "train": (*split.parts["train"], *drawn)}
    split = replace(split, parts=parts, pixel_hash=joined.pixel_hash)
    return recipe, source, keep_apart(split, source.compared(real, recipe.preprocessing), signatures)


# variant -> (recipe, folder of the real pictures) -> what `train` is given
PREPARE: dict[str, Callable[[Recipe, Path], Prepared]] = {"phantoms-mixed": phantoms_mixed}


def prepare(variant: str, recipe: Recipe, data: Path, out: Path) -> Prepared:
    """What `train` is given, once what the variant begins with has been trained: a recipe, a source, and a split or None for the thesis' own."""
    if start := START_OF.get(variant):
        recipe = replace(recipe, weights=str(out / start / "best.pt"))  # its backbone
    return PREPARE[variant](recipe, data) if variant in PREPARE else (recipe, Source.of(data), None)


def begin(start: str, out: Path) -> None:
    """Train OUT/START, or check it. Once, before all that begins with it: side by side they would meet at its lock."""
    first, asked, place = next(variant for variant, name in START_OF.items() if name == start), STARTS[start], out / start
    command = f"python figures/research.py run {first} --data DIR --out DIR"
    train(asked.recipe(start), Source(phantoms=asked.phantoms), place, seed=START_SEED, resume=place.exists(), quiet=True, command=command)


def _create_model(*arguments: Any, stays_eval: bool | None = None, backbone_eval: bool | None = None, **options: Any) -> LandmarkRegressor:
    """`create_model`, which a recipe cannot ask for `stays_eval`: among its head's options this takes it as `backbone_eval`."""
    return create_model(*arguments, stays_eval=stays_eval if backbone_eval is None else backbone_eval, **options)


def register() -> None:
    """Let recipes ask for `backbone_eval`, in this process alone; a run's checkpoint says it as `stays_eval`, which needs none of this."""
    runs.create_model = _create_model
