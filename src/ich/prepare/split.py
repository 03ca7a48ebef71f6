"""Step 4, split: training, validation and test, by patient; and the folders and tables that training reads."""

import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ich.config import Experiment, Split, StepName
from ich.errors import DataError
from ich.labels import IMAGE_ID, LABELS, counts, read_long_labels, read_table
from ich.prepare.ledger import IDENTITY_SCHEMA
from ich.workspace import SPLITS, Outcome, Workspace, read_json, read_parquet, write_csv, write_json


def split(config: Experiment) -> Outcome:
    """Decide who is in which split and write `splits.json`; where the images are there already, fill the folders.

    Before `sample` in `steps`, all labelled slices with a readable header are split; after it, the sampled ones.

    Raises:
        DataError: an input is missing, or there are fewer units than splits.
    """
    workspace = Workspace(config)
    table = _slices_to_split(config, workspace)
    if table["unit"].n_unique() < len(SPLITS):
        raise DataError(f"{table['unit'].n_unique()} {config.split.unit}s cannot fill {len(SPLITS)} splits; add data")
    assign = assign_slices if config.split.unit == "slice" else assign_patients
    assigned = table.with_columns(pl.Series("split", assign(table, config.split, config.seed)))
    summary = summarise(assigned)
    write_json(workspace.splits, {
        "unit": config.split.unit, "seed": config.seed, "fractions": list(config.split.fractions),
        "splits": summary, "units_in_two_splits": _units_in_two_splits(assigned),
        "assignment": dict(assigned.select("unit", "split").unique("unit").sort("unit").iter_rows()),
    })  # fmt: skip
    filled = fill_split_folders(workspace) if fills_split_folders("split", config) else []
    return Outcome({"unit": config.split.unit, "splits": summary}, [workspace.splits], rewritten=filled)


def assign_slices(table: pl.DataFrame, how: Split, seed: int) -> list[str]:
    """The notebooks' split: scikit-learn's `train_test_split`, stratified by `any`, twice.

    The first half of what is not training is *test*, as in the notebooks.

    Args:
        table: slices sorted by ImageID, with the label columns.
        how: fractions.
        seed: random_state of both calls.

    Returns:
        The split of each row.
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


def assign_patients(table: pl.DataFrame, how: Split, seed: int) -> list[str]:
    """Greedy stratification of whole patients, those with most of a rare label first.

    Args:
        table: slices with the columns `unit` (the patient) and the six labels.
        how: fractions.
        seed: order of patients that are alike.

    Returns:
        The split of each row; every row of a patient has the same.
    """
    totals = (
        table.group_by("unit")
        .agg(*(pl.col(label).sum().cast(pl.Int64) for label in LABELS), slices=pl.len())
        .sort("unit")
    )
    amounts = totals.select(*LABELS, "slices").with_columns(patients=1).to_numpy().astype(float)
    choice = _balance(amounts, np.array(how.fractions), seed)
    by_unit = dict(zip(totals["unit"], (SPLITS[number] for number in choice), strict=True))
    return [by_unit[unit] for unit in table["unit"]]


def _balance(amounts: NDArray[np.float64], fractions: NDArray[np.float64], seed: int) -> NDArray[np.intp]:
    """Assign units to splits so that every quantity is shared out by the fractions.

    Each unit goes where it adds least to the sum of (share held)^2 / fraction over quantities: least squares from
    the shares that are due. Twice as close as "where most is lacking" (LAB_BOOK.md).

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
        added = (2 * held + shares[unit]) @ shares[unit] / fractions  # of ((held + share)^2 - held^2) / fraction
        choice[unit] = np.argmin(added)
        held[choice[unit]] += shares[unit]
    return choice


def summarise(assigned: pl.DataFrame) -> dict[str, Any]:
    """Units, slices, positives and prevalence of each split."""
    summary: dict[str, Any] = {}
    for name in SPLITS:
        rows = assigned.filter(pl.col("split") == name)
        positives = counts(rows)
        summary[name] = {
            "units": rows["unit"].n_unique(),
            "slices": len(rows),
            "counts": positives,
            "prevalence": {label: positives[label] / len(rows) if len(rows) else None for label in LABELS},
        }
    return summary


def read_assignment(workspace: Workspace) -> pl.DataFrame:
    """ImageID and split of every slice that `splits.json` covers.

    Raises:
        DataError: no split yet, its file is damaged, or the patients of a patient split are not known.
    """
    content = read_json(workspace.splits)
    if not _is_a_split(content):
        raise DataError(f"{workspace.splits} does not hold a split; delete it and run split again")
    units = pl.DataFrame(
        list(content["assignment"].items()), schema={"unit": pl.String, "split": pl.String}, orient="row"
    )
    if content["unit"] == "slice":
        return units.rename({"unit": IMAGE_ID})
    return patients(workspace).rename({"patient": "unit"}).join(units, on="unit").select(IMAGE_ID, "split")


def patients(workspace: Workspace) -> pl.DataFrame:
    """ImageID and patient of every slice whose header could be read; without PatientID, its study, series or itself.

    Raises:
        DataError: neither `index` nor `preprocess` has run, or what it wrote is damaged.
    """
    # An index that the config does not ask for is left from an earlier config, and may be of other files.
    ledgers = [workspace.index] if "index" in workspace.config.steps else []
    for ledger in [*ledgers, workspace.slices]:
        if ledger.exists():
            rows = read_parquet(ledger, IDENTITY_SCHEMA)
            rows = rows.filter(pl.col("status").is_in(["ok", "repaired"]))
            return rows.select(IMAGE_ID, patient=pl.coalesce("patient", "study", "series", IMAGE_ID))
    raise DataError("patients are not known yet: run `ich index` or `ich preprocess` first, or set split.unit: slice")


def fills_split_folders(step: Literal["split", "preprocess"], config: Experiment) -> bool:
    """Whether this step fills the folders: of split and preprocess, the later one in `steps` does.

    What the other one left of an earlier run says nothing. A step by itself fills them if the other's result is there.
    """
    other: StepName = "preprocess" if step == "split" else "split"
    if step in config.steps and other in config.steps:
        return config.steps.index(step) > config.steps.index(other)
    workspace = Workspace(config)
    return all(path.exists() for path in (workspace.splits, workspace.slices, workspace.sampled))


def fill_split_folders(workspace: Workspace) -> list[Path]:
    """Write `data_<split>.csv` and fill `data_<split>/` with links to the images; both hold only readable slices.

    Called by `split` or `preprocess`, whichever comes later. A folder is built under another name and swapped in.
    """
    ledger = read_parquet(workspace.slices, IDENTITY_SCHEMA)
    usable = ledger.filter(pl.col("status").is_in(["ok", "repaired"])).select(IMAGE_ID)
    table = read_table(workspace.sampled).join(usable, on=IMAGE_ID, how="semi")
    table = table.join(read_assignment(workspace), on=IMAGE_ID, how="left").sort(IMAGE_ID)
    if lost := table["split"].null_count():
        raise DataError(f"{workspace.splits} lacks {lost} of the {len(table)} sampled slices; run split again")
    for name in SPLITS:
        rows = table.filter(pl.col("split") == name).drop("split")
        _fill(workspace.images(name), rows[IMAGE_ID].to_list(), workspace.png)
        write_csv(workspace.table(name), rows)
    return [path for name in SPLITS for path in (workspace.table(name), workspace.images(name))]


def _is_a_split(content: Any) -> bool:
    """Whether this is what `split` writes, as far as others read it."""
    if not isinstance(content, dict) or content.get("unit") not in ("patient", "slice"):
        return False
    assignment = content.get("assignment")
    return isinstance(assignment, dict) and bool(assignment) and all(name in SPLITS for name in assignment.values())


def _fill(folder: Path, image_ids: list[str], png: Path) -> None:
    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir(parents=True)
    source = Path("..") / png.name  # relative, so that the workspace can be moved
    for image_id in image_ids:
        _link_or_copy(source / f"{image_id}.png", new / f"{image_id}.png", png)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _link_or_copy(relative: Path, link: Path, png: Path) -> None:
    try:
        link.symlink_to(relative)
    except OSError:  # file systems without symbolic links (exFAT, some network mounts)
        shutil.copyfile(png / link.name, link)


def _slices_to_split(config: Experiment, workspace: Workspace) -> pl.DataFrame:
    """Labels of the slices to be split, with their `unit`, sorted by ImageID."""
    sampled_first = "sample" in config.steps and config.steps.index("sample") < config.steps.index("split")
    table = read_table(workspace.sampled) if sampled_first else read_long_labels(workspace.label_csv)[0]
    if config.split.unit == "slice":
        return table.with_columns(unit=pl.col(IMAGE_ID)).sort(IMAGE_ID)
    return table.join(patients(workspace), on=IMAGE_ID, how="inner").rename({"patient": "unit"}).sort(IMAGE_ID)


def _units_in_two_splits(assigned: pl.DataFrame) -> int:
    """Units that stand in two splits: 0 by construction; counted, not assumed."""
    return int(assigned.group_by("unit").agg(pl.col("split").n_unique() > 1)["split"].sum())
