"""A statistical prior of shape on top of the answers: what the covariance of the training labels adds to a model that was trained on them.

    python figures/prior.py DIR     from the recorded errors of `dense` on validation, and the labels in DIR (figures/records/prior); no weights are needed

If an answer is the shape plus an error, the likeliest shape lies between the answer and the mean shape: mean + C (C + s F)^-1 (answer - mean), with C the
covariance of the training labels, F how the answers waver (research/wavering.json, of mean variance 1) and s the variance of the errors in px. A model that
was trained to be near its labels may have done that by itself; then its answers are drawn to the mean twice.
"""

import json
import sys

import heads
import numpy as np
from experiments import RECORDS, made_with, recorded_answers, write_record

from landmark_thesis.data import load_data
from landmark_thesis.landmarks import NUM_LANDMARKS, project_to_shape
from landmark_thesis.pixel_error import bootstrap_interval, compare_errors, radial_errors
from landmark_thesis.runs import Run

RECORD = RECORDS / "prior"
VARIANCES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # of an error, px@224 squared; 0 is no prior
RIDGE = 1e-3  # px squared: the labels have 14 degrees of freedom of 30


def upright(form: np.ndarray) -> np.ndarray:
    """A form in (along, across) of each point as one in (x, y), for an axis that stands upright, as the labelled ones do within some degrees."""
    order = np.arange(2 * NUM_LANDMARKS).reshape(NUM_LANDMARKS, 2)[:, ::-1].ravel()
    return form[np.ix_(order, order)]


def drawn_to_the_mean(answers: np.ndarray, labels: np.ndarray, form: np.ndarray, variance: float) -> np.ndarray:
    """Answers (N, 15, 2) in px, moved to the likeliest shape under the Gaussian of `labels` (M, 15, 2), for errors of `variance` times `form`."""
    flat, known = answers.reshape(len(answers), -1), labels.reshape(len(labels), -1)
    mean, covariance = known.mean(0), np.cov(known.T) + RIDGE * np.eye(known.shape[1])
    moved = mean + np.linalg.solve(covariance + variance * form, (flat - mean).T).T @ covariance
    return project_to_shape(moved.reshape(answers.shape) / 224) * 224


def main(folder: str) -> None:
    run = Run(RECORDS / "dense")
    data = load_data(folder, run.recipe.preprocessing)
    names, target, answers = recorded_answers(run, data)
    target, answers, labels = (224 * points for points in (target, answers, data.subset(run.part("train")).points.numpy().astype(float)))
    form = upright(np.array(json.loads(heads.FORM.read_text(encoding="utf-8"))))
    errors = {f"variance {s:g}": radial_errors(drawn_to_the_mean(answers, labels, form, s) / 224, target / 224, 224).mean(1) for s in VARIANCES}
    plain = errors[f"variance {VARIANCES[0]:g}"]
    slopes = [np.polyfit(answers[..., k].ravel() - labels[..., k].mean(), (target - answers)[..., k].ravel(), 1)[0] for k in (0, 1)]
    content = {
        "unit": "px@224", "part": "val", "n": len(names), "split_fingerprint": run.split.fingerprint, "command": "python figures/prior.py DIR", **made_with(),
        "slope_of_error_on_answer": {"x": float(slopes[0]), "y": float(slopes[1])},
        "priors": [{"variance": s, "mre_px": float(values.mean()), "mre_px_ci95": list(bootstrap_interval(values)), "gain": compare_errors(plain, values)}
                   for s, values in zip(VARIANCES, errors.values(), strict=True)],
    }
    write_record(RECORD, content, names, errors)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
    for prior in json.loads((RECORD / "prior.json").read_text(encoding="utf-8"))["priors"]:
        print(prior["variance"], round(prior["mre_px"], 3), {key: value for key, value in prior["gain"].items() if key.startswith("diff")})
