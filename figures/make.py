"""Rebuild everything that is drawn in this folder, and the results in both READMEs, from the records: no pictures, no GPU, no training.

    python figures/make.py            rebuild
    python figures/make.py --check    change nothing; exit 1 and say what would change

What it drew is listed in drawn.csv with the hash of each file: the tests hold every committed figure and table against that list, and the long
checks (.ci/slow) draw them all again.

A record (figures/records/NAME) is a run folder without its weights: recipe, split, environment, history, and the errors of each
picture. `python figures/make.py --add RUN NAME` makes one of a run.
"""

import argparse
import csv
import filecmp
import hashlib
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from landmark_thesis import figures
from landmark_thesis.bench import markdown
from landmark_thesis.data import read_rows, write_whole
from landmark_thesis.evaluate import read_errors, recorded_openings, ruler_interval
from landmark_thesis.figures import (
    ENDINGS,
    Headline,
    Result,
    ablation_forest,
    ablation_table,
    comparison,
    draw_all,
    headline_table,
    paired_differences,
    published_results,
    recipe_curves,
    result_of_scores,
    save_figure,
    seed_luck,
    spoilt_by,
)
from landmark_thesis.landmarks import LANDMARK_NAMES, LATERAL
from landmark_thesis.pixel_error import bootstrap_interval, compare_errors
from landmark_thesis.runs import Run, save_record

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "records"
READMES = {"en": HERE.parent / "README.md", "es": HERE.parent / "README.es.md"}
BEST = "dense"
THESIS_VAL = 7.22  # quoted: what its honest model scored on this validation part
DRAWN_LEDGERS = {Path("research"): "dense", Path("research/short"): "dense, 20 epochs", Path("research/cuda"): "dense, on a card"}  # folder -> what its rows are compared with, as a figure says it
LEDGERS = (*(place / f"{name}.csv" for place in DRAWN_LEDGERS for name in ("errors", "runs", "likeliest")), Path("research/folds.csv"), Path("research/cuda/folds.csv"))  # written by research.py, drawn by nobody
READ_AS_LIKELIEST = {"stretch-80-likeliest"}  # variants whose recipe reads the likeliest shape: their errors are of that reading alone
LIST = Path("drawn.csv")  # of what is drawn, with the hash of each file
MARKERS = re.compile(r"(<!-- (results|speed|drawn|checks):begin -->\n).*?(<!-- \2:end -->)", re.S)
# order and names of the table; a record that is not named here is drawn, but not listed
TITLES = {
    "thesis-lite0": "`thesis` recipe, whole, EfficientNet-Lite0, ImageNet weights",
    "thesis-resnet18-random": "`thesis` recipe, whole, ResNet-18 from random weights",
    "dense": "`dense` recipe, ResNet-18 from random weights",
}


def records() -> list[Run]:
    return [Run(path) for path in sorted(RECORDS.iterdir()) if (path / "recipe.json").exists()]


def measured(name: str) -> dict | None:
    """What figures/NAME.py wrote into its record, if it ever ran."""
    path = RECORDS / name / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def results(run: Run) -> dict:
    return json.loads((run.path / "results.json").read_text(encoding="utf-8"))


def listed() -> list[tuple[str, Run]]:
    by_name = {run.name: run for run in records()}
    return [(f"{title}, {_epochs(by_name[name])}", by_name[name]) for name, title in TITLES.items() if name in by_name]


def _epochs(run: Run) -> str:
    """Those that it went through: fewer than its recipe has where it was stopped for want of progress."""
    return " + ".join(str(number) for number in Counter(row["phase"] for row in run.history).values()) + " epochs"


def draw(out: Path) -> None:
    """Every figure: one folder a record, and those that compare records or stand for themselves."""
    for run in records():
        draw_all(run, out / run.name, say=lambda remark: None)
    draw_measured(out)
    write_headlines(out)
    draw_research(out)
    if listed():
        draw_compared(out, [(title.replace("`", ""), run, results(run)) for title, run in listed()])


def draw_measured(out: Path) -> None:
    """What the scripts beside this one measured: NAME.json of the record NAME, each in the folder of its name."""
    for record in experiments():
        figures.draw_measured(record, out / record.name)


def experiments() -> list[Path]:
    return [path for path in sorted(RECORDS.iterdir()) if (path / f"{path.name}.json").exists()]


def ledger_tables(place: Path) -> dict[str, list[dict[str, str]]]:
    """"forest" and "likeliest", a ledger's errors by how answers were moved to a shape, for like is compared with like; a table that has no `dense` is left out."""
    nearest, likeliest = (_by_image(HERE / place / f"{name}.csv") for name in ("errors", "likeliest"))
    moved = {run for row in nearest.values() for run in row if run.split("/")[0] in READ_AS_LIKELIEST}
    # the three runs of `dense` with whole schedules were read as the likeliest shape when there was no ledger of it yet
    known = {image: _dense_read(row) for image, row in _by_image(RECORDS / "reading" / "errors.csv").items()} if place == Path("research") else {}
    tables = {
        "forest": [{name: value for name, value in row.items() if name not in moved} for row in nearest.values()],
        "likeliest": [row | known.get(image, {}) | {run: nearest[image][run] for run in moved} for image, row in likeliest.items()],
    }
    return {name: table for name, table in tables.items() if table and any(run.split("/")[0] == "dense" for run in table[0])}


def _dense_read(row: dict[str, str]) -> dict[str, str]:
    """What a row of the record `reading` says of single runs, under the names that the ledgers have for them."""
    return {f"dense/{name.removeprefix('likeliest dense-')}": value for name, value in row.items() if re.fullmatch(r"likeliest dense-\d+", name)}


def _by_image(path: Path) -> dict[str, dict[str, str]]:
    return {row["image"]: row for row in read_rows(path)} if path.exists() else {}


def draw_research(out: Path) -> None:
    """The ledgers of the search, with whole and with half schedules: paired differences to the reference of each, as a forest and as a table, by both readings."""
    for place, reference in DRAWN_LEDGERS.items():
        for name, table in ledger_tables(place).items():
            if not (differences := paired_differences(table)):
                continue
            asked = {row["run"].split("/")[0]: row["asked"] for row in read_rows(HERE / place / "runs.csv")}
            read = reference if name == "forest" else f"{reference}, likeliest shape"
            figure = ablation_forest(differences, len(table), reference=read, luck=seed_luck(table), asked=asked)
            inputs = [HERE / place / "errors.csv", HERE / place / "runs.csv", *([HERE / place / "likeliest.csv"] if name == "likeliest" else [])]
            save_figure(figure, out / place / f"ablation_{name}", inputs=inputs)
            for form, ending in ENDINGS.items():
                write_whole(out / place / f"ablation_{'table' if name == 'forest' else name}.{ending}", ablation_table(differences, form).encode())


def mean_shape_interval(scored: dict) -> tuple[float, float] | None:
    """Of what the mean shape makes on the pictures of a results.json; None where no record tells."""
    shape = measured("shape")  # before a run's own, which resamples the same errors anew: one number for one thing
    without = {**scored, "baselines": {**scored["baselines"], "mean_shape_px_ci95": None}}
    return (shape and ruler_interval(without, [shape])) or ruler_interval(scored)


def draw_compared(out: Path, found: list[tuple[str, Run, dict]]) -> None:
    """The listed records side by side, on the validation pictures; what the thesis states of its test pictures stands in test/claim_and_limit."""
    first, scores = found[0][2], [run.path / "results.json" for _, run, _ in found]
    floor, note = first["baselines"]["label_rounding_px"], f"validation part, n = {first['n_val']}"
    known = mean_shape_interval(first)
    ruler = Result("Mean shape of the training part", first["baselines"]["mean_shape_px"], known, "baseline")
    scores += [RECORDS / "shape" / "shape.json"] if known and measured("shape") else []
    ours = [result_of_scores(content, title) for title, _, content in found]
    save_figure(comparison([ruler, *ours], floor=floor, note=note), out / "comparison_val", inputs=scores)
    sets = {run.name: read_errors(run.path / "errors.csv", "val") for _, run, _ in found}
    stamps = [spoilt_by(content) for *_, content in found]
    save_figure(recipe_curves(sets, stamps=stamps), out / "recipe_curves_val", inputs=[run.path / "errors.csv" for _, run, _ in found] + scores)


def headlines() -> list[Headline]:
    """Recipes by what they were scored on: validation, folds, all pictures out of fold, test; and what the thesis states of the same test pictures."""
    found = []
    if seeds := measured("ensemble"):
        found.append(Headline("dense", "val", seeds["n"], seeds["seeds"]["mean_px"], tuple(seeds["seeds"]["mean_px_ci95"]), seeds["seeds"]["n_seeds"]))
    if reading := measured("reading"):
        spread = reading["recipes"][0]["likeliest"]
        found.append(Headline("steady", "val", reading["n"], spread["mean_px"], tuple(spread["mean_px_ci95"]), spread["n_seeds"]))
    for name, where in (("folds", "folds over the development pictures"), ("phantom-weights-folds", "folds over the development pictures"), ("oof", "out of fold over all pictures")):
        if folds := measured(name):
            begun = ", from phantoms" if "against_dense" in folds else ""
            read = {f"dense{begun}": folds["oof"], f"steady{begun}": folds["readings"].get("likeliest")}
            found += [Headline(recipe, where, folds["n"], one["mre_px"], tuple(one["mre_px_ci95"]), folds["folds"]) for recipe, one in read.items() if one]
    if test := measured("test"):
        found.append(Headline("dense", "test", test["n"], test["seeds"]["mean_px"], tuple(test["seeds"]["mean_px_ci95"]), test["seeds"]["n_seeds"]))
    for title, run in listed():
        content = results(run)
        if run.name != BEST:
            found.append(Headline(title.replace("`", ""), "val", content["n_val"], content["val"]["mre_px"], tuple(content["val"]["mre_px_ci95"]), 1, spoilt_by(content) or "ours"))
    members = {"honest_42": 1, "claim_single_404": 1, "claim_ensemble_371": 4, "claim_ensemble_361": 4}
    if test:
        found += [Headline(one.label, "test", test["n"], one.value, None, number, one.kind) for one, number in zip(published_results(), members.values(), strict=True)]
    for part, known in ((measured("shape") or {}).get("mean_shape_errors", {})).items():
        found.append(Headline("mean shape of the training part, no model", part, known["n"], known["mre_px"], tuple(known["mre_px_ci95"]), 0))
    return found


def write_headlines(out: Path) -> None:
    if lines := headlines():
        for form, ending in ENDINGS.items():
            write_whole(out / f"headline_table.{ending}", headline_table(lines, form).encode())


LANGUAGES = ("en", "es")
# what the README says about the results, English and Spanish; every number is filled in from a record
TEXTS = {
    "intro": (
        "Validation part of the thesis' own split (n = {n}, split `{split}`), mirror averaging, px@224, 95 % intervals over pictures, one seed each; "
        "the test part stays closed while choices are made.",
        "Parte de validación de la división de la propia tesis (n = {n}, división `{split}`), promedio especular, px@224, intervalos del 95 % sobre imágenes, "
        "una semilla cada uno; la parte de prueba sigue cerrada mientras se elige.",
    ),
    "header": (
        "| model | mean radial error | median | within 5 px | contour error | training |",
        "| modelo | error radial medio | mediana | a menos de 5 px | error de contorno | entrenamiento |",
    ),
    "on_card": ("on a card", "en una tarjeta"),
    "mean_shape": ("mean shape of the training part, no model at all", "forma media de la parte de entrenamiento, sin modelo alguno"),
    "rounding": ("rounding of the labels alone", "solo el redondeo de las etiquetas"),
    "scheme": (
        "14 numbers instead of 30: what the labels' own geometry allows (all {n} pictures)",
        "14 números en vez de 30: lo que permite la geometría de las etiquetas (las {n} imágenes)",
    ),
    "twice": ("two labels of one radiograph ({a} and {b}), one pair", "dos etiquetas de una misma radiografía ({a} y {b}), un solo par"),
    "star": (
        r"\* the best epoch was selected on these pictures, so the number is a little too small. `dense` selects no epoch, but it was chosen among other recipes "
        "on these pictures. Times: wall clock, on two cores that did other work too, or on a card beside other trainings. Where the second phase of `thesis` has fewer than its 100 epochs, it stopped by its own rule: 15 without progress.",
        r"\* la mejor época se eligió con estas imágenes, de modo que el número es algo optimista. `dense` no elige época, pero se escogió entre otras recetas con "
        "estas imágenes. Tiempos de reloj, con dos núcleos ocupados también en otras cosas, o en una tarjeta junto a otros entrenamientos. Donde la segunda fase de `thesis` tiene menos de sus 100 épocas, paró por su propia regla: 15 sin mejora.",
    ),
    "rival": (
        "The thesis' ResNet-18 began with ImageNet weights, which could not be downloaded where these runs were made; from random ones its whole recipe comes near to its own honest {val:.2f} on these pictures, and "
        "nowhere near what it claimed. Its head and its loss under the schedule of `dense` make {regression:.2f} [{low:.2f}, {high:.2f}] ([the search](figures/research/runs.csv)).",
        "La ResNet-18 de la tesis partía de pesos de ImageNet, que no se pudieron descargar donde se hicieron estas ejecuciones; desde pesos aleatorios su receta entera se acerca a su propio {val:.2f} honesto en estas imágenes, y "
        "queda muy lejos de lo que afirmó. Su cabeza y su pérdida con el plan de `dense` dan {regression:.2f} [{low:.2f}, {high:.2f}] ([la búsqueda](figures/research/runs.csv)).",
    ),
    "aims": (
        "What was aimed at before the search began, and what came of it (px@224, mirror averaging; the mean on validation over {members} seeds, the rest of validation with one, and one in each fold; folds over the development "
        "pictures; 95 % intervals over pictures, met or missed by the estimate; `steady` is `dense` read as the likeliest shape, "
        "and from phantoms is `steady` that begins with weights of a training on phantoms, found on this validation part):",
        "Lo que se pretendía antes de empezar la búsqueda, y lo logrado (px@224, promedio especular; la media en validación con {members} semillas, lo demás de validación con una, y una en cada pliegue; pliegues sobre las imágenes "
        "de desarrollo; intervalos del 95 % sobre imágenes, cumplida o no según la estimación; `steady` es `dense` leída como la forma más verosímil, "
        "y desde fantomas es `steady` que parte de pesos de un entrenamiento con fantomas, hallada en esta validación):",
    ),
    "aims_header": (
        "| aim | at most | `dense`, validation | `dense`, {folds} folds | `steady`, validation | `steady`, {folds} folds | from phantoms, validation | from phantoms, {folds} folds |",
        "| meta | a lo sumo | `dense`, validación | `dense`, {folds} pliegues | `steady`, validación | `steady`, {folds} pliegues | desde fantomas, validación | desde fantomas, {folds} pliegues |",
    ),
    "minutes": (
        "And one training in at most {most} minutes on two cores: `dense` takes {epochs} epochs of {seconds:.0f} s, {minutes:.0f} minutes ({verdict}), by the epoch that the [benchmark](figures/bench) timed on idle cores; those of "
        "the table further up shared theirs.",
        "Y un entrenamiento en {most} minutos como mucho con dos núcleos: `dense` tarda {epochs} épocas de {seconds:.0f} s, {minutes:.0f} minutos ({verdict}), según la época que midió la [prueba de rendimiento](figures/bench) con los "
        "núcleos libres; los de la tabla de más arriba compartían los suyos.",
    ),
    "continued": (
        "Much of the contour error is where an outline ends. With both outlines continued straight beyond their ends, which leaves the border alone, `dense` makes {px:.2f} [{low:.2f}, {high:.2f}] on validation "
        "(n = {n}; the same aim: {verdict}), the whole `thesis` recipe {rival:.2f}.",
        "Gran parte del error de contorno está donde acaba un contorno. Con ambos contornos prolongados en línea recta más allá de sus extremos, lo que deja solo el borde, `dense` logra {px:.2f} [{low:.2f}, {high:.2f}] en validación "
        "(n = {n}; la misma meta: {verdict}); la receta `thesis` entera, {rival:.2f}.",
    ),
    "aim_mre_px": ("mean radial error", "error radial medio"),
    "aim_p95_px": ("95th percentile", "percentil 95"),
    "aim_across_lateral_px": ("lateral points, across the axis", "puntos laterales, transversal"),
    "aim_contour_px": ("contour error", "error de contorno"),
    "met": ("met", "cumplida"),
    "missed": ("missed", "no cumplida"),
    "seeds": (
        "`dense` with {members} seeds: **{mean:.2f}** [{low:.2f}, {high:.2f}] on average, standard deviation over seeds {sd:.2f}; together they score {together:.2f}, a gain of "
        "{gain:.2f} [{gain_low:.2f}, {gain_high:.2f}]. Mirror averaging gains {mirror:.2f} [{mirror_low:.2f}, {mirror_high:.2f}].",
        "`dense` con {members} semillas: **{mean:.2f}** [{low:.2f}, {high:.2f}] en promedio, desviación estándar entre semillas {sd:.2f}; juntas obtienen {together:.2f}, una ganancia de "
        "{gain:.2f} [{gain_low:.2f}, {gain_high:.2f}]. El promedio especular gana {mirror:.2f} [{mirror_low:.2f}, {mirror_high:.2f}].",
    ),
    "test": (
        "n = {n}, split `{split}`, opened by recorded runs when every choice was made ({opened} times: {by}), and {known} times before this repository, by first trials of such models, whose numbers were known when `dense` was designed; the {seeds} seeds score "
        "{runs}, on average **{mean:.2f}** [{low:.2f}, {high:.2f}]; together {together:.2f}; contour error {contour:.2f}, within 5 px {sdr:.0f} % (these three of all together recorded only: their errors were not kept). On the same pictures the thesis states {stated:.2f} for its one run that is clean but for a single copy (it trained on COVID-334, which is COVID-192 of the test part).",
        "n = {n}, división `{split}`, abierta por ejecuciones registradas cuando todo estaba decidido ({opened} veces: {by}), y {known} veces antes de este repositorio, por primeros ensayos de estos modelos, cuyos números se conocían cuando se diseñó `dense`; las {seeds} semillas obtienen "
        "{runs}, en promedio **{mean:.2f}** [{low:.2f}, {high:.2f}]; juntas {together:.2f}; error de contorno {contour:.2f}, a menos de 5 px {sdr:.0f} % (de estos tres, de todas juntas, solo hay constancia: no se guardaron sus errores). En las mismas imágenes la tesis declara {stated:.2f} para su único modelo limpio salvo por una copia (se entrenó con COVID-334, que es COVID-192 de la parte de prueba).",
    ),
    "steady": (
        "`steady` trains as `dense` does and reads the answers as the likeliest shape: points count by how little the answers for them waver when a training picture is moved a little, for which no label is "
        "needed. The same {members} models then make **{mean:.2f}** [{low:.2f}, {high:.2f}], a gain of {gain:.2f} [{gain_low:.2f}, {gain_high:.2f}]; together {together:.2f}. It came when the test part had "
        "been opened, and did not open it again.",
        "`steady` se entrena como `dense` y lee las respuestas como la forma más verosímil: cada punto pesa según lo poco que vacila su respuesta al mover un poco una imagen de entrenamiento, para lo que no hace "
        "falta ninguna etiqueta. Los mismos {members} modelos logran así **{mean:.2f}** [{low:.2f}, {high:.2f}], una ganancia de {gain:.2f} [{gain_low:.2f}, {gain_high:.2f}]; juntos {together:.2f}. Llegó cuando la "
        "parte de prueba ya se había abierto, y no la abrió de nuevo.",
    ),
    "begun": (
        "Besides `dense`, the search has tried {variants} variants of it ([whole schedules](figures/research/runs.csv), [half](figures/research/short/runs.csv), [on a card](figures/research/cuda/runs.csv)), {several} of them with two seeds or three, the others with one. "
        "The best of those with {members} seeds on two cores begins with weights from a training on phantoms: {nearest:.2f} (standard deviation over seeds {sd:.2f}), and as the likeliest shape **{mean:.2f}** [{low:.2f}, {high:.2f}], {gain:.2f} "
        "[{gain_low:.2f}, {gain_high:.2f}] below `steady`, on the very pictures on which it was found among so many.",
        "Además de `dense`, la búsqueda ha probado {variants} variantes ([calendarios enteros](figures/research/runs.csv), [a la mitad](figures/research/short/runs.csv), [en una tarjeta](figures/research/cuda/runs.csv)), {several} de ellas con "
        "dos semillas o tres, las demás con una. La mejor de las que tienen {members} semillas en dos núcleos parte de pesos de un entrenamiento con fantomas: {nearest:.2f} (desviación estándar entre semillas {sd:.2f}), y como la forma más verosímil **{mean:.2f}** "
        "[{low:.2f}, {high:.2f}], {gain:.2f} [{gain_low:.2f}, {gain_high:.2f}] por debajo de `steady`, en las mismas imágenes en que se halló entre tantas.",
    ),
    "views": (
        "{views} views, small moves and their mirror images, instead of these two: {gain:.2f} [{low:.2f}, {high:.2f}] ({members} models of the search).",
        "{views} vistas, pequeños movimientos y sus reflejos, en vez de estas dos: {gain:.2f} [{low:.2f}, {high:.2f}] ({members} modelos de la búsqueda).",
    ),
    "unlike": (
        "Unlike heads and losses together gain as little: of {members} such models the best pair makes {pair:.2f}, the best alone {alone:.2f}. However unlike, they share a good part of their errors: those of the whole `thesis` recipe on ResNet-18 correlate with "
        "`dense`'s at {correlation:.2f} (along the axis at L2 {ends:.2f}), and those of the same recipe on EfficientNet-Lite0 with ImageNet weights at {weakest:.2f}.",
        "Juntar cabezas y pérdidas distintas gana igual de poco: de {members} modelos así, la mejor pareja logra {pair:.2f}, y el mejor solo {alone:.2f}. Por distintos que sean, comparten una buena parte de sus errores: los de la receta `thesis` "
        "entera con ResNet-18 correlacionan con los de `dense` en {correlation:.2f} (a lo largo del eje en L2, {ends:.2f}), y los de la misma receta con EfficientNet-Lite0 y pesos de ImageNet, en {weakest:.2f}.",
    ),
    "looked": (
        "Films without labels, of other shapes and sizes (49 of Hannover, CC BY 3.0), were predicted and looked at, not measured (`landmark-thesis predict phantom-weights-0 DIR --overlay OUT`): the outlines lie where an eye would put them, but on a chest with one shrunken lung. (One of them, c3829ecb, is COVID-1664 of the 957.)",
        "Placas sin etiquetas, de otras formas y tamaños (49 de Hannover, CC BY 3.0), se predijeron y se miraron, sin medirlas (`landmark-thesis predict phantom-weights-0 DIR --overlay OUT`): los contornos quedan donde los trazaría un observador, salvo en un tórax con un pulmón encogido. (Una de ellas, c3829ecb, es COVID-1664 de las 957.)",
    ),
    "begun_folds": (
        "Five folds have judged it on {n} pictures, each by a model that was not trained on it: {nearest:.2f} [{nearest_low:.2f}, {nearest_high:.2f}], and as the likeliest shape **{mean:.2f}** [{mean_low:.2f}, {mean_high:.2f}]; picture by "
        "picture {gain:.2f} [{gain_low:.2f}, {gain_high:.2f}] below `dense` and {steady:.2f} [{steady_low:.2f}, {steady_high:.2f}] below `steady` (one seed a fold; {apart:.2f} [{apart_low:.2f}, {apart_high:.2f}] on those {apart_n} that had no part in its choice). The phantoms' shapes come from 119 numbers, means "
        "and correlations of the training part's labels, and through them each fold has a trace of the labels that it is judged by. "
        "(`python figures/research.py sweep phantom-weights/0/1 ... phantom-weights/0/5 --data DIR --out DIR`, `python figures/folds.py judge DATA OUT --job phantom-weights/0`)",
        "Cinco pliegues la han juzgado con {n} imágenes, cada una por un modelo que no se entrenó con ella: {nearest:.2f} [{nearest_low:.2f}, {nearest_high:.2f}], y como la forma más verosímil **{mean:.2f}** [{mean_low:.2f}, {mean_high:.2f}]; "
        "imagen por imagen, {gain:.2f} [{gain_low:.2f}, {gain_high:.2f}] por debajo de `dense` y {steady:.2f} [{steady_low:.2f}, {steady_high:.2f}] por debajo de `steady` (una semilla por pliegue; {apart:.2f} [{apart_low:.2f}, {apart_high:.2f}] en las {apart_n} que no intervinieron en su elección). Las formas de los fantomas salen de 119 números, medias "
        "y correlaciones de las etiquetas de la parte de entrenamiento, y por ellos cada pliegue lleva un rastro de las etiquetas que lo juzgan. "
        "(`python figures/research.py sweep phantom-weights/0/1 ... phantom-weights/0/5 --data DIR --out DIR`, `python figures/folds.py judge DATA OUT --job phantom-weights/0`)",
    ),
    "begun_more": (
        "More of that gains nothing that could be measured: weights from twice as many phantoms and four times the training on them make {mean:.2f} as the likeliest shape, the first ones {first:.2f} ({members} seeds each, on one card); "
        "in the folds (one seed, a card here, two cores there) {folds:.2f} [{low:.2f}, {high:.2f}], {gain:.2f} [{gain_low:.2f}, {gain_high:.2f}] below `steady`, and {more:.2f} [{more_low:.2f}, {more_high:.2f}] above the first ones.",
        "Más de lo mismo no da ninguna ganancia medible: pesos del doble de fantomas y cuatro veces el entrenamiento con ellos dan {mean:.2f} como la forma más verosímil, los primeros {first:.2f} ({members} semillas cada uno, en una misma tarjeta); "
        "en los pliegues (una semilla, aquí una tarjeta, allí dos núcleos) {folds:.2f} [{low:.2f}, {high:.2f}], {gain:.2f} [{gain_low:.2f}, {gain_high:.2f}] por debajo de `steady`, y {more:.2f} [{more_low:.2f}, {more_high:.2f}] por encima de los primeros.",
    ),
    "crowd": (
        "The {runs} whole runs of {variants} recipes that one card trained ([each change](figures/research/cuda/ablation_forest.svg)) make {each:.2f} on average and {together:.2f} together: the mean of their answers keeps {common:.0f} % of their mean squared error (they share their training pictures, too). Whoever "
        "could pick for each picture the run that comes nearest to its label would still make **{hindsight:.2f}** [{low:.2f}, {high:.2f}] ([picture by picture](figures/crowd/many_models.svg); a bound for choosing among these alone: {few} of them at random leave {few_px:.2f}; `python figures/crowd.py DIR OUT`). The smallest 95th percentile of any of them is {p95:.1f}, the smallest contour error {contour:.2f} ([ledger](figures/research/cuda/runs.csv)).",
        "Las {runs} ejecuciones enteras de {variants} recetas que entrenó una misma tarjeta ([cada cambio](figures/research/cuda/ablation_forest.svg)) dan {each:.2f} en promedio y {together:.2f} juntas: la media de sus respuestas conserva el {common:.0f} % de su error cuadrático medio (comparten también las imágenes de entrenamiento). Quien "
        "pudiera elegir en cada imagen la ejecución que más se acerca a su etiqueta aún daría **{hindsight:.2f}** [{low:.2f}, {high:.2f}] ([imagen por imagen](figures/crowd/many_models.svg); una cota solo para elegir entre estas: con {few} de ellas al azar queda en {few_px:.2f}; `python figures/crowd.py DIR OUT`). El menor percentil 95 de todas es {p95:.1f}, y el menor error de contorno, {contour:.2f} ([registro](figures/research/cuda/runs.csv)).",
    ),
    "folds": (
        "In {folds} folds over the {n} development pictures, each judged by a model that was not trained on it: **{px:.2f}** [{low:.2f}, {high:.2f}], contour error {contour:.2f}; read as the likeliest shape "
        "**{steady:.2f}** [{steady_low:.2f}, {steady_high:.2f}], a gain of {gain:.2f} [{gain_low:.2f}, {gain_high:.2f}]. A correction learnt from the labels of other folds makes {corrected:.2f} of it, and costs "
        "{folds} trainings instead of one.",
        "En {folds} pliegues sobre las {n} imágenes de desarrollo, cada una juzgada por un modelo que no se entrenó con ella: **{px:.2f}** [{low:.2f}, {high:.2f}], error de contorno {contour:.2f}; leídas como la forma "
        "más verosímil **{steady:.2f}** [{steady_low:.2f}, {steady_high:.2f}], una ganancia de {gain:.2f} [{gain_low:.2f}, {gain_high:.2f}]. Una corrección aprendida de las etiquetas de otros pliegues lo deja en "
        "{corrected:.2f}, y cuesta {folds} entrenamientos en vez de uno.",
    ),
    "oof": (
        "Out of fold over all {n} pictures: **{px:.2f}** [{low:.2f}, {high:.2f}]; an opening of the test part too, and in the ledger as one.",
        "Fuera de pliegue sobre las {n} imágenes: **{px:.2f}** [{low:.2f}, {high:.2f}]; abre también la parte de prueba, y así consta en el libro de aperturas.",
    ),
    "curve": (
        "With {few} training pictures, half as many steps and one draw of them, it makes {worst:.2f}, with {many} {best:.2f}; the curve fitted to {sizes} sizes heads for {limit:.2f} and may end as high as {high:.2f}; "
        "how far down it may go, so few sizes cannot tell.",
        "Con {few} imágenes de entrenamiento, la mitad de los pasos y un solo sorteo, comete un error de {worst:.2f}, con {many} {best:.2f}; la curva ajustada a {sizes} tamaños tiende a {limit:.2f} y puede acabar en {high:.2f}; "
        "hasta dónde puede bajar, tan pocos tamaños no lo dicen.",
    ),
    "outside": (
        "JSRT, never trained on (film, another country and decade; n = {n}): the ten lateral points of `dense` (seed {seed}) lie **{px:.2f}** [{low:.2f}, {high:.2f}] px@224, "
        "{mm:.1f} mm, from the border of the lung (median {median:.2f}, 95th percentile {p95:.2f}); the mean shape's {ruler:.2f} [{ruler_low:.2f}, {ruler_high:.2f}].",
        "JSRT, nunca usado para entrenar (placa, otro país y otra década; n = {n}): los diez puntos laterales de `dense` (semilla {seed}) quedan a **{px:.2f}** [{low:.2f}, {high:.2f}] px@224, "
        "{mm:.1f} mm, del borde del pulmón (mediana {median:.2f}, percentil 95 {p95:.2f}); los de la forma media, a {ruler:.2f} [{ruler_low:.2f}, {ruler_high:.2f}].",
    ),
    "drift": (
        "Part of what is left is the order of the labels: told only at which row of the table a picture was annotated, the same run scores {told:.2f} instead of {alone:.2f}; on the training pictures, by models "
        "that had not seen them, class, crop and exposure explain nothing (linearly) of where L2 errs along the axis. How much more is the annotating hand nobody knows: two radiographs that were labelled twice are all there is ([chapter 20](nbs/20_limit.ipynb)).",
        "Parte de lo que queda es el orden de las etiquetas: con solo saber en qué fila de la tabla se anotó una imagen, el mismo modelo obtiene {told:.2f} en lugar de {alone:.2f}; en las imágenes de entrenamiento, "
        "con modelos que no las vieron, clase, encuadre y exposición no explican nada (linealmente) del error longitudinal de L2. Cuánto más es la mano que anota, nadie lo sabe: solo hay dos radiografías etiquetadas dos veces ([capítulo 20](nbs/20_limit.ipynb)).",
    ),
    "thesis": (
        "For comparison, what the original thesis states (not ours; its honest model scored {val:.2f} on this validation part): {claims}, on the 96 test pictures.",
        "Para comparar, lo que declara la tesis original (no es nuestro; su modelo honesto obtuvo {val:.2f} en esta parte de validación): {claims}, en las 96 imágenes de prueba.",
    ),
    "contaminated": ("contaminated", "contaminado"),
    "on_demand": ("no record of the kind yet", "aún sin registro de este tipo"),
    "checks": (
        "What the long checks found, each on the day that its record in [figures/bench/checks](figures/bench/checks) names ({device}, torch {torch}):",
        "Lo que hallaron las comprobaciones largas, cada una en el día que nombra su registro en [figures/bench/checks](figures/bench/checks) ({device}, torch {torch}):",
    ),
    "kills": (
        "- {killed} kills and {interrupted} interruptions of real trainings, {compared} of which were then ended and compared with the one that nobody disturbed: all equal to the bit (`{command}`).",
        "- {killed} cierres forzados y {interrupted} interrupciones de entrenamientos reales, {compared} de ellos acabados después y comparados con uno sin interrupciones: todos iguales, bit a bit (`{command}`).",
    ),
    "mutations": (
        "- {tried:,} mutations of a checkpoint: {refused:,} refused, {as_they_were:,} read as they were, {another_file:,} put together anew, checksums included, and read as what they hold; no code ran (`{command}`).",
        "- {tried:,} mutaciones de un punto de control: {refused:,} rechazadas, {as_they_were:,} leídas como estaban, {another_file:,} recompuestas, con sus sumas de control, y leídas como lo que contienen; no se ejecutó código (`{command}`).",
    ),
    "soak": (
        "- {trainings} trainings in one process: {first:.0f} MB resident after the first, {after_50:.0f} after 50, {last:.0f} after the last, since the 50th {growth:+.0f} kB a training; open files {files}, threads {threads}, figures {figures}, "
        "after the second as after the last (`{command}`).",
        "- {trainings} entrenamientos en un proceso: {first:.0f} MB residentes tras el primero, {after_50:.0f} tras 50, {last:.0f} tras el último, desde el 50 {growth:+.0f} kB por entrenamiento; archivos abiertos {files}, hilos {threads}, figuras {figures}, "
        "tras el segundo como tras el último (`{command}`).",
    ),
    "peak": (
        "- A `thesis` training on the real pictures takes {memory} at most, the pictures in it (`{command}`).",
        "- Un entrenamiento `thesis` con las imágenes reales ocupa {memory} a lo sumo, imágenes incluidas (`{command}`).",
    ),
    "again": (
        "Each on a page or a 16:9 slide, in English or Spanish, as SVG, PDF or PNG. `python figures/make.py` draws those that are committed from the records alone; run it again and "
        "not a byte changes (`--check` says what would), and each file carries the hashes of what it was drawn from.",
        "Cada una para página o diapositiva 16:9, en inglés o español, como SVG, PDF o PNG. `python figures/make.py` dibuja las incluidas solo a partir de los registros; si se repite, "
        "no cambia ni un byte (`--check` dice qué cambiaría), y cada archivo lleva las huellas de aquello con lo que se dibujó.",
    ),
    "records": (
        "Each line is a record in [figures/records](figures/records), with the command that made it; `python figures/make.py` rebuilds this text and every figure from them, and "
        "`landmark-thesis defend --records figures/records` judges each [claim](figures/claims.toml) that is made here.",
        "Cada línea es un registro de [figures/records](figures/records), con la orden que lo produjo; `python figures/make.py` rehace este texto y cada figura a partir de ellos, y "
        "`landmark-thesis defend --records figures/records` juzga cada [afirmación](figures/claims.toml) que aquí se hace.",
    ),
}
TITLES_ES = {
    "thesis-lite0": "receta `thesis` entera, EfficientNet-Lite0, pesos de ImageNet",
    "thesis-resnet18-random": "receta `thesis` entera, ResNet-18 desde pesos aleatorios",
    "dense": "receta `dense`, ResNet-18 desde pesos aleatorios",
}


def readme_block(lang: str = "en") -> str:
    """The results as they stand in the README, each number out of a record."""
    found = [(title, run, results(run)) for title, run in listed()]
    if not found:
        return ""

    def say(key: str, **values) -> str:
        return TEXTS[key][LANGUAGES.index(lang)].format(**values)

    first = found[0][2]
    lines = [say("intro", n=first["n_val"], split=first["split_fingerprint"]), "", say("header"), "|---|---|---|---|---|---|"]
    lines.append(f"| {say('mean_shape')} | {first['baselines']['mean_shape_px']:.2f}{_bracket(mean_shape_interval(first))} | | | | |")
    for title, run, content in found:
        shown = title if lang == "en" else f"{TITLES_ES[run.name]}, {_epochs(run).replace('epochs', 'épocas')}"
        lines.append(_result_line(shown, run, content, say("on_card")))
    lines += [f"| {say('rounding')} | {first['baselines']['label_rounding_px']:.2f} | | | | |", *limit_rows(say), "", say("star")]
    lines += rival_lines(say)
    told = measured_values()
    leads = {key: [say(one, **told[one]) for one in (key, *MORE.get(key, ())) if one in told] for key in LEADS if key in told}
    lines += ["", *(f"- **{LEADS[key][LANGUAGES.index(lang)]}.** {' '.join(sentences)}" for key, sentences in leads.items()), *aim_rows(say)]
    claims = "; ".join(
        f"{result.label}: {result.value:.2f}" + (f" ({say('contaminated')})" if result.kind == "contaminated" else "") for result in published_results(lang)
    )
    return "\n".join([*lines, "", say("thesis", val=THESIS_VAL, claims=claims), "", say("records"), ""])


# what the README says beside its table, in this order: the sentence's key in TEXTS, and the words that it begins with
LEADS = {
    "test": ("Test part", "Parte de prueba"),
    "folds": ("Folds", "Pliegues"),
    "oof": ("All pictures", "Todas las imágenes"),
    "seeds": ("Seeds", "Semillas"),
    "steady": ("Likeliest shape", "Forma más verosímil"),
    "begun": ("The search", "La búsqueda"),
    "crowd": ("Many models", "Muchos modelos"),
    "outside": ("Another hospital", "Otro hospital"),
    "curve": ("More pictures", "Más imágenes"),
    "drift": ("The annotator", "Quien anotó"),
}
MORE = {"seeds": ("views", "unlike"), "begun": ("begun_folds", "begun_more"), "outside": ("looked",)}  # sentences that go on where the one of that key ends
RIVAL = "regression/0"  # of the search: the thesis' head and loss, all else as `dense`


def rival_lines(say: Callable[..., str]) -> list[str]:
    """What a fair rival of `dense` makes, from the ledger of the search; nothing where there is no ledger, the end where it has no such run."""
    ledger = HERE / "research" / "runs.csv"
    if not ledger.exists():
        return []
    with open(ledger, encoding="utf-8", newline="") as file:
        runs = {row["run"]: row for row in csv.DictReader(file)}
    if RIVAL not in runs:
        variant, seed = RIVAL.split("/")
        raise SystemExit(f"{ledger}: no run {RIVAL}, the fair rival that the READMEs name; python figures/research.py run {variant} --seeds {seed} --data DIR --out DIR adds it")
    low, high = map(float, runs[RIVAL]["mre_px_ci95"].split(" to "))
    return ["", say("rival", val=THESIS_VAL, regression=float(runs[RIVAL]["mre_px"]), low=low, high=high)]


AIMS = {"mre_px": 5.15, "p95_px": 12.5, "across_lateral_px": 2.0, "contour_px": 1.6}  # px@224, set before the search
MINUTES = 15  # of one training, on two cores


def aim_rows(say: Callable[..., str]) -> list[str]:
    """The aims of the search, met or missed, on validation and over the folds."""
    seeds, folds, reading, begun, begun_folds = (measured(name) for name in ("ensemble", "folds", "reading", "phantom-weights", "phantom-weights-folds"))
    if not (seeds and folds and reading and begun and begun_folds):
        return []
    lateral = np.array([[abs(row[f"{LANDMARK_NAMES[k]}_across"]) for k in LATERAL] for row in read_errors(RECORDS / BEST / "errors.csv", "val")]).mean(1)
    key, likeliest = "across_lateral_px", [one["recipes"][0]["first"]["likeliest"] | _of_seeds(one["recipes"][0]["likeliest"]) for one in (reading, begun)]
    val = results(Run(RECORDS / BEST))["val"] | _of_seeds(seeds["seeds"]) | {key: lateral.mean(), f"{key}_ci95": bootstrap_interval(lateral)}
    columns = (val, folds["oof"], likeliest[0], folds["readings"]["likeliest"], likeliest[1], begun_folds["readings"]["likeliest"])
    rows = []
    for name, most in AIMS.items():
        reached = [f"{one[name]:.2f}{_bracket(one[f'{name}_ci95'])} ({say('met' if one[name] <= most else 'missed')})" for one in columns]
        rows.append(f"| {say(f'aim_{name}')} | {most:g} | {' | '.join(reached)} |")
    header = say("aims_header", folds=folds["folds"])
    return ["", say("aims", members=seeds["seeds"]["n_seeds"]), "", header, "|---|---|---|---|---|---|---|---|", *rows, *minutes_lines(say), *continued_lines(say)]


def _of_seeds(spread: dict) -> dict:
    return {"mre_px": spread["mean_px"], "mre_px_ci95": spread["mean_px_ci95"]}


def minutes_lines(say: Callable[..., str]) -> list[str]:
    """How long a training of `dense` takes on two idle cores, by the benchmark's epoch."""
    timed, epochs = json.loads((HERE / "bench" / "cpu-2.json").read_text(encoding="utf-8")), Run(RECORDS / BEST).recipe.phases[1].epochs
    minutes = epochs * timed["phase2_thesis_epoch_s"] / 60
    verdict = say("met" if minutes <= MINUTES else "missed")
    return ["", say("minutes", most=MINUTES, epochs=epochs, seconds=timed["phase2_thesis_epoch_s"], minutes=minutes, verdict=verdict)]


def continued_lines(say: Callable[..., str]) -> list[str]:
    """What is left of the contour error where outlines have no ends."""
    if not (measure := measured("contour")):
        return []
    of = {one["run"]: one for one in measure["contours"]}
    px, (low, high) = of[BEST]["continued_px"], of[BEST]["continued_px_ci95"]
    verdict = say("met" if px <= AIMS["contour_px"] else "missed")
    return ["", say("continued", px=px, low=low, high=high, n=measure["n"], verdict=verdict, rival=of["thesis-resnet18-random"]["continued_px"])]


def limit_rows(say: Callable[..., str]) -> list[str]:
    """What the labels allow, as figures/limits.py measured it."""
    if not (limits := measured("limits")):
        return []
    low, high = limits["scheme_px_ci95"]
    rows = [f"| {say('scheme', n=limits['n'])} | {limits['scheme_px']:.2f} [{low:.2f}, {high:.2f}] | | | | |"]
    return rows + [f"| {say('twice', a=two['pair'][0], b=two['pair'][1])} | {two['mre_px']:.2f} | | | | |" for two in limits["twice"]]


def drawn_block(lang: str = "en") -> str:
    """Each kind of figure that the package draws, by its title, with a committed example where there is one."""
    lines = []
    for name in figures.__all__:
        if (key := "scheme" if name == "landmark_scheme" else name) not in figures.WORDS or not callable(getattr(figures, name)):
            continue
        title = figures.WORDS[key][LANGUAGES.index(lang)]
        kept = sorted((path for path in HERE.rglob("*.svg") if f"{path.stem}_".startswith(f"{name}_")), key=lambda path: (path.parent.name != BEST, path))
        shown = f"[{title}]({kept[0].relative_to(HERE.parent).as_posix()})" if kept else f"{title} ({TEXTS['on_demand'][LANGUAGES.index(lang)]})"
        lines.append(f"- {shown}: `{name}`")
    return "\n".join([*lines, "", TEXTS["again"][LANGUAGES.index(lang)], ""])


def _bracket(interval: tuple[float, float] | None) -> str:
    return f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""


def _result_line(title: str, run: Run, content: dict, card: str) -> str:
    metrics = content["val"]
    low, high = metrics["mre_px_ci95"]
    told = json.loads((run.path / "environment.json").read_text(encoding="utf-8"))
    taken = f"{told['seconds'] / 60:.0f} min" + (f", {card}" if told["device"].startswith("cuda") else "")
    return (
        f"| {title}{' *' if content['selected_on_part'] else ''} | **{metrics['mre_px']:.2f}** [{low:.2f}, {high:.2f}] | {metrics['median_px']:.2f} "
        f"| {100 * metrics['sdr']['5']:.0f} % | {metrics['contour_px']:.2f} | {taken} |"
    )


def seeds_mean(name: str) -> np.ndarray:
    """The error of each picture as the likeliest shape, mean over the seeds, of a record that figures/reading.py wrote."""
    with open(RECORDS / name / "errors.csv", encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["image"])
    columns = [column for column in rows[0] if column.startswith("likeliest ") and not column.endswith(" together")]
    return np.array([[float(row[column]) for column in columns] for row in rows]).mean(1)


def variants() -> Counter[str]:
    """All that the search has tried on two cores or a card, by name: with how many different seeds."""
    runs = {row["run"] for place in DRAWN_LEDGERS if (path := HERE / place / "runs.csv").exists() for row in read_rows(path)}  # VARIANT/SEED; whichever machine trained it, and for how long
    return Counter(run.rsplit("/", 1)[0] for run in runs)


def more_phantoms() -> dict[str, float] | None:
    """What the second start on phantoms is worth beside the first, by the ledger of cards; None where it lacks one of them."""
    place = HERE / "research" / "cuda"
    read, folds = ledger_tables(Path("research/cuda")).get("likeliest"), _by_image(place / "folds.csv")
    column, dense = "phantom-weights-more/0/likeliest", _by_image(RECORDS / "folds" / "errors.csv")
    seeds = {name: [run for run in read[0] if run.rsplit("/", 1)[0] == name] for name in ("phantom-weights", "phantom-weights-more")} if read else {}
    if not seeds or not all(seeds.values()) or folds.keys() != dense.keys() or any(not row.get(column) for row in folds.values()):
        return None
    first, mean = (float(np.mean([[float(row[run]) for run in runs] for row in read])) for runs in seeds.values())
    known, errors = (np.array([float(table[image][name]) for image in sorted(folds)]) for table, name in ((dense, "likeliest"), (folds, column)))
    (low, high), gain = bootstrap_interval(errors), compare_errors(known, errors)
    gain_low, gain_high = gain["difference_px_ci95"]
    begun = _by_image(HERE / "research" / "folds.csv")
    more = compare_errors(errors, np.array([float(begun[image]["phantom-weights/0/likeliest"]) for image in sorted(folds)]))
    more_low, more_high = more["difference_px_ci95"]
    return {
        "more": more["difference_px"], "more_low": more_low, "more_high": more_high, "first": first, "mean": mean, "members": min(map(len, seeds.values())), "folds": float(errors.mean()), "low": low, "high": high,
        "gain": gain["difference_px"], "gain_low": gain_low, "gain_high": gain_high,
    }


def measured_values() -> dict[str, dict]:
    """The numbers of the README's sentences, for each experiment that has a record."""
    found = {}
    if ensemble := measured("ensemble"):
        seeds, gain, mirror = ensemble["seeds"], ensemble["gain_of_the_ensemble"], ensemble["gain_of_the_mirror"]
        (low, high), (gain_low, gain_high), (mirror_low, mirror_high) = seeds["mean_px_ci95"], gain["difference_px_ci95"], mirror["difference_px_ci95"]
        together = next(step["mre_px"] for step in ensemble["ensembles"] if step["arm"] == "mirrored" and step["members"] == seeds["n_seeds"])
        found["seeds"] = {
            "members": seeds["n_seeds"], "mean": seeds["mean_px"], "low": low, "high": high, "sd": seeds["seed_sd_px"], "together": together,
            "gain": gain["difference_px"], "gain_low": gain_low, "gain_high": gain_high,
            "mirror": mirror["difference_px"], "mirror_low": mirror_low, "mirror_high": mirror_high,
        }
    if reading := measured("reading"):
        read = reading["recipes"][0]
        (low, high), (gain_low, gain_high) = read["likeliest"]["mean_px_ci95"], read["gain"]["difference_px_ci95"]
        found["steady"] = {
            "members": read["likeliest"]["n_seeds"], "mean": read["likeliest"]["mean_px"], "low": low, "high": high,
            "gain": read["gain"]["difference_px"], "gain_low": gain_low, "gain_high": gain_high, "together": read["together"]["likeliest"],
        }
    if begun := measured("phantom-weights"):
        read, paired = begun["recipes"][0], compare_errors(seeds_mean("reading"), seeds_mean("phantom-weights"))
        (low, high), (gain_low, gain_high) = read["likeliest"]["mean_px_ci95"], paired["difference_px_ci95"]
        tried = {name: seeds for name, seeds in variants().items() if name != "dense"}
        found["begun"] = {
            "variants": len(tried), "several": sum(seeds > 1 for seeds in tried.values()), "members": read["likeliest"]["n_seeds"], "nearest": read["nearest"]["mean_px"], "mean": read["likeliest"]["mean_px"], "low": low, "high": high,
            "gain": paired["difference_px"], "gain_low": gain_low, "gain_high": gain_high, "sd": read["nearest"]["seed_sd_px"],
        }
    if judged := measured("phantom-weights-folds"):
        told = {"nearest": (judged["oof"], "mre_px"), "mean": (judged["readings"]["likeliest"], "mre_px")}
        told |= {name: (judged["against_dense"][reading], "difference_px") for name, reading in (("gain", "projected"), ("steady", "likeliest"))}
        found["begun_folds"] = {"n": judged["n"]}
        for name, (of, key) in told.items():
            low, high = of[f"{key}_ci95"]
            found["begun_folds"] |= {name: of[key], f"{name}_low": low, f"{name}_high": high}
        chosen_on = {row["image"] for row in read_errors(RECORDS / "dense" / "errors.csv", "val")}
        rest = [row for row in read_rows(RECORDS / "phantom-weights-folds" / "errors.csv") if row["image"] not in chosen_on]
        apart = compare_errors(*(np.array([float(row[column]) for row in rest]) for column in ("dense likeliest", "likeliest")))
        low, high = apart["difference_px_ci95"]
        found["begun_folds"] |= {"apart": apart["difference_px"], "apart_low": low, "apart_high": high, "apart_n": len(rest)}
    if more := more_phantoms():
        found["begun_more"] = more
    if crowd := measured("crowd"):
        (low, high), rows = crowd["hindsight"]["mre_px_ci95"], read_rows(HERE / "research" / "cuda" / "runs.csv")
        least = {name: min(float(row[f"{name}_px"]) for row in rows) for name in ("p95", "contour")}
        found["crowd"] = least | {
            "runs": len(crowd["runs"]), "variants": crowd["n_variants"], "each": crowd["mean_of_the_runs"]["mre_px"], "together": crowd["together"]["mre_px"],
            "common": 100 * crowd["common"], "hindsight": crowd["hindsight"]["mre_px"], "low": low, "high": high,
            "few": crowd["of_few"]["runs"], "few_px": crowd["of_few"]["hindsight_px"],
        }
    if test := measured("test"):
        low, high = test["seeds"]["mean_px_ci95"]
        opened = recorded_openings({record.name: measured(record.name) for record in experiments()}, test["test_fingerprint"], sorted(RECORDS.iterdir()))
        found["test"] = {
            "n": test["n"], "split": test["split_fingerprint"], "opened": sum(opened.values()), "by": ", ".join(f"`{name}` {number}" for name, number in opened.items()),
            "known": test["test_ledger"]["known_before"], "seeds": test["seeds"]["n_seeds"],
            "runs": ", ".join(f"{run['mre_px']:.2f}" for run in test["runs"]), "mean": test["seeds"]["mean_px"], "low": low, "high": high,
            "together": test["test"]["mre_px"], "contour": test["test"]["contour_px"], "sdr": 100 * test["test"]["sdr"]["5"],
            "stated": next(result.value for result in published_results() if result.kind == "published"),
        }
    if folds := measured("folds"):
        (low, high), gain, steady = folds["oof"]["mre_px_ci95"], folds["gains"]["likeliest"], folds["readings"]["likeliest"]
        (gain_low, gain_high), (steady_low, steady_high) = gain["difference_px_ci95"], steady["mre_px_ci95"]
        found["folds"] = {
            "n": folds["n"], "folds": folds["folds"], "px": folds["oof"]["mre_px"], "low": low, "high": high, "contour": folds["oof"]["contour_px"],
            "steady": steady["mre_px"], "steady_low": steady_low, "steady_high": steady_high,
            "gain": gain["difference_px"], "gain_low": gain_low, "gain_high": gain_high, "corrected": folds["readings"]["corrected"]["mre_px"],
        }
    if whole := measured("oof"):
        low, high = whole["oof"]["mre_px_ci95"]
        found["oof"] = {"n": whole["n"], "px": whole["oof"]["mre_px"], "low": low, "high": high}
    if curve := measured("curve"):
        few, many = curve["results"][0], [result["mre_px"] for result in curve["results"] if result["n_train"] == curve["results"][-1]["n_train"]]
        limit = curve["limits"]["mre_px"]
        low, high = limit["limit_ci95"]
        found["curve"] = {
            "few": few["n_train"], "worst": few["mre_px"], "many": curve["results"][-1]["n_train"], "best": sum(many) / len(many), "sizes": len({round(result["n_train"], -1) for result in curve["results"]}), "limit": limit["limit"], "low": low, "high": high,
        }
    if outside := measured("outside"):
        ruler, ours = (next(result for result in outside["results"] if result["model"] == name) for name in ("mean shape", "dense-0"))
        (low, high), (ruler_low, ruler_high) = ours["border_px_ci95"], ruler["border_px_ci95"]
        found["outside"] = {
            "n": outside["n"], "seed": 0, "px": ours["border_px"], "low": low, "high": high, "mm": ours["border_mm"], "median": ours["median_px"],
            "p95": ours["p95_px"], "ruler": ruler["border_px"], "ruler_low": ruler_low, "ruler_high": ruler_high,
        }
        found["looked"] = {}
    if views := measured("views"):
        (low, high), gain = views["gain_of_more_views"]["difference_px_ci95"], views["gain_of_more_views"]["difference_px"]
        found["views"] = {"views": views["n_views"], "gain": gain, "low": low, "high": high, "members": len({one["run"] for one in views["results"]})}
    if unlike := measured("unlike"):
        thesis = next(pair for pair in unlike["pairs"] if set(pair["runs"]) == {"dense", "thesis-resnet18-random"})
        weakest = next(pair for pair in unlike["pairs"] if set(pair["runs"]) == {"dense", "thesis-lite0"})
        found["unlike"] = {
            "members": len(unlike["runs"]), "pair": min(pair["together_px"] for pair in unlike["pairs"]), "alone": min(run["mre_px"] for run in unlike["runs"]),
            "correlation": thesis["correlation"], "ends": thesis["correlation_L2_along"], "weakest": weakest["correlation"],
        }
    if drift := measured("drift"):
        alone, told = (next(result["mre_px"] for result in drift["results"] if result["run"] == "dense-0" and result["told_the_row"] is word) for word in (False, True))
        found["drift"] = {"alone": alone, "told": told}
    return found


def speed_block() -> str:
    """What `landmark-thesis bench` found, machine by machine."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((HERE / "bench").glob("*.json"))]
    return "\n\n".join([*(f"{markdown(content)}\n\n`{content['command']}`" for content in found), memory_line()]) + "\n"


def memory_line() -> str:
    """The peak memory of training runs, from their own environment.json; it does not grow with the epochs."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((HERE / "bench" / "memory").glob("*.json"))}
    runs = [f"`{name.split('-')[0]}` {_taken(one)} ({one['precision']}, `{one['command']}`)" for name, one in found.items()]
    return f"Peak memory of a training on the real pictures, by recipe, the pictures in it: {'; '.join(runs)}."


def _taken(told: dict) -> str:
    """Memory; of a card that and the time of the whole training, files and validation included."""
    memory = f"{told['peak_memory_bytes'] / 1e9:.1f} GB"
    return f"{memory} and {told['seconds']:.0f} s on {told['device']}" if told["device"].startswith("cuda") else memory


def checks() -> dict[str, dict]:
    """What the long checks wrote of themselves (tests/kept.py), by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((HERE / "bench" / "checks").glob("*.json"))}


def checks_block(lang: str = "en") -> str:
    """What the long checks found, each number out of a record, and the peak memory of the thesis' own recipe."""
    found, memory = checks(), json.loads((HERE / "bench" / "memory" / "thesis.json").read_text(encoding="utf-8"))
    if soak := found.get("soak"):
        found["soak"] = {**soak, **soak["resident_mb"], **{name: soak[name][-1] for name in ("files", "threads", "figures")}, "growth": soak["kb_a_training"]}
    told = {"device": memory["device"], "torch": memory["versions"]["torch"], "memory": _taken(memory), "command": memory["command"]}
    lines = [TEXTS[key][LANGUAGES.index(lang)].format(**found.get(key, told)) for key in ("checks", "kills", "mutations", "soak", "peak") if key in {"checks", "peak", *found}]
    return "\n".join([lines[0], "", *lines[1:], ""])


def with_block(text: str, lang: str = "en") -> str:
    blocks = {"results": lambda: readme_block(lang), "speed": speed_block, "drawn": lambda: drawn_block(lang), "checks": lambda: checks_block(lang)}
    return MARKERS.sub(lambda match: match.group(1) + blocks[match.group(2)]() + match.group(3), text)


def kept() -> set[Path]:
    """Every committed drawing and table, below this folder."""
    folders = [*(run.name for run in records()), *(record.name for record in experiments()), *DRAWN_LEDGERS, "."]
    files = {path.relative_to(HERE) for name in folders for path in (HERE / name).glob("*") if path.suffix in (".svg", ".md", ".csv", ".tex")}
    return files - {*LEDGERS, LIST}


def hashes() -> str:
    """The list of what is committed here: each file with its sha256."""
    lines = [f"{path.as_posix()},{hashlib.sha256((HERE / path).read_bytes()).hexdigest()}" for path in sorted(kept())]
    return "\n".join(["file,sha256", *lines, ""])


def stale() -> list[str]:
    """What `draw` and the READMEs' blocks would change."""
    texts = {path: (path.read_text(encoding="utf-8"), lang) for lang, path in READMES.items()}
    problems = [f"{path.name}: results are not those of the records" for path, (text, lang) in texts.items() if with_block(text, lang) != text]
    with tempfile.TemporaryDirectory() as scratch:
        draw(Path(scratch))
        made = {path.relative_to(scratch) for path in Path(scratch).rglob("*") if path.is_file()}
        there = kept()
        problems += [f"figures/{path}: missing" for path in sorted(made - there)] + [
            f"figures/{path}: nothing draws it" for path in sorted(there - made)
        ]
        problems += [
            f"figures/{path}: differs"
            for path in sorted(made & there)
            if not filecmp.cmp(Path(scratch) / path, HERE / path, shallow=False)
        ]
    return problems + ([] if (HERE / LIST).read_text(encoding="utf-8") == hashes() else [f"figures/{LIST}: is not the list of what lies here"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, report what is out of date")
    parser.add_argument("--add", nargs=2, metavar=("RUN", "NAME"), help="make a record of a run folder")
    arguments = parser.parse_args()
    if arguments.check:
        problems = stale()
        print("\n".join(problems) if problems else f"{len(records())} records; figures and README agree with them")
        return 1 if problems else 0
    if arguments.add:
        save_record(Run(Path(arguments.add[0])), RECORDS / arguments.add[1])
    draw(HERE)
    write_whole(HERE / LIST, hashes().encode())
    for lang, path in READMES.items():
        write_whole(path, with_block(path.read_text(encoding="utf-8"), lang).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
