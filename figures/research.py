"""The search for a better recipe, with its ledger: every variant that was tried, the failures included.

    python figures/research.py list                            the variants, and in which ledgers each has rows
    python figures/research.py run VARIANT --data DIR --out DIR [--seeds 0 1 2] [--short]     train and score on the validation part
    python figures/research.py sweep JOB ... --data DIR --out DIR --at-once 12     many, several at once on one card; a JOB is VARIANT/SEED, or
                                                                                   VARIANT/SEED/K for fold K of 5 over the development pictures
    python figures/research.py table [--cuda] [--short]                            print a ledger as a table
    python figures/research.py wavering RUN                                        measure what the loss of `correlated` weighs by (wavering.json)

A variant is `dense` with one thing changed. It is screened with one seed on the validation part of the thesis' split; what comes within
0.15 px of the best is due two more seeds (the ledger says how many it has). Nothing here ever scores a test part. Each run adds its line to figures/research/runs.csv, and its
radial error of each picture to figures/research/errors.csv, from which paired comparisons are made. Each run is read as the likeliest shape, too
(figures/reading.py): likeliest.csv holds those errors, of all but the oldest runs. What a CUDA card trained goes to figures/research/cuda, and what was trained for half
as many epochs (--short, a coarser sieve for what costs more) to figures/research/short; each has its own `dense`, for a row is compared with rows
of its own kind alone. folds.csv has the last candidates over the 860 development pictures, each picture judged by a model that was not trained on it.
"""

import argparse
import contextlib
import csv
import functools
import hashlib
import json
import multiprocessing
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import heads
import numpy as np
import sources
from experiments import METRICS, trained_on, write_rows
from reading import wavering
from torch import set_num_threads

from landmark_thesis.augment import WIDE_AUGMENTATION
from landmark_thesis.data import MIN_INLIERS, Signatures, lock_file, write_whole
from landmark_thesis.evaluate import evaluate_runs, predict_points, read_errors, refuse_seen, write_results
from landmark_thesis.landmarks import LANDMARK_NAMES, likeliest_shape, project_to_shape
from landmark_thesis.pixel_error import bootstrap_interval, radial_errors
from landmark_thesis.runs import DENSE, THESIS, Recipe, Run, Source, answer_covariance, pick_device, train

sources.register()
HERE = Path(__file__).resolve().parent
RESEARCH = HERE / "research"
SHORT = RESEARCH / "short"  # trained for half as many epochs
FOLDS = 5
JOB = re.compile(rf"[^/]+/\d+(/[1-{FOLDS}])?")  # variant, seed, fold


def _phase2(recipe: Recipe, **changes) -> Recipe:
    return replace(recipe, phases=(recipe.phases[0], replace(recipe.phases[1], **changes)))


def _loss(**options) -> Recipe:
    return replace(DENSE, loss_options=options)


def _rate(rate: float) -> Recipe:
    return _phase2(DENSE, rates={"backbone": rate, "head": rate})


def _sized(size: int) -> Recipe:
    return replace(DENSE, preprocessing=replace(DENSE.preprocessing, size=size))


STRETCHED = replace(DENSE, augmentation=replace(WIDE_AUGMENTATION, stretch=0.12))
# name -> (recipe, what is asked)
VARIANTS: dict[str, tuple[Recipe, str]] = {
    "dense": (DENSE, "the reference, and its spread over seeds"),
    "epochs-80": (_phase2(DENSE, epochs=80), "does twice the schedule help?"),
    "linear-loss": (_loss(scale_px=100.0, coefficient=250.0), "the distance itself, whose minimum is what MRE asks for, instead of its logarithm"),
    "sigma-12": (_loss(sigma_px=12.0), "a wider target, as wide as the labels are uncertain"),
    "no-context": (replace(DENSE, head_options={"context": False}), "without the fully connected layer on the 7 x 7 map"),
    "stride-4": (replace(DENSE, head_options={"stride": 4}), "maps of 56 x 56"),
    "stride-16": (replace(DENSE, head_options={"stride": 16}), "maps of 14 x 14"),
    "no-average": (_phase2(DENSE, average=None), "the last weights themselves, without the moving average"),
    "grey": (
        replace(DENSE, augmentation=replace(WIDE_AUGMENTATION, brightness=0.4, contrast=0.4, gamma=0.4, noise=0.03)),
        "stronger changes of exposure",
    ),
    "wider": (replace(DENSE, augmentation=replace(WIDE_AUGMENTATION, rotation=20.0, scale=0.25, shift=0.15)), "still wider geometry"),
    "narrow": (replace(DENSE, augmentation=replace(WIDE_AUGMENTATION, rotation=8.0, scale=0.08, shift=0.06)), "narrower geometry"),
    "stretch": (STRETCHED, "broader and narrower chests too"),
    "stretch-80-likeliest": (
        replace(_phase2(STRETCHED, epochs=80), likeliest=True),
        "the stretch, twice the schedule to see more, and the likeliest shape instead of the nearest",
    ),
    "rate-half": (_rate(5e-4), "half the learning rate"),
    "rate-double": (_rate(2e-3), "twice the learning rate"),
    "decay-none": (_phase2(DENSE, weight_decay=0.0), "without weight decay"),
    "decay-more": (_phase2(DENSE, weight_decay=0.2), "four times the weight decay"),
    "batch-32": (replace(DENSE, batch_size=32), "twice the batch, so half the steps"),
    "resnet34": (replace(DENSE, backbone="resnet34"), "a deeper backbone"),
    "resnet50": (replace(DENSE, backbone="resnet50"), "a still deeper one"),
    "lite0-random": (replace(DENSE, backbone="efficientnet_lite0"), "the backbone of `lite0` from random weights, its batch norm learning too"),
    "lite0": (replace(DENSE, backbone="efficientnet_lite0", weights="imagenet"), "a backbone with ImageNet weights"),
    "correlated": (replace(DENSE, loss="correlated"), "one distance a picture, in which what wavers together counts once"),
    "refined-shape": (replace(DENSE, head="refined", loss="shape"), "each coordinate may lean on all others, and the distance after projection, so that its raw answers are free"),
    "local": (replace(DENSE, head="local"), "maps read in a window about their peak"),
    "simcc": (replace(DENSE, head="simcc", loss="simcc"), "two classifications a point instead of a map (SimCC)"),
    "axis": (
        replace(DENSE, head="axis", loss="axis"),
        "axis ends as distributions, and each lateral distance as one, looked for along the perpendicular of that axis",
    ),
    "regression": (
        replace(DENSE, head="regression", head_options=THESIS.head_options, loss="wing", loss_options=THESIS.loss_options),
        "the thesis' head and loss, all else as `dense`: what the maps are worth",
    ),
    "regression-log": (
        replace(DENSE, head="regression", head_options=THESIS.head_options, loss_options={"heatmap_weight": 0.0}),
        "the thesis' head, but the distance of `dense`: is it the head or the loss?",
    ),
    "wing": (replace(DENSE, loss="wing", loss_options=THESIS.loss_options), "the head of `dense`, but the thesis' loss on its points and nothing on its maps"),
    "phantom-weights": (DENSE, "a backbone with weights that were trained on phantoms (sources.py)"),
    "phantom-weights-stretch-60": (_phase2(STRETCHED, epochs=60), "weights that began with phantoms, the stretch, and half as many epochs again"),
    "phantom-weights-bn-eval": (replace(DENSE, head_options={"backbone_eval": True}), "the same weights, their batch norm in eval mode throughout"),
    "phantom-weights-80": (_phase2(DENSE, epochs=80), "the same weights, and twice the schedule"),
    "phantom-weights-more": (DENSE, "weights from twice as many phantoms, trained on them four times as long"),
    "phantoms-mixed": (DENSE, "as many phantoms again among the training pictures, so twice the steps"),
    "size-288": (_sized(288), "a picture of 288"),
    "size-320": (_sized(320), "a picture of 320, enlarged from 299"),
    "size-384": (_sized(384), "a picture of 384, enlarged from 299"),
}


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def halved(recipe: Recipe) -> Recipe:
    return _phase2(recipe, epochs=recipe.phases[1].epochs // 2)


def place_of(device: str, short: bool = False) -> Path:
    """The folder of the ledger that a run on `device` ("cpu (...)", "cuda (...)") belongs to; `short`: of half the schedule."""
    place = RESEARCH / "cuda" if device.startswith("cuda") else RESEARCH
    return place / SHORT.name if short else place


def is_short(run: Run, variant: str) -> bool:
    return run.recipe.phases[1].epochs < VARIANTS[variant][0].phases[1].epochs


def both_readings(run: Run, part: str) -> dict[str, dict[str, float]]:
    """{"nearest", "likeliest"}: image -> mean radial error (px@224) on a part, by how the answers are moved to a shape. LeakageError for what it has seen."""
    data, device = run.source.load(run.recipe.preprocessing), pick_device("auto")
    scored, settings = data.subset(run.part(part)), {"device": device, "precision": run.recipe.precision}
    refuse_seen([run], scored)
    # Phantoms that were mixed in lie elsewhere. In the order of the names, as in all rows of the ledgers: a run of `steady` goes through its split in the split's order, so its views are others.
    own = data.subset(sorted(set(run.part("train")) & set(data.names)))
    form = answer_covariance(run.model(), own.images, seed=run.seed, **settings)
    points, target = predict_points(run.model(), scored.images, **settings).astype(float), scored.points.numpy().astype(float)
    read = {"nearest": project_to_shape(points), "likeliest": likeliest_shape(points, form)}
    return {way: dict(zip(scored.names, radial_errors(moved, target, 224).mean(1), strict=True)) for way, moved in read.items()}


@contextlib.contextmanager
def _alone_at(place: Path) -> Iterator[None]:
    """Hold what a ledger's lock is; wait while another process does. Each reads the ledger, adds to it, and writes it whole."""
    name = hashlib.sha256(str(place.resolve()).encode()).hexdigest()[:16]
    with open(Path(tempfile.gettempdir()) / f"ledger-{name}.lock", "a") as file:
        while not lock_file(file):
            time.sleep(0.05)
        yield


def _refuse_others(path: Path, errors: dict[str, float]) -> None:
    """ValueError where the table at `path` is of other pictures than `errors`."""
    if (known := {row["image"] for row in _rows(path)}) and known != errors.keys():
        raise ValueError(f"{path}: is of {len(known)} pictures, and this run was scored on {len(errors)} others; move the ledgers of other pictures away first")


def _column(path: Path, key: str, errors: dict[str, float]) -> None:
    """Put one column, a value a picture, into the table at `path`."""
    table = {row["image"]: row for row in _rows(path)} or {name: {"image": name} for name in sorted(errors)}
    for name, row in table.items():
        row[key] = f"{errors[name]:.3f}"
    write_rows(path, [{"image": name, **{column: row[column] for column in sorted(row) if column != "image"}} for name, row in table.items()])


def ledgers_of(variant: str) -> list[str]:
    """By which name each ledger that holds a run of `variant` goes."""
    places = {"whole schedule": RESEARCH, "half": SHORT, "card": RESEARCH / "cuda", "card, half": RESEARCH / "cuda" / SHORT.name}
    return [name for name, place in places.items() if any(row["run"].rsplit("/", 1)[0] == variant for row in _rows(place / "runs.csv"))]


def note(run: Run, variant: str, results: dict, likeliest: dict[str, float] | None = None) -> None:
    """One line in the ledger, one column of errors; a run that is noted again replaces its own."""
    key, metrics = f"{variant}/{run.seed}", results["val"]
    told = json.loads((run.path / "environment.json").read_text(encoding="utf-8"))
    place = place_of(told["device"], is_short(run, variant))
    radial = {row["image"]: float(np.mean([row[f"{name}_radial"] for name in LANDMARK_NAMES])) for row in read_errors(run.path / "errors.csv", "val")}
    for table, errors in (("errors.csv", radial), ("likeliest.csv", likeliest or radial)):  # before anything is written
        _refuse_others(place / table, errors)
    row = {"run": key, "asked": VARIANTS[variant][1], "noted": datetime.now(UTC).date().isoformat(), "n": results["n_val"]}
    for name in METRICS:
        low, high = metrics[f"{name}_ci95"]
        row |= {name: f"{metrics[name]:.3f}", f"{name}_ci95": f"{low:.2f} to {high:.2f}"}
    if likeliest is not None:
        values = np.array(list(likeliest.values()))
        low, high = bootstrap_interval(values)
        row |= {"likeliest_px": f"{values.mean():.3f}", "likeliest_px_ci95": f"{low:.2f} to {high:.2f}"}
    taken = f"{told['seconds'] / 60:.0f}" if told["device"].startswith("cpu") else f"{told['seconds'] / 60:.1f}"
    row |= {"sdr_5": f"{metrics['sdr']['5']:.4f}", "minutes": taken, "precision": told["precision"], "split": run.split.fingerprint}
    row |= {"device": told["device"], "torch": told["versions"]["torch"]}
    with _alone_at(place):
        write_rows(place / "runs.csv", sorted([*(old for old in _rows(place / "runs.csv") if old["run"] != key), row], key=lambda row: row["run"]))
        _column(place / "errors.csv", key, radial)
        if likeliest is not None:
            _column(place / "likeliest.csv", key, likeliest)


def trained(variant: str, seed: int, data: Path, out: Path, fold: int | None = None, short: bool = False) -> Run:
    """The run of one variant and seed below `out` (of one fold of five over the development pictures; of half the schedule), trained if need be."""
    asked = replace(VARIANTS[variant][0], name=variant)
    recipe, source, split = sources.prepare(variant, halved(asked) if short else asked, data, out)
    place = out / (f"{variant}-{seed}" + ("-short" if short else "") + ("" if fold is None else f"-fold{fold}"))
    command = f"python figures/research.py run {variant} --seeds {seed}" if fold is None else f"python figures/research.py sweep {variant}/{seed}/{fold}"
    command += (" --short" if short else "") + " --data DIR --out DIR"
    return train(recipe, source, place, seed=seed, split=split, fold=fold and (fold, FOLDS), resume=place.exists(), quiet=True, command=command)


def scored(run: Run) -> dict:
    """Its results on the validation part, kept in its folder."""
    results = evaluate_runs(run, part="val", command=json.loads((run.path / "environment.json").read_text(encoding="utf-8"))["command"])
    write_results(results, run.path / "results.json")
    return results


def run(variant: str, data: Path, out: Path, seeds: list[int], short: bool = False) -> None:
    if start := sources.START_OF.get(variant):
        sources.begin(start, out)
    for seed in seeds:
        one = trained(variant, seed, data, out, short=short)
        results, likeliest = scored(one), both_readings(one, "val")["likeliest"]
        note(one, variant, results, likeliest)
        print(f"{variant}/{seed}: {results['val']['mre_px']:.3f} px@224, as the likeliest shape {np.mean(list(likeliest.values())):.3f}", flush=True)


def _worker() -> None:
    """A process of a sweep: the pictures are read, checked and compared once, not once a run."""
    set_num_threads(1)
    Source.load, Source.check = functools.cache(Source.load), functools.cache(Source.check)
    match, known = Signatures.match, {}

    def matched(self: Signatures, other: Signatures | None = None, min_inliers: int = MIN_INLIERS) -> list[tuple[int, int, int]]:
        key = (self.digests.tobytes(), None if other is None else other.digests.tobytes(), min_inliers)  # of the pictures themselves, in their order
        if key not in known:
            known[key] = match(self, other, min_inliers)
        return known[key]

    Signatures.match = matched


def _one_of_many(job: str, data: Path, out: Path) -> tuple[Path, dict | None, dict[str, dict[str, float]]] | None:
    """The run of a job, its results on the validation part and its errors both ways; None for what others begin with."""
    if job in sources.STARTS:
        return sources.begin(job, out)
    variant, seed, *fold = job.split("/")
    one = trained(variant, int(seed), data, out, int(fold[0]) if fold else None)
    return one.path, None if fold else scored(one), both_readings(one, "oof" if fold else "val")


def _note_fold(run: Run, variant: str, read: dict[str, dict[str, float]]) -> None:
    """The pictures of one fold into folds.csv; columns VARIANT/SEED and VARIANT/SEED/likeliest."""
    path = place_of(trained_on(run)) / "folds.csv"
    with _alone_at(path.parent):
        table = {row["image"]: row for row in _rows(path)}
        for key, errors in ((f"{variant}/{run.seed}", read["nearest"]), (f"{variant}/{run.seed}/likeliest", read["likeliest"])):
            for name, error in errors.items():
                table.setdefault(name, {"image": name, "fold": run.settings["fold"]["number"]})[key] = f"{error:.3f}"
        write_rows(path, [table[name] for name in sorted(table)])


def _note_job(job: str, path: Path, results: dict | None, read: dict[str, dict[str, float]]) -> str:
    """Into the ledgers with what a job returned; what there is to print of it."""
    if results is None:
        _note_fold(Run(path), job.split("/")[0], read)
    else:
        note(Run(path), job.split("/")[0], results, read["likeliest"])
    return ", ".join(f"{way} {np.mean(list(errors.values())):.3f}" for way, errors in read.items()) + " px@224"


def _next(waiting: list[str], ready: set[str]) -> str | None:
    """Taken out of `waiting`: the first job that begins with nothing, or with what is `ready`."""
    starts = {job: sources.START_OF.get(job.split("/")[0]) for job in waiting}
    job = next((job for job, start in starts.items() if start is None or start in ready), None)
    if job is not None:
        waiting.remove(job)
    return job


def sweep(jobs: list[str], data: Path, out: Path, at_once: int, seconds: float) -> None:
    """Train and score one job after the other, `at_once` side by side: one small network does not fill a card.

    What several begin with is trained first, and what begins with nothing does not wait for it. What ends is noted at once. After `seconds`, or when
    a process was killed (what took its memory would take the next one's, too), nothing new begins, and what has not ended is left as it is, to be resumed.
    """
    began, running, lost, ready = time.perf_counter(), {}, [], set()
    waiting = [*dict.fromkeys(sources.START_OF[job.split("/")[0]] for job in jobs if job.split("/")[0] in sources.START_OF), *jobs]
    pool = ProcessPoolExecutor(at_once, multiprocessing.get_context("spawn"), _worker)
    while (running or (waiting and not lost)) and (left := began + seconds - time.perf_counter()) > 0:
        while not lost and len(running) < at_once and (job := _next(waiting, ready)):
            try:
                running[pool.submit(_one_of_many, job, data, out)] = job
            except BrokenProcessPool:  # some of what runs may have ended well before that
                lost.append(job)
        if not running:  # what the others wait for has failed
            break
        for done in wait(running, min(left, 3600), FIRST_COMPLETED).done:
            job = running.pop(done)
            try:
                ended = done.result()
                told = _note_job(job, *ended) if ended else "trained"
            except BrokenProcessPool:
                lost.append(job)
            except Exception as error:  # one variant that fails, or that its ledger cannot take, must not cost the others
                print(f"{job}: {type(error).__name__}: {error}", flush=True)
            else:
                ready.add(job)
                print(f"{time.perf_counter() - began:4.0f} s  {job}: {told}", flush=True)
    if lost:
        print("a process was killed, and with it all that ran: too many at once for the memory?", flush=True)
    for job in (*lost, *running.values(), *waiting):
        print(f"{job}: not ended", flush=True)
    for process in list(pool._processes.values()):  # no public way to end what runs
        process.terminate()
    pool.shutdown(wait=False, cancel_futures=True)


def table(place: Path = RESEARCH) -> str:
    rows = sorted(_rows(place / "runs.csv"), key=lambda row: float(row["mre_px"]))
    lines = ["| run | asked | mean radial error | across | along | contour | p95 | min |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        interval = row["mre_px_ci95"].replace(" to ", ", ")
        lines.append(
            f"| {row['run']} | {row['asked']} | {float(row['mre_px']):.2f} [{interval}] | {row['across_px']} | {row['along_px']} "
            f"| {row['contour_px']} | {row['p95_px']} | {row['minutes']} |"
        )
    return "\n".join(lines)


def _positive(kind: type) -> Callable[[str], float]:
    """A type of argparse: a number above 0."""
    def read(word: str) -> float:
        if not (value := kind(word)) > 0:
            raise argparse.ArgumentTypeError(f"{word} is not above 0")
        return value

    return read


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    ledger = commands.add_parser("table")
    ledger.add_argument("--cuda", action="store_true", help="of what a CUDA card trained")
    ledger.add_argument("--short", action="store_true", help="of half the schedule")
    commands.add_parser("wavering").add_argument("run", type=Path)
    one = commands.add_parser("run")
    one.add_argument("variant", choices=VARIANTS)
    one.add_argument("--data", type=Path, required=True)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--seeds", type=int, nargs="+", default=[0])
    one.add_argument("--short", action="store_true", help="half as many epochs, noted beside a `dense` of half as many")
    many = commands.add_parser("sweep")
    many.add_argument("jobs", nargs="+", metavar="VARIANT/SEED[/K]")
    many.add_argument("--data", type=Path, required=True)
    many.add_argument("--out", type=Path, required=True)
    many.add_argument("--at-once", type=_positive(int), default=12)
    many.add_argument("--seconds", type=_positive(float), default=float("inf"))
    arguments = parser.parse_args()
    if arguments.command == "list":
        print("\n".join(f"{name:26} {', '.join(ledgers_of(name)) or 'not run yet':24} {why}" for name, (_, why) in VARIANTS.items()))
    elif arguments.command == "table":
        print(table(place_of("cuda" if arguments.cuda else "cpu", arguments.short)))
    elif arguments.command == "wavering":
        rows = [json.dumps(row) for row in wavering(Run(arguments.run)).round(5).tolist()]
        write_whole(heads.FORM, ("[\n" + ",\n".join(rows) + "\n]\n").encode())
    elif arguments.command == "sweep":
        if unknown := [job for job in arguments.jobs if job.split("/")[0] not in VARIANTS or not JOB.fullmatch(job)]:
            raise SystemExit(f"no such variant, seed or fold: {', '.join(unknown)} (python figures/research.py list)")
        sweep(arguments.jobs, arguments.data, arguments.out, arguments.at_once, arguments.seconds)
    else:
        run(arguments.variant, arguments.data, arguments.out, arguments.seeds, arguments.short)
    return 0


if __name__ == "__main__":
    sys.exit(main())
