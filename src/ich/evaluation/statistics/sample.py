"""What is evaluated: labels, probabilities, decisions and patients, of slices, series, patients or studies."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich.evaluation.statistics import intervals, metrics
from ich.evaluation.statistics.metrics import Confusion, Floats
from ich.level_names import Level


@dataclass(frozen=True)
class Sample:
    """What is evaluated.

    Attributes:
        truth: (n, 6) bool, in label order.
        probabilities: (n, 6) in [0, 1].
        decisions: (n, 6) bool.
        patients: (n,) names; the unit of the bootstrap.
        level: what a row is.
    """

    truth: NDArray[np.bool_]
    probabilities: NDArray[np.floating]
    decisions: NDArray[np.bool_]
    patients: NDArray[np.str_]
    level: Level = "slice"

    def __len__(self) -> int:
        return len(self.truth)

    @functools.cached_property
    def codes(self) -> NDArray[np.intp]:
        """(n,) patients as integers from 0."""
        return intervals.patient_codes(self.patients)[0]

    @functools.cached_property
    def n_patients(self) -> int:
        """Number of patients."""
        return int(self.codes.max(initial=-1)) + 1

    @functools.cached_property
    def positive_patients(self) -> NDArray[np.int64]:
        """(6,) patients with at least one positive row."""
        return (self.by_patient(self.truth) > 0).sum(axis=0)

    @functools.cached_property
    def counts(self) -> Confusion:
        """Counts of the six labels and, last, of their sum; arrays (7,)."""
        return Confusion(*(with_total(which) for which in metrics.confusion(self.truth, self.decisions)))

    def by_patient(self, values: NDArray[Any]) -> Floats:
        """Sum of (n, columns) over each patient's rows: (patients, columns)."""
        return intervals.sum_by_patient(values, self.codes, self.n_patients)


def with_total(labels: NDArray[Any]) -> NDArray[Any]:
    """(..., 6) -> (..., 7), the sum last."""
    return np.concatenate([labels, labels.sum(axis=-1, keepdims=True)], axis=-1)
