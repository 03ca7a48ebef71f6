"""Step 4, split: training, validation and test, by patient."""

from pathlib import Path
from typing import Any

import polars as pl

from ich.config import Experiment, StepName
from ich.errors import DataError
from ich.files import read_parquet, write_csv, write_json
from ich.labels import IMAGE_ID, LABELS, counts, read_long_labels, read_table
from ich.prepare.assign import assign_patients, assign_slices
from ich.prepare.identical import LISTING, Identical, count_identical, find_identical, list_identical
from ich.prepare.ledger import IDENTITY_SCHEMA
from ich.prepare.patients import known_ledger, patients
from ich.prepare.published import apply_published, read_published
from ich.prepare.split_folders import fill_split_folders, fills_split_folders
from ich.prepare.splits_file import assignment_sha256
from ich.workspace import SPLITS, Outcome, Workspace


def split(config: Experiment) -> Outcome:
    """Decide who is in which split and write `splits.json`; where the images are there already, fill the folders.

    Before `sample` in `steps`, all labelled slices with a readable header are split; after it, the sampled ones. Where
    the ledger has hashes of the pixels, `identical_pixels.csv` lists the slices that are the same, and patients who
    share one stay together. A split by slice only lists them: its draw is the notebooks'.

    Raises:
        DataError: an input is missing, there are fewer units than splits or folds, the published split does not fit,
            or a slice was lost.
    """
    workspace = Workspace(config)
    labels = _labels(config, workspace)
    table = _with_units(labels, workspace)
    _refuse_unreadable(labels, table, workspace)
    identical = _find_identical(workspace)
    units, origin = _assign(table, identical, config)
    assigned = table.join(units, on="unit", how="left", maintain_order="left")
    content = _content(config, origin, units, assigned, identical)
    left_out = len(labels.join(assigned, on=IMAGE_ID, how="anti"))
    _refuse_lost(len(labels), content["splits"], left_out)
    write_json(workspace.splits, content)
    found, listings = _list_identical(workspace, identical, labels)
    filled = fill_split_folders(workspace) if fills_split_folders("split", config) else []
    return Outcome(
        counts={
            "unit": config.split.unit, "slices": len(labels), "assigned": len(labels) - left_out,
            "without readable file": left_out,
            **({"fold": f"{content['fold']} of {content['folds']}"} if content["folds"] else {}),
            "worst deviation of a prevalence": "{:.2%} ({})".format(*worst_deviation(content["splits"])),
            "assignment": content["assignment_sha256"][:12], **found, "splits": content["splits"],
        },
        outputs=[workspace.splits, *listings],
        rewritten=filled,
        notes=[*_notes(content, found), *_two_patients(workspace)],
    )  # fmt: skip


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


def worst_deviation(splits: dict[str, Any]) -> tuple[float, str]:
    """Largest |prevalence in a split / prevalence in all - 1| over splits and labels; labels without positives aside.

    Args:
        splits: of `summarise`.

    Returns:
        the deviation, and where it is: `epidural in val`.
    """
    slices = sum(part["slices"] for part in splits.values())
    positives = {label: sum(part["counts"][label] for part in splits.values()) for label in LABELS}
    deviations = [
        (abs(part["prevalence"][label] * slices / positives[label] - 1), f"{label} in {name}")
        for name, part in splits.items()
        for label in LABELS
        if positives[label]
    ]
    return max(deviations, default=(0.0, "no positives"))


def _labels(config: Experiment, workspace: Workspace) -> pl.DataFrame:
    """ImageID and labels of the slices to be split, sorted by ImageID."""
    sampled = "sample" in _steps_before(config)
    table = read_table(workspace.sampled) if sampled else read_long_labels(workspace.label_csv)[0]
    return table.sort(IMAGE_ID)


def _steps_before(config: Experiment) -> tuple[StepName, ...]:
    return config.steps[: config.steps.index("split")] if "split" in config.steps else config.steps


def _with_units(labels: pl.DataFrame, workspace: Workspace) -> pl.DataFrame:
    """Slices with their `unit`; those whose patient nobody knows, since the file cannot be read, are left out."""
    if workspace.config.split.unit == "slice":
        return labels.with_columns(unit=pl.col(IMAGE_ID))
    return labels.join(patients(workspace).rename({"patient": "unit"}), on=IMAGE_ID, maintain_order="left")


def _refuse_unreadable(labels: pl.DataFrame, known: pl.DataFrame, workspace: Workspace) -> None:
    """A label CSV of other data than the DICOM files, or a wrong folder.

    Raises:
        DataError: there are labels, but no file of any of them can be read.
    """
    if known.is_empty() and not labels.is_empty():
        raise DataError(
            f"none of the {len(labels):,} labelled slices has a readable file; do {workspace.label_csv} and "
            f"{', '.join(workspace.originals)} belong together?"
        )


def _find_identical(workspace: Workspace) -> Identical | None:
    """Slices with identical pixels, if the ledger that the patients are from has hashes."""
    ledger, config = known_ledger(workspace), workspace.config
    preprocess_follows = "preprocess" in config.steps and "preprocess" not in _steps_before(config)
    if ledger is None or (ledger == workspace.slices and preprocess_follows):  # left by an earlier run
        return None
    return find_identical(ledger)


def _assign(
    table: pl.DataFrame, identical: Identical | None, config: Experiment
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """`unit`, `split` and `fold` of every unit; and where they come from, for splits.json."""
    how, seed = config.split, config.seed
    if how.published:
        published = read_published(how.published, how.unit)
        units = apply_published(published, table["unit"], how.published)
        source = {
            "assignment_sha256": assignment_sha256(published["assignment"]),
            "units": len(published["assignment"]), "units_not_here": len(published["assignment"]) - len(units),
        }  # fmt: skip
        kept = {key: published.get(key) for key in ("seed", "fractions", "folds", "fold")}
        return units, kept | {"published": source}
    if how.unit == "slice":
        choice = pl.Series(assign_slices(table, how, seed))
        units = table.select("unit", split=choice, fold=pl.lit(None, pl.Int64))
    else:
        units = assign_patients(table, how, seed, identical.units("patient") if identical else None)
    return units, {"seed": seed, "fractions": list(how.shares), "folds": how.folds, "fold": how.fold, "published": None}


def _content(
    config: Experiment, origin: dict[str, Any], units: pl.DataFrame, assigned: pl.DataFrame, identical: Identical | None
) -> dict[str, Any]:
    """What splits.json holds."""
    together = identical.units(config.split.unit).join(units, on="unit") if identical else None
    assignment = dict(units.select("unit", "split").iter_rows())
    return {
        "unit": config.split.unit, **origin, "splits": summarise(assigned),
        "units_in_two_splits": _in_two_splits(assigned, "unit"),
        "identical_in_two_splits": None if together is None else _in_two_splits(together, "together"),
        "assignment_sha256": assignment_sha256(assignment), "assignment": assignment,
        "fold_of": None if units["fold"].null_count() else dict(units.select("unit", "fold").iter_rows()),
    }  # fmt: skip


def _in_two_splits(table: pl.DataFrame, column: str) -> int:
    """What stands in two splits; where it is 0 by construction, it is counted all the same, not assumed."""
    return int(table.group_by(column).agg(pl.col("split").n_unique() > 1)["split"].sum())


def _refuse_lost(seen: int, splits: dict[str, Any], left_out: int) -> None:
    """Every slice is in a split or counted as left out, and no split is empty."""
    sizes = {name: part["slices"] for name, part in splits.items()}
    if sum(sizes.values()) + left_out != seen:
        raise DataError(
            f"split does not add up: {sizes} and {left_out} without readable file of {seen} slices; this is a bug, "
            "please report it"
        )
    if empty := [name for name, size in sizes.items() if not size]:
        raise DataError(f"no slice is in {empty[0]}: {sizes}; add data, or change section split of the config")


def _list_identical(
    workspace: Workspace, identical: Identical | None, labels: pl.DataFrame
) -> tuple[dict[str, Any], list[Path]]:
    """Write the listing; counts for the outcome. Without hashes, that of an earlier run is taken away."""
    listing = workspace.root / LISTING
    if identical is None:
        listing.unlink(missing_ok=True)
        return {"identical pixels": "not looked for"}, []
    listed = list_identical(identical.groups, labels)
    write_csv(listing, listed)
    return count_identical(listed, identical.linked), [listing]


def _two_patients(workspace: Workspace) -> list[str]:
    """A series is of one patient; two PatientIDs in it may be one person, parted by a slip of the anonymiser."""
    if workspace.config.split.unit == "slice" or (ledger := known_ledger(workspace)) is None:
        return []
    slices = read_parquet(ledger, IDENTITY_SCHEMA).drop_nulls(["patient", "series"])
    twice = slices.group_by("series").agg(pl.col("patient").n_unique()).filter(pl.col("patient") > 1)["series"].sort()
    if twice.is_empty():
        return []
    return [f"series with more than one PatientID: {len(twice):,}, such as {twice[0]}: is each of one person?"]


def _notes(content: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What is odd about the split."""
    notes, source, apart = [], content["published"], content["identical_in_two_splits"]
    if source and source["units_not_here"]:
        notes.append(
            f"{source['units_not_here']:,} of the {source['units']:,} {content['unit']}s of the published split "
            f"{source['assignment_sha256'][:12]} are not here"
        )
    if found.get("groups with identical pixels"):
        stay = " and stay together" if content["unit"] == "patient" and not apart else ""
        notes.append(
            f"{found['slices in them']:,} slices have pixels that another has; {found['patients linked']:,} patients "
            f"are linked by them{stay}; labels conflict in {found['groups with conflicting labels']:,} of "
            f"{found['groups with identical pixels']:,} groups: {LISTING}"
        )
    absent = [
        f"{label} in {name}" for label in LABELS for name, part in content["splits"].items()
        if not part["counts"][label] and any(other["counts"][label] for other in content["splits"].values())
    ]  # fmt: skip
    if absent:
        notes.append(f"no positive slice of {', '.join(absent)}: nothing to learn or measure there; add patients")
    if apart:
        what = "groups of patients linked by identical pixels" if content["unit"] == "patient" else "of these groups"
        notes.append(f"{apart:,} {what} are in two splits: what is tested was seen in training, or chosen by")
    return notes
