"""Fit a calibration on validation data: of each label, by log loss cross-validated by patient.

Every candidate is a function of one probability (`ich.calibration.Calibrator`);
`ich.evaluation.validation.calibrators` fits it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ich.calibration import METHODS, Calibration, Calibrator, FittedOn, Method, factors, logit
from ich.card import Card
from ich.config import Experiment
from ich.evaluation.leakage import ids_sha256
from ich.evaluation.predictions import Scored
from ich.evaluation.statistics import intervals, metrics
from ich.evaluation.statistics.metrics import Floats
from ich.evaluation.validation.calibrators import isotonic, platt, temperature
from ich.labels import LABELS, SUBTYPES, Label

FOLDS = 5
FEWEST_SLICES = 10  # positives, and negatives, from which on there is a choice
FEWEST_PATIENTS = FOLDS  # with a positive slice, and with a negative one: each fold holds both then, nearly always
FEWEST_FOR_ISOTONIC = 200  # positives, and negatives: it has as many parameters as the data ask for, and overfits
_WORTH = 1e-6  # nats a slice; a smaller gain does not justify the less simple method

Bools = NDArray[np.bool_]
Names = NDArray[np.str_]
_Fit = Callable[[Bools, Floats], Calibrator | None]


class Prior(NamedTuple):
    """How often a label is positive in nature, and in what the training's loss added up (`ich.training.sampling`)."""

    prevalence: float
    effective: float


def fit(
    truth: Bools,
    probabilities: NDArray[np.floating],
    gated_in: Bools,
    patients: Names,
    priors: Mapping[Label, Prior],
    seed: int,
) -> dict[Label, Calibrator]:
    """Calibrate P(any), and each P(subtype | any) on the slices that are positive for `any` and reached stage 2.

    Args:
        truth: (n, 6) validation labels.
        probabilities: (n, 6) in [0, 1], not calibrated.
        gated_in: (n,) whether stage 2 ran.
        patients: (n,) names; the folds are made of patients.
        priors: of the labels of which they are known (`priors_of`).
        seed: of the folds.
    """
    p_any, given = factors(probabilities)
    passed = truth[:, 0] & gated_in
    found: dict[Label, Calibrator] = {"any": fit_label(truth[:, 0], p_any, patients, priors.get("any"), seed)}
    for column, subtype in enumerate(SUBTYPES):
        found[subtype] = fit_label(
            truth[passed, column + 1], given[passed, column], patients[passed], priors.get(subtype), seed
        )
    return found


def fit_label(truth: Bools, probabilities: Floats, patients: Names, prior: Prior | None, seed: int) -> Calibrator:
    """The best calibration of one probability.

    With fewer than 10 positive or negative slices, or fewer than 5 patients with either, nothing is fitted: the prior
    shift is taken if it is known and lowers the log loss of the slices that there are, or there are none. Only then, as
    training keeps the weights with the lowest validation loss, which may follow validation's prevalence more than its
    own. Isotonic regression needs 200 positives and 200 negatives.

    Args:
        truth: (n,)
        probabilities: (n,) in [0, 1].
        patients: (n,) names.
        prior: for the candidate `prior_shift`; None where it is not known.
        seed: of the folds.
    """
    fixed = [Calibrator(method="none")]
    if prior is not None and abs(shift := float(logit(prior.prevalence) - logit(prior.effective))) > _WORTH:
        fixed.append(Calibrator(method="prior_shift", shift=shift))
    counts = {"n": len(truth), "positives": int(truth.sum()), "patients": len(np.unique(patients))}
    if lacking := _too_little(truth, patients):
        return _without_fit(fixed, truth, probabilities, patients, lacking).model_copy(update=counts)
    fits: dict[Method, _Fit] = {each.method: partial(_unfitted, each) for each in fixed}
    fits |= {"temperature": temperature, "platt": platt}
    if min(truth.sum(), (~truth).sum()) >= FEWEST_FOR_ISOTONIC:
        fits["isotonic"] = isotonic
    losses = _cross_validate(fits, truth, probabilities, folds(truth, patients, seed))
    chosen = simplest(losses, patients)
    best = fits[chosen](truth, probabilities)
    if best is None:  # fitted in every fold, but not on all together
        chosen, best = "none", fixed[0]
    told = {method: float(each.mean()) for method, each in losses.items()}
    return best.model_copy(update={**counts, "cross_validated_log_loss": told, "reason": _reason(chosen, told)})


def _without_fit(
    fixed: Sequence[Calibrator], truth: Bools, probabilities: Floats, patients: Names, lacking: str
) -> Calibrator:
    """Of the calibrators that are not fitted, the best; nothing is to be cross-validated."""
    each_loss = {each.method: metrics.log_losses(truth, each.apply(probabilities)) for each in fixed if len(truth)}
    losses = {method: float(each.mean()) for method, each in each_loss.items()}
    best = fixed[-1] if not losses else next(each for each in fixed if each.method == simplest(each_loss, patients))
    taken = "left as it is"
    if best.method == "prior_shift":
        taken = "corrected for the prior of the training"
    told = ", ".join(f"{loss:.4f} with {method}" for method, loss in losses.items()) if len(losses) > 1 else ""
    reason = f"{lacking} to fit on; {taken}{f' (log loss {told})' if told else ''}"
    return best.model_copy(update={"cross_validated_log_loss": losses, "reason": reason})


def simplest(losses: Mapping[Method, Floats], patients: Names) -> Method:
    """The simplest method whose mean loss is within one standard error of the lowest.

    With few patients, methods differ by chance. The error is that of the mean difference from the best method, over
    patients, whose slices resemble each other (the rule: Breiman et al. 1984, Classification and Regression Trees).

    Args:
        losses: of each method, (n,) of the same slices.
        patients: (n,) names.
    """
    lowest = min(losses.values(), key=lambda each: float(each.mean()))
    codes, n_patients = intervals.patient_codes(patients)

    def is_as_good(method: Method) -> bool:
        difference = losses[method] - lowest
        by_patient = np.bincount(codes, difference - difference.mean(), n_patients)
        error = float(np.sqrt(np.square(by_patient).sum())) / len(difference)
        return bool(difference.mean() <= max(error, _WORTH))

    return next(method for method in METHODS if method in losses and is_as_good(method))


def folds(truth: Bools, patients: Names, seed: int) -> NDArray[np.intp]:
    """The fold, 0 to 4, of each slice (n,): patients are dealt out by their positives, then by their slices.

    Equal patients are in random order; the order of the slices changes nothing.
    """
    codes, n = intervals.patient_codes(patients)
    positives, slices = np.bincount(codes, truth, n), np.bincount(codes, minlength=n)
    by_size = np.lexsort((np.random.default_rng(seed).permutation(n), slices, positives))[::-1]
    there_and_back = np.r_[np.arange(FOLDS), np.arange(FOLDS)[::-1]]
    fold = np.empty(n, np.intp)
    fold[by_size] = np.resize(there_and_back, n)
    return fold[codes]


def _too_little(truth: Bools, patients: Names) -> str:
    """What there is too little of; empty if nothing is."""
    for of, which in (("positive", truth), ("negative", ~truth)):
        slices, n_patients = int(which.sum()), len(np.unique(patients[which]))
        if slices < FEWEST_SLICES:
            return f"{of} slices are too few ({slices}, at least {FEWEST_SLICES})"
        if n_patients < FEWEST_PATIENTS:
            return f"patients with {of} slices are too few ({n_patients}, at least {FEWEST_PATIENTS})"
    return ""


def _cross_validate(
    fits: Mapping[Method, _Fit], truth: Bools, probabilities: Floats, fold: NDArray[np.intp]
) -> dict[Method, Floats]:
    """Log loss of each slice with each method, fitted without its fold; methods that cannot be fitted are missing."""
    losses: dict[Method, Floats] = {}
    for method, fit_one in fits.items():
        predicted = np.empty(len(probabilities))
        for number in range(FOLDS):
            out = fold == number
            calibrator = fit_one(truth[~out], probabilities[~out])
            if calibrator is None:
                break
            predicted[out] = calibrator.apply(probabilities[out])
        else:
            losses[method] = metrics.log_losses(truth, predicted)
    return losses


def _reason(chosen: Method, losses: Mapping[Method, float]) -> str:
    if chosen == "none":
        return f"no method lowers the log loss of {losses['none']:.4f} by more than chance, cross-validated by patient"
    gained = f"log loss {losses[chosen]:.4f} instead of {losses['none']:.4f}, cross-validated by patient"
    return f"{gained}: the simplest within one standard error of the lowest, {min(losses.values()):.4f}"


def _unfitted(calibrator: Calibrator, truth: Bools, probabilities: Floats) -> Calibrator:
    return calibrator


def priors_of(cards: Sequence[Card]) -> dict[Label, Prior]:
    """Priors of the labels of which they are known; of several models, those that all of them share.

    A cascade's gate has that of P(any), its stage 2 those of P(subtype | any). A flat model has that of `any` alone:
    its P(subtype) and P(any) were weighed each by itself, and their quotient belongs to no prior. After end-to-end
    training none is known, since the weights may still be those of the two stages.
    """
    known = [_priors(card) for card in cards]
    return {
        label: prior
        for label, prior in known[0].items()
        if all(label in other and np.allclose(other[label], prior, rtol=1e-9, atol=0) for other in known)
    }


def _priors(card: Card) -> dict[Label, Prior]:
    stages = card.training.get("stages", {})
    if "end-to-end" in stages:
        return {}
    told = {label: prior for stage in stages.values() for label, prior in stage.get("priors", {}).items()}
    labels: tuple[Label, ...] = LABELS if card.gate is not None else ("any",)
    known = {
        label: Prior(float(told[label]["prevalence"]), float(told[label]["effective_prior"]))
        for label in labels
        if label in told
    }
    return {label: prior for label, prior in known.items() if all(0 < share < 1 for share in prior)}


def calibration_from(
    val: Scored, cards: Sequence[Card], config: Experiment, provenance: Mapping[str, Any] | None = None
) -> Calibration:
    """The calibration of the models whose mean the validation predictions are, without operating points.

    Args:
        val: predictions of the validation split, not calibrated.
        cards: of the models.
        config: its seed makes the folds.
        provenance: of `ich.workspace.provenance`.
    """
    return Calibration(
        models=tuple(card.file_sha256 for card in cards),
        fitted_on=FittedOn(
            split="val",
            slices=len(val.image_ids),
            patients=len(np.unique(val.patients)),
            image_ids_sha256=ids_sha256(val.image_ids.tolist()),
        ),
        labels=fit(val.truth, val.probabilities, val.gated_in, val.patients, priors_of(cards), config.seed),
        provenance=dict(provenance or {}),
    )
