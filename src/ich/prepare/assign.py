"""Who goes into which split or fold: pure functions of labels, shares and seed."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ich.config import Split
from ich.errors import DataError
from ich.labels import LABELS
from ich.workspace import SPLITS, SplitName

_QUANTITIES = [*LABELS, "slices", "patients"]  # what is shared out
_LINKED = {"unit": pl.String, "together": pl.String}


def assign_slices(table: pl.DataFrame, how: Split, seed: int) -> list[str]:
    """The notebooks' split: scikit-learn's `train_test_split`, stratified by `any`, twice.

    The first half of what is not training is *test*, as in the notebooks.

    Args:
        table: slices sorted by ImageID, with the label columns.
        how: fractions.
        seed: random_state of both calls.

    Returns:
        The split of each row.

    Raises:
        DataError: too few positives or negatives to stratify.
    """
    from sklearn.model_selection import train_test_split

    any_label = table["any"].to_numpy()
    if min(rarest := [int(any_label.sum()), int((1 - any_label).sum())]) < 2 * len(SPLITS):
        raise DataError(
            f"a split by slice needs at least {2 * len(SPLITS)} positives and negatives, got {rarest}; add data"
        )
    _, val_fraction, test_fraction = how.fractions
    held_out_fraction = val_fraction + test_fraction
    _, held_out = train_test_split(
        np.arange(len(table)), test_size=held_out_fraction, stratify=any_label, random_state=seed
    )
    test, val = train_test_split(
        held_out, test_size=val_fraction / held_out_fraction, stratify=any_label[held_out], random_state=seed
    )
    names = np.full(len(table), "train", object)
    names[val], names[test] = "val", "test"
    return [str(name) for name in names]


def assign_patients(table: pl.DataFrame, how: Split, seed: int, linked: pl.DataFrame | None = None) -> pl.DataFrame:
    """Share whole patients out, so that every split has its part of the patients, the slices and each label.

    With `how.folds`, patients are dealt into as many equal folds, whichever of them is test.

    Args:
        table: slices with the columns `unit` (the patient) and the six labels.
        how: fractions, or folds and fold.
        seed: order of patients that are alike.
        linked: `unit` and `together`, a name for those who must not be parted; others stand by themselves.

    Returns:
        `unit`, `split` and `fold` (null without folds), a row a patient, sorted.

    Raises:
        DataError: there are fewer patients, or groups of linked ones, than splits or folds.
    """
    parts, kind = (how.folds, "folds") if how.folds else (len(SPLITS), "splits")
    patients, groups = _amounts(table, linked)
    if len(groups) < parts:
        alone = "" if len(groups) == len(patients) else f", linked to {len(groups)} by identical pixels,"
        raise DataError(f"{len(patients)} patients{alone} cannot fill {parts} {kind}; add data")
    shares = np.full(parts, 1 / parts) if how.folds else np.array(how.fractions)
    number = balance(groups.select(_QUANTITIES).to_numpy().astype(float), shares, seed)
    names = [fold_split(fold, how) for fold in range(parts)] if how.folds else SPLITS
    dealt = groups.select(
        "together",
        split=pl.Series([names[each] for each in number], dtype=pl.String),
        fold=pl.Series(number if how.folds else [None] * len(groups), dtype=pl.Int64),
    )
    return patients.join(dealt, on="together").select("unit", "split", "fold").sort("unit")


def _amounts(table: pl.DataFrame, linked: pl.DataFrame | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`unit` and `together` of every patient; and what each `together` holds: positives, slices, patients. Sorted."""
    patients = (
        table.group_by("unit")
        .agg(*(pl.col(label).sum().cast(pl.Int64) for label in LABELS), slices=pl.len(), patients=pl.lit(1))
        .join(pl.DataFrame(schema=_LINKED) if linked is None else linked, on="unit", how="left")
        .with_columns(pl.coalesce("together", "unit"))
        .sort("unit")
    )
    return patients, patients.group_by("together").agg(pl.col(_QUANTITIES).sum()).sort("together")


def fold_split(fold: int, how: Split) -> SplitName:
    """What a fold is in this run: `split.fold` is test, the next one (after the last, the first) validation."""
    if fold == how.fold:
        return "test"
    return "val" if fold == ((how.fold or 0) + 1) % how.folds else "train"


def balance(amounts: NDArray[np.float64], fractions: NDArray[np.float64], seed: int) -> NDArray[np.intp]:
    """Assign units to splits so that every quantity is shared out by the fractions.

    Greedy, those with most of something rare first: each unit goes where it adds least to the sum of
    (share held)^2 / fraction over quantities: least squares from the shares that are due. Twice as close as "where most
    is lacking", and 25 times as close as scikit-learn's StratifiedGroupKFold, or more (LAB_BOOK.md).

    Args:
        amounts: (units, quantities).
        fractions: (splits,), sum 1.
        seed: order of units that are alike.

    Returns:
        (units,) number of the split.
    """
    shares = amounts / np.maximum(amounts.sum(axis=0), 1)
    random_order = np.random.default_rng(seed).permutation(len(shares))
    order = random_order[np.argsort(-shares[random_order].max(axis=1), kind="stable")]
    held = np.zeros((len(fractions), amounts.shape[1]))
    choice = np.empty(len(shares), np.intp)
    for unit in order:
        # Of ((held + share)^2 - held^2) / fraction. Not `@`: BLAS rounds otherwise on another CPU, which decides ties.
        added = ((2 * held + shares[unit]) * shares[unit]).sum(axis=1) / fractions
        choice[unit] = np.argmin(added)
        held[choice[unit]] += shares[unit]
    return choice
