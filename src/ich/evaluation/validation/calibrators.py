"""The fits of a calibration: temperature and Platt by maximum likelihood, isotonic regression by least squares."""

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import expit

from ich.calibration import MOST_KNOTS, STEEPEST, Calibrator, logit
from ich.evaluation.statistics.metrics import Floats

Bools = NDArray[np.bool_]


def temperature(truth: Bools, probabilities: Floats) -> Calibrator | None:
    """The temperature with the lowest log loss; None where it is not between 1/20 and 20, as of separable classes."""
    z = logit(probabilities)

    def slope_of_loss(factor: float) -> float:  # increases with the factor, as the loss is convex in it
        return float(((expit(factor * z) - truth) * z).mean())

    if slope_of_loss(1 / STEEPEST) >= 0 or slope_of_loss(STEEPEST) <= 0:
        return None
    factor = optimize.brentq(slope_of_loss, 1 / STEEPEST, STEEPEST, xtol=1e-12)
    return Calibrator(method="temperature", temperature=1 / factor)


def platt(truth: Bools, probabilities: Floats) -> Calibrator | None:
    """Slope and intercept with the lowest log loss.

    None where there are none, as of separable classes, or the slope is not between 1/20 and 20: a slope under 0 would
    turn the ranking round.
    """
    z = logit(probabilities)
    if truth.all() or not truth.any() or z[truth].min() >= z[~truth].max():
        return None
    design = np.column_stack([z, np.ones_like(z)])

    def loss(weights: Floats) -> float:
        eta = design @ weights
        return float((np.logaddexp(0, eta) - truth * eta).mean())

    def gradient(weights: Floats) -> Floats:
        return np.asarray((expit(design @ weights) - truth) @ design / len(z))

    def hessian(weights: Floats) -> Floats:
        q = expit(design @ weights)
        return np.asarray((design * (q * (1 - q))[:, None]).T @ design / len(z))

    found = optimize.minimize(loss, np.array([1.0, 0.0]), jac=gradient, hess=hessian, method="trust-exact", tol=1e-9)
    slope, intercept = (float(weight) for weight in found.x)
    converged = np.abs(gradient(found.x)).max() < 1e-6
    if not converged or not 1 / STEEPEST <= slope <= STEEPEST:
        return None
    return Calibrator(method="platt", slope=slope, intercept=intercept)


def isotonic(truth: Bools, probabilities: Floats) -> Calibrator:
    """Non-decreasing frequencies with the least squared error, as knots at both ends of each constant piece.

    Frequencies of 0 and 1 are those of a few slices: they are kept from 1 / (n + 2) to (n + 1) / (n + 2), n the slices
    (Laplace's rule). Of more than 200 knots, 200 at equal steps remain, the outer ones among them.
    """
    x: Floats
    x, place, slices = np.unique(probabilities, return_inverse=True, return_counts=True)
    positives = np.bincount(place, truth, len(x))
    y = optimize.isotonic_regression(positives / slices, weights=slices).x
    inside = np.r_[False, (y[1:-1] == y[:-2]) & (y[1:-1] == y[2:]), False][: len(x)]
    knots = np.flatnonzero(~inside)
    if len(knots) > MOST_KNOTS:
        knots = knots[np.linspace(0, len(knots) - 1, MOST_KNOTS).round().astype(int)]
    n = len(truth)
    kept = np.clip(np.maximum.accumulate(y[knots]), 1 / (n + 2), (n + 1) / (n + 2))
    return Calibrator(method="isotonic", x=tuple(x[knots].tolist()), y=tuple(kept.tolist()))
