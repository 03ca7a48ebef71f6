"""What makes a model's probabilities agree with frequencies: one function a label, kept as JSON beside the model.

They act on the two factors that a cascade multiplies, P(any) and P(subtype | any), so that `any` stays at least as
likely as each subtype. Fitted by `ich.evaluation.validation.calibrate` on validation data; only NumPy and
pydantic load here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ich.card import Probability, first_fault
from ich.errors import DataError, printable
from ich.files import read_whole, write_json
from ich.labels import LABELS, SUBTYPES, Label
from ich.level_names import Level

Method = Literal["none", "prior_shift", "temperature", "platt", "isotonic"]
METHODS: tuple[Method, ...] = get_args(Method)  # the simplest first
Rule = Literal["youden", "sensitivity", "specificity", "f1"]
RULES: tuple[Rule, ...] = get_args(Rule)

CLIP = 1e-7  # as in training's loss; float32 holds no probability between 1 - 6e-8 and 1
STEEPEST = 20.0  # bounds of slopes and temperatures: beyond, a fit follows a handful of slices
MOST_KNOTS = 200
OFF = Path("none")  # in place of a file
MEAN_FILE = "calibration.json"  # in a run's folder: of the mean of several models

_FROZEN = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)
_PARAMETERS: dict[Method, tuple[str, ...]] = {
    "none": (), "prior_shift": ("shift",), "temperature": ("temperature",), "platt": ("slope", "intercept"),
    "isotonic": ("x", "y"),
}  # fmt: skip
_Factor = Annotated[float, Field(ge=1 / STEEPEST, le=STEEPEST)]
_Knots = Annotated[tuple[Probability, ...], Field(min_length=1, max_length=MOST_KNOTS)]
_Count = Annotated[int, Field(ge=0)]


class Calibrator(BaseModel):
    """A non-decreasing function of a probability p, and how it was found.

    Attributes:
        method: `none` leaves p as it is. With z = logit(p), p first clipped to [1e-7, 1 - 1e-7], and results clipped to
            the same: `prior_shift` is sigmoid(z + shift) (Elkan, IJCAI 2001; Saerens et al., Neural Computation
            2002;14:21), `temperature` sigmoid(z / temperature) (Guo et al., ICML 2017), `platt` sigmoid(slope * z +
            intercept) (Platt 1999, on logits). `isotonic` is linear between the knots and constant beyond the outer
            ones (Zadrozny and Elkan, KDD 2002).
        shift, temperature, slope, intercept: of the method; the others None.
        x, y: knots of `isotonic`, at most 200; x increases, y does not decrease.
        cross_validated_log_loss: of every candidate, nats a slice; empty without slices. What is not fitted to data is
            as good on all of them as cross-validated.
        n, positives, patients: what it was fitted on: slices, positives of them, patients.
        reason: why this method.
    """

    model_config = _FROZEN
    method: Method
    shift: float | None = None
    temperature: _Factor | None = None
    slope: _Factor | None = None
    intercept: float | None = None
    x: _Knots | None = None
    y: _Knots | None = None
    cross_validated_log_loss: dict[Method, float] = {}
    n: _Count = 0
    positives: _Count = 0
    patients: _Count = 0
    reason: str = ""

    @model_validator(mode="after")
    def _parameters_of_the_method(self) -> Self:
        for method, names in _PARAMETERS.items():
            for name in names:
                if (getattr(self, name) is not None) != (method == self.method):
                    raise ValueError(f"{name} belongs to {method}, and the method is {self.method}")
        if self.x is not None and self.y is not None:
            if len(self.x) != len(self.y):
                raise ValueError(f"x and y must be equally long, got {len(self.x)} and {len(self.y)}")
            if np.any(np.diff(self.x) <= 0) or np.any(np.diff(self.y) < 0):
                raise ValueError("x must increase, and y must not decrease")
        return self

    def apply(self, probabilities: ArrayLike) -> NDArray[np.float64]:
        """Calibrate probabilities in [0, 1], of any shape; float64 in [0, 1] of the same shape."""
        p = np.asarray(probabilities, np.float64)
        if self.x is not None and self.y is not None:
            return np.asarray(np.interp(p, self.x, self.y))
        z = logit(p)
        if self.shift is not None:
            return sigmoid(z + self.shift)
        if self.temperature is not None:
            return sigmoid(z / self.temperature)
        if self.slope is not None and self.intercept is not None:
            return sigmoid(self.slope * z + self.intercept)
        return p


class Threshold(BaseModel):
    """A unit (slice, series, patient) is called positive where its probability is at least `value`.

    Attributes:
        value: in [0, 1].
        source: where it comes from, in words.
        tp, fp, tn, fn: what it gives on validation data; None where it was not chosen there.
    """

    model_config = _FROZEN
    value: Probability
    source: str
    tp: _Count | None = None
    fp: _Count | None = None
    tn: _Count | None = None
    fn: _Count | None = None

    @property
    def sensitivity(self) -> float:
        """TP / (TP + FN) on validation data; NaN without positives."""
        return _share(self.tp, self.fn)

    @property
    def specificity(self) -> float:
        """TN / (TN + FP) on validation data; NaN without negatives."""
        return _share(self.tn, self.fp)


class FittedOn(BaseModel):
    """The slices that a calibration was fitted on.

    Attributes:
        split: always `val`.
        slices, patients: how many.
        image_ids_sha256: SHA-256 of their ImageIDs, sorted, each with a line break after it.
    """

    model_config = _FROZEN
    split: Literal["val"]
    slices: _Count
    patients: _Count
    image_ids_sha256: str


class Calibration(BaseModel):
    """Of one model, or of the mean of several.

    Attributes:
        models: SHA-256 of the model files.
        fitted_on: the validation slices.
        labels: `any`: P(any), on all slices. A subtype: P(subtype | any), on the slices that are positive for `any` and
            reached stage 2.
        operating_points: thresholds on calibrated probabilities, by level, rule and label, from the same slices.
        provenance: versions, git commit, time.
    """

    model_config = _FROZEN
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    fitted_on: FittedOn
    labels: dict[Label, Calibrator]
    operating_points: dict[Level, dict[Rule, dict[Label, Threshold]]] = {}
    provenance: dict[str, Any] = {}

    @model_validator(mode="after")
    def _six_labels(self) -> Self:
        if set(self.labels) != set(LABELS):
            raise ValueError(f"labels must be {', '.join(LABELS)}, got {', '.join(self.labels) or 'none'}")
        return self

    @property
    def changes(self) -> bool:
        """Whether any probability is changed."""
        return any(calibrator.method != "none" for calibrator in self.labels.values())

    def apply(self, probabilities: NDArray[np.floating], gated_in: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Calibrate the six probabilities of n slices.

        Args:
            probabilities: (n, 6) in [0, 1], as the model gives them, `any` not less than a subtype.
            gated_in: (n,) whether stage 2 ran; elsewhere P(subtype | any) is the natural prevalence and stays so.

        Returns:
            (n, 6) float32 in [0, 1], `any` never less than a subtype.
        """
        p_any, given = factors(probabilities)
        columns = [self.labels[subtype].apply(given[:, column]) for column, subtype in enumerate(SUBTYPES)]
        calibrated = np.where(np.asarray(gated_in, bool)[:, None], np.stack(columns, axis=1), given)
        return compose(self.labels["any"].apply(p_any), calibrated)


class Factors(NamedTuple):
    """P(any), (n,) float64, and P(subtype | any), (n, 5) float64, each in [0, 1]."""

    p_any: NDArray[np.float64]
    given: NDArray[np.float64]


def factors(probabilities: NDArray[np.floating]) -> Factors:
    """Take the six probabilities (n, 6) of slices apart: P(any), and P(subtype) / P(any) clipped to [0, 1].

    Where P(any) is 0, so are the subtypes', and nothing is known of their shares: 0 stands for them.
    """
    p = np.asarray(probabilities, np.float64)
    p_any, given = p[:, 0], np.zeros((len(p), len(SUBTYPES)))
    np.divide(p[:, 1:], p_any[:, None], out=given, where=p_any[:, None] > 0)
    return Factors(p_any, np.clip(given, 0, 1))


def compose(p_any: NDArray[np.floating], given: NDArray[np.floating]) -> NDArray[np.float32]:
    """Put P(any), (n,), and P(subtype | any), (n, 5), together: (n, 6) float32, `any` never less than a subtype.

    The products of numbers up to 1 are taken in float64 and rounded once, which keeps their order.
    """
    p = np.asarray(p_any, np.float64)[:, None]
    return np.hstack([p, p * np.asarray(given, np.float64)]).astype(np.float32)


def logit(probabilities: ArrayLike) -> NDArray[np.float64]:
    """Log odds of probabilities clipped to [1e-7, 1 - 1e-7]."""
    p = np.clip(np.asarray(probabilities, np.float64), CLIP, 1 - CLIP)
    return np.asarray(np.log(p) - np.log1p(-p))


def sigmoid(z: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities of log odds, in [1e-7, 1 - 1e-7]."""
    return np.asarray(1 / (1 + np.exp(-np.clip(z, logit(CLIP), logit(1 - CLIP)))))


def calibration_path(model: Path) -> Path:
    """Where a model's calibration is: beside it, cascade_final.keras: cascade_final_calibration.json."""
    return model.with_name(f"{model.stem}_calibration.json")


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration as JSON, atomically."""
    write_json(path, calibration.model_dump(mode="json", exclude_none=True))


def read_any_calibration(path: Path) -> Calibration:
    """Read and check a calibration, whatever models it is for.

    Raises:
        DataError: the file is not there, damaged, or fitted on other data than validation's.
    """
    shown = printable(path)
    if not path.is_file():
        raise DataError(f"calibration {shown} does not exist; `ich evaluate` writes it, or use --calibration none")
    try:
        return Calibration.model_validate_json(read_whole(path))
    except ValidationError as error:
        raise DataError(
            f"{shown} is not a calibration fitted on validation data ({first_fault(error)}); run `ich evaluate` to "
            "write it again, or use --calibration none"
        ) from error


def read_calibration(path: Path, models: Sequence[str]) -> Calibration:
    """Read and check a calibration.

    Args:
        path: of the JSON file.
        models: SHA-256 of the model files that it is wanted for, in any order.

    Raises:
        DataError: the file cannot be used (`read_any_calibration`), or is for other models.
    """
    calibration, shown = read_any_calibration(path), printable(path)
    if sorted(calibration.models) != sorted(models):
        raise DataError(
            f"{shown} is the calibration of {_named(calibration.models)}, not of {_named(models)}; run `ich evaluate` "
            "for these models, or use --calibration none"
        )
    return calibration


class Found(NamedTuple):
    """What `find_calibration` gives: the calibration, or None, and what there is to say of it, as JSON holds it."""

    calibration: Calibration | None
    about: dict[str, Any]


def find_calibration(models: Sequence[Path], sha256s: Sequence[str], given: Path | None = None) -> Found:
    """The calibration of models whose mean is taken.

    Args:
        models: `.keras` files, at least one.
        sha256s: theirs.
        given: its file; `none` for no calibration; None for that beside the model, if there is one and one model.

    Returns:
        `about`: `applied`; then file, fitted_on, share of `any` among its slices, method of each label; else `reason`.

    Raises:
        DataError: the file cannot be used (`read_calibration`).
    """
    if given == OFF:
        return Found(None, {"applied": False, "reason": f"--calibration {OFF}"})
    if given is None and len(models) > 1:
        reason = (
            f"the mean of several models needs --calibration FILE, runs/<name>/{MEAN_FILE}; `ich evaluate` writes it"
        )
        return Found(None, {"applied": False, "reason": reason})
    path = given or calibration_path(models[0])
    if given is None and not path.exists():
        reason = f"no {printable(Path(path.name))} beside the model; `ich evaluate` writes it"
        return Found(None, {"applied": False, "reason": reason})
    calibration = read_calibration(path, sha256s)
    overall = calibration.labels["any"]
    return Found(
        calibration,
        {
            "applied": True,
            "file": printable(path),
            "fitted_on": calibration.fitted_on.model_dump(),
            "prevalence_of_any": overall.positives / overall.n if overall.n else None,
            "methods": {label: calibration.labels[label].method for label in LABELS},
        },
    )


def _named(models: Sequence[str]) -> str:
    hashes = " + ".join(sha256[:12] for sha256 in sorted(models))
    return f"the model with SHA-256 {hashes}" if len(models) == 1 else f"the mean of the models with SHA-256 {hashes}"


def _share(part: int | None, rest: int | None) -> float:
    return part / (part + rest) if part is not None and rest is not None and part + rest else float("nan")
