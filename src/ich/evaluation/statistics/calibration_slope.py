"""Calibration slope and intercept: logistic recalibration (Cox 1958; Van Calster 2016, 2019).

Slope: coefficient b of logit P(y) = a + b logit(p); 1 is right, under 1 means too extreme probabilities.
Intercept: calibration in the large, a of logit P(y) = a + logit(p), the slope held at 1; 0 is right, over 0 means that
probabilities are too low. It is not the a of the first equation.
Probabilities are clipped to [1e-8, 1 - 1e-8] before logit, as in the R package CalibrationCurves: 0 and 1 are usable.
"""

import functools

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ich.evaluation.statistics.metrics import Floats

CLIP = 1e-8
_FARTHEST = 20.0  # log odds
_STEPS, _ENOUGH = 200, 1e-6  # Newton's steps at most, and the one after which none follows; its error is the square


def logits(probabilities: ArrayLike) -> Floats:
    """Natural log of the odds of clipped probabilities, in the shape given."""
    clipped = np.clip(np.asarray(probabilities, np.float64), CLIP, 1 - CLIP)
    return np.asarray(np.log(clipped / (1 - clipped)))


class Recalibration:
    """One label's slices, prepared for fits under any weights of their patients.

    Args:
        truth: (n,)
        probabilities: (n,) in [0, 1].
        groups: (n,) the patient of each slice, integers from 0.
        n_groups: how many patients.
    """

    def __init__(
        self, truth: NDArray[np.bool_], probabilities: ArrayLike, groups: NDArray[np.intp], n_groups: int
    ) -> None:
        self._truth, self._logits, self._groups = truth.astype(np.float64), logits(probabilities), groups
        self._squares, self._widest = self._logits**2, max(float(np.abs(self._logits).max(initial=0)), 1e-9)
        positive, negative = np.flatnonzero(truth), np.flatnonzero(~truth)
        self._ends = [
            _extreme(pick, self._logits[rows], groups[rows], n_groups)
            for rows in (positive, negative) for pick in (np.minimum, np.maximum)
        ]  # fmt: skip

    def fit(self, weights: NDArray[np.integer]) -> tuple[Floats, Floats]:
        """Maximum likelihood slope and intercept of every replicate.

        Args:
            weights: (replicates, patients) how often each patient counts.

        Returns:
            Slopes and intercepts, (replicates,) each. NaN where it does not exist: either, of one class only; the
            slope, if all probabilities are equal or some cut parts the classes (Albert and Anderson 1984).
        """
        return self._fit(weights, 2)[:, 1], self._fit(weights, 1)[:, 0]

    @functools.cached_property
    def _starts(self) -> dict[int, Floats]:
        """The fit of all slices, each once, by the number of free parameters: a replicate's is close to it."""
        once = np.ones((1, self._n_groups), np.int32)
        return {free: self._fit(once, free, np.array([0.0, 1.0]))[0] for free in (1, 2)}

    def _fit(self, weights: NDArray[np.integer], free: int, start: Floats | None = None) -> Floats:
        """(replicates, 2): a and b, of which the first `free` were fitted; NaN where they do not exist."""
        low, high, low_negative, high_negative = self._seen(weights)
        exists = np.isfinite(low) & np.isfinite(low_negative)
        if free == 2:
            exists &= (high_negative > low) & (high > low_negative)
        found = np.full((len(weights), 2), np.nan)
        if exists.any():
            start = self._starts[free] if start is None else start
            start = start if np.isfinite(start).all() else np.array([0.0, 1.0])
            found[exists] = self._newton(weights[exists], slice(0, free), start)
        return found

    def why_undefined(self, metric: str, level: str = "slice") -> str:
        """Why the fit of all slices, each once, gives NaN for `calibration_slope` or `calibration_intercept`."""
        low, high, low_negative, high_negative = (
            float(end[0]) for end in self._seen(np.ones((1, self._n_groups), int))
        )
        if not np.isfinite(low):
            return f"no positive {level}"
        if not np.isfinite(low_negative):
            return f"no negative {level}"
        if metric == "calibration_slope" and min(low, low_negative) == max(high, high_negative):
            return "all probabilities are equal"
        if metric == "calibration_slope" and (high_negative <= low or high <= low_negative):
            return "a cut of the probability parts the classes: the slope is infinite"
        return "the fit did not converge"

    @property
    def _n_groups(self) -> int:
        return len(self._ends[0])

    def _seen(self, weights: NDArray[np.integer]) -> list[Floats]:
        """Lowest and highest logit of the positives drawn, then of the negatives: (replicates,) each."""
        drawn = np.asarray(weights > 0)
        return [
            np.where(drawn, ends, np.inf).min(axis=1) if lowest else np.where(drawn, ends, -np.inf).max(axis=1)
            for ends, lowest in zip(self._ends, (True, False, True, False), strict=True)
        ]

    def _newton(self, weights: NDArray[np.integer], free: slice, start: Floats) -> Floats:
        """(replicates, 2): a and b of logit P(y) = a + b logit(p), from (2,); only those that are free change.

        Log likelihood is concave. A step that ends where it falls more steeply than it rose at the beginning went too
        far, and is halved.
        """
        multiplicity = np.take(weights, self._groups, axis=1).astype(np.float64)
        at, step = np.tile(start, (len(weights), 1)), np.zeros((len(weights), 2))
        ascent, found = np.full(len(weights), np.inf), np.full((len(weights), 2), np.nan)
        active = np.arange(len(weights))
        for _ in range(_STEPS):
            gradient, curvature = self._derivatives(at[active], multiplicity)
            back = (gradient * step[active]).sum(axis=1) < -ascent[active]
            newton = np.zeros_like(gradient)
            newton[:, free] = _damped_step(gradient[:, free], curvature[:, free, free], self._widest)
            step[active] = np.where(back[:, None], step[active] / 2, newton)
            ascent[active] = np.where(back, ascent[active] / 2, (gradient * newton).sum(axis=1))
            at[active] += np.where(back[:, None], -step[active], step[active])
            done = ~back & (np.abs(step[active]).max(axis=1) < _ENOUGH)
            found[active[done]] = at[active[done]]
            going = ~done & np.isfinite(at[active]).all(axis=1)
            if not going.any():
                break
            active, multiplicity = active[going], multiplicity if going.all() else multiplicity[going]
        return found

    def _derivatives(self, at: Floats, multiplicity: Floats) -> tuple[Floats, Floats]:
        """Gradient (b, 2) of the log likelihood and its negative second derivatives (b, 2, 2)."""
        x = self._logits
        with np.errstate(over="ignore"):
            p = 1 / (1 + np.exp(-(at[:, :1] + at[:, 1:] * x)))
        spread = multiplicity * p
        residual = multiplicity * self._truth - spread
        spread *= 1 - p
        gradient = np.stack([residual.sum(axis=1), _dot(residual, x)], axis=1)
        second = np.stack([spread.sum(axis=1), _dot(spread, x), _dot(spread, self._squares)], axis=1)
        return gradient, second[:, [[0, 1], [1, 2]]]


def _dot(rows: Floats, column: Floats) -> Floats:
    """(b, n) and (n,) -> (b,), without BLAS, whose threads would wait for those of the bootstrap: 3 times the CPU."""
    return np.asarray(np.einsum("bn,n->b", rows, column))


def _damped_step(gradient: Floats, curvature: Floats, widest: float) -> Floats:
    """Newton's steps (b, k), k 1 or 2, that change no log odds by more than about _FARTHEST, however flat it is there.

    The curvature is raised in proportion to the gradient (Levenberg 1944), which vanishes where the steps end.
    """
    scale = np.array([1, widest])[: gradient.shape[1]]
    g, h = gradient / scale, curvature / np.outer(scale, scale)
    raised = np.linalg.norm(g, axis=1) / _FARTHEST + 1e-300
    first = h[:, 0, 0] + raised
    if g.shape[1] == 1:
        return g / first[:, None]
    last, cross = h[:, 1, 1] + raised, h[:, 0, 1]
    with np.errstate(divide="ignore", invalid="ignore"):  # all logits as good as equal: not finite, and given up
        determinant = first * last - cross**2
        steps = [(last * g[:, 0] - cross * g[:, 1]) / determinant, (first * g[:, 1] - cross * g[:, 0]) / determinant]
        return np.stack(steps, axis=1) / scale


def _extreme(pick: np.ufunc, values: Floats, groups: NDArray[np.intp], n_groups: int) -> Floats:
    """The smallest or largest value of each group, or an infinity that loses against any."""
    ends = np.full(n_groups, np.inf if pick is np.minimum else -np.inf)
    pick.at(ends, groups, values)
    return ends
