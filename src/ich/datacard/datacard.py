"""The data card: data_card.html for people and data_card.json for machines, of the data that training will read."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from ich.config import Experiment
from ich.datacard import headers, images, labels, page
from ich.errors import DataError, one_line
from ich.files import fingerprint, read_json, write_json
from ich.labels import IMAGE_ID, read_long_labels, read_table
from ich.prepare.identical import LISTING
from ich.prepare.ledger import EXAMPLES
from ich.status.ledgers import absence, ledger_paths, read_tally, that_do_not_add_up
from ich.workspace import SPLITS, Outcome, SplitName, Workspace, provenance

_ONE_SIDED = ("labels_without_files", "files_without_labels")
_NOT_PREPARATION = {"name", "train", "evaluate"}  # sections of the config that the data do not depend on


def datacard(config: Experiment) -> Outcome:
    """Write `data_card.html` and `data_card.json`.

    Sections whose data are not there say so. Nothing is left out: what other steps left out is told.

    Raises:
        DataError: the label file, a table or an image is missing, wrong or damaged.
    """
    workspace = Workspace(config)
    content, training, ledger, owners = _collect(workspace)
    shown = images.choose(training, ledger, owners, config.seed)
    content["shown"] = shown
    page.write(workspace.data_card, content, images.pictures(shown, workspace))
    write_json(workspace.data_card.with_suffix(".json"), content)
    used = {group["group"]: group["slices"] for group in content["prevalence"]}
    prepared = {name: used[f"{name}, prepared"] for name in labels.NAMES.values() if f"{name}, prepared" in used}
    return Outcome(
        counts={"labelled": content["labels"]["slices"], **prepared, "page": str(workspace.data_card)},
        outputs=[workspace.data_card, workspace.data_card.with_suffix(".json")],
        notes=that_do_not_add_up(content["accounts"]),
    )


def _collect(workspace: Workspace) -> tuple[dict[str, Any], pl.DataFrame, pl.DataFrame, pl.DataFrame | None]:
    """All figures; and the natural training slices, the slices with an image, and the patients, to draw images from."""
    config = workspace.config
    table, duplicates = read_long_labels(workspace.label_csv)
    owners = labels.known_patients(workspace)
    no_index = absence("index", workspace.index, config)
    no_slices = absence("preprocess", workspace.slices, config)
    ledger = None if no_slices else images.read_ledger(workspace)
    split_tables = {name: read_table(path) for name in SPLITS if (path := workspace.table(name)).is_file()}
    training = labels.natural_rows(split_tables.get("train", table.clear()))
    nothing = pl.DataFrame(schema={IMAGE_ID: pl.String, "repairs": pl.List(pl.String)})
    content = {
        "phantom": "phantom" in config.steps,
        "steps": list(config.steps),
        "seed": config.seed,
        "provenance": provenance(),
        "accounts": {
            name: {"absent": why} if (why := absence(name, path, config)) else read_tally(name, workspace)
            for name, path in ledger_paths(workspace).items()
        },
        "labels": {
            "file": workspace.label_csv.name, "sha256": fingerprint(workspace.label_csv), "slices": len(table),
            "duplicated_rows": duplicates, **{name: _listed(workspace, name, no_index) for name in _ONE_SIDED},
        },
        "prevalence": labels.groups(workspace, table, owners),
        "overlap": labels.overlap(table),
        "headers": {"absent": f"{no_index}; {no_slices}"} if no_index and no_slices
        else headers.describe(workspace.slices if no_index else workspace.index),
        "pixels": {"absent": no_slices} if ledger is None else images.describe(ledger),
        "colours": images.colours(training, workspace),
        "split": _split(workspace, split_tables, owners),
        "identical": _identical(workspace),
        "config": config.model_dump(mode="json", by_alias=True, exclude=_NOT_PREPARATION),
    }  # fmt: skip
    return content, training, nothing if ledger is None else ledger, owners


def _listed(workspace: Workspace, name: str, absent: str | None) -> dict[str, Any]:
    """How many ids one of index's lists has, and the first of them."""
    path = workspace.root / f"{name}.csv"
    if absent or not path.is_file():
        return {"absent": absent or f"{path.name} is not there"}
    ids = pl.read_csv(path, infer_schema=False, glob=False)[IMAGE_ID]
    return {"slices": len(ids), "examples": ids.head(EXAMPLES).to_list()}


def _split(
    workspace: Workspace, tables: Mapping[SplitName, pl.DataFrame], owners: pl.DataFrame | None
) -> dict[str, Any]:
    """How it was split, and how many patients stand in two of the prepared tables (None where it is not known)."""
    if absent := absence("split", workspace.splits, workspace.config):
        return {"absent": absent}
    content = read_json(workspace.splits)
    shared = None
    if owners is not None and len(tables) == len(SPLITS):
        parts = [labels.natural_rows(rows).select(IMAGE_ID, split=pl.lit(name)) for name, rows in tables.items()]
        joined = pl.concat(parts).join(owners, on=IMAGE_ID, how="inner")
        shared = joined.group_by("patient").agg(pl.col("split").n_unique()).filter(pl.col("split") > 1).height
    return {
        "unit": content["unit"], "seed": content["seed"], "fractions": content["fractions"],
        "folds": content.get("folds"), "fold": content.get("fold"), "published": content.get("published"),
        "units": {name: part["units"] for name, part in content["splits"].items()},
        "units_in_two_splits": content["units_in_two_splits"], "patients_in_two_tables": shared,
        "assignment_sha256": content.get("assignment_sha256"), "file_sha256": fingerprint(workspace.splits),
    }  # fmt: skip


def _identical(workspace: Workspace) -> dict[str, Any]:
    """Slices whose pixels are another slice's too, and how many of these groups have labels that contradict."""
    path = workspace.root / LISTING
    if not path.is_file():
        return {"absent": f"{path.name} is not there: identical pixels were not looked for"}
    try:
        rows = pl.read_csv(path, infer_schema=False, glob=False).select("group", IMAGE_ID, "labels_conflict")
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} cannot be read ({one_line(error)}); run the step that writes it again") from error
    conflicting = rows.filter(pl.col("labels_conflict").str.to_lowercase() == "true")
    return {
        "slices": len(rows),
        "groups": rows["group"].n_unique(),
        "conflicting_groups": conflicting["group"].n_unique(),
        "conflicting_slices": len(conflicting),
        "examples": conflicting[IMAGE_ID].head(EXAMPLES).to_list(),
    }
