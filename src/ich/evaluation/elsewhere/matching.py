"""Which prediction from elsewhere belongs to which label: by image, or by study."""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from ich.errors import DataError, visible
from ich.evaluation.elsewhere.cells import ROW
from ich.evaluation.elsewhere.prediction_table import are_by_study, image_id
from ich.evaluation.elsewhere.study_labels import StudyLabels, study_key
from ich.labels import IMAGE_ID, LABELS

IDENTITY = ("patient", "study", "series")
_EXAMPLES = 3
_PROBABILITIES = [f"probability_{label}" for label in LABELS]
_AS_PROBABILITIES = [pl.col(label).alias(f"probability_{label}") for label in LABELS]


class Matched(NamedTuple):
    """Labels beside predictions.

    Attributes:
        table: a row a labelled image or study, in the labels' order: its name (ImageID, or study), patient, study and
            series (null where not known), `label_<label>` (null where unknown) and `probability_<label>` (Float64).
        extra: predictions of what has no label; left out.
    """

    table: pl.DataFrame
    extra: int


def match(predictions: pl.DataFrame, labels: pl.DataFrame, file: Path) -> Matched:
    """Join predictions with labels by image.

    Args:
        predictions: of `ich.evaluation.elsewhere.prediction_table.read_predictions`.
        labels: ImageID, the six labels and, where known, patient, study and series; these are taken before those of
            the predictions.
        file: of the predictions, for messages.

    Raises:
        DataError: predictions by study, a labelled image without a prediction, or with two, or a prediction that its
            own table counts as training.
    """
    if are_by_study(predictions):
        raise DataError(
            f"the predictions {file} are by study, the labels by image: give labels by study, or predict images"
        )
    wanted = labels.with_columns(key=image_id(pl.col(IMAGE_ID)))
    used = predictions.rename({IMAGE_ID: "key"}).join(wanted.select("key"), on="key", how="semi")
    missing = wanted.join(used, on="key", how="anti")[IMAGE_ID].to_list()
    _refuse_unmatched(missing, predictions[IMAGE_ID][0], len(labels), "images", file)
    if len(used) > len(wanted):
        twice = used.filter(pl.col("key").is_duplicated())
        raise DataError(
            f"{twice['key'].n_unique()} labelled images have several predictions, e.g. {visible(twice['key'][0])} "
            f"({', '.join(visible(str(file)) for file in twice.filter(key=twice['key'][0])['file'][:2])}); keep one"
        )
    refuse_trained_on(used)
    found = used.select("key", *(pl.col(name).alias(f"{name} found") for name in IDENTITY), *_AS_PROBABILITIES)
    both = wanted.join(found, on="key", how="left", maintain_order="left")
    identity = [
        pl.coalesce(pl.col(name).cast(pl.String), f"{name} found").alias(name)
        if name in labels.columns
        else pl.col(f"{name} found").alias(name)
        for name in IDENTITY
    ]
    truth = (pl.col(label).cast(pl.Boolean).alias(f"label_{label}") for label in LABELS)
    table = both.select(IMAGE_ID, *identity, *truth, *_PROBABILITIES)
    return Matched(table, len(predictions) - len(used))


def match_studies(predictions: pl.DataFrame, labels: StudyLabels, file: Path) -> Matched:
    """Gather predictions into labelled studies: a study's probability is the largest of its slices'.

    That is the rule of every level of the report (a study has what any slice of it has), and keeps `any` at least as
    probable as each subtype. A prediction belongs to the study that its column study or patient names, or a folder of
    its file; names are compared by `ich.evaluation.elsewhere.study_labels.study_key`.

    Args:
        predictions: of `ich.evaluation.elsewhere.prediction_table.read_predictions`, by image or by study.
        labels: of `ich.evaluation.elsewhere.study_labels.read_study_labels`.
        file: of the predictions, for messages.

    Raises:
        DataError: a labelled study without a prediction, a prediction that fits two studies, two predictions by study
            that fit one, or one that its own table counts as training. Where studies are told by patients' names, the
            message gives rows or counts instead.
    """
    shown = {study: _shown(study, row, labels.by_patient) for row, study in labels.table.select(ROW, "study").rows()}
    rows = predictions.with_columns(found=_studies(predictions, shown))
    used = rows.filter(pl.col("found").is_not_null())
    if are_by_study(predictions) and not used["found"].is_unique().all():
        again = used.filter(pl.col("found").is_duplicated())
        raise DataError(
            f"several rows of the predictions {file} are of one study of the labels, {shown[again['found'][0]]} "
            f"({len(again)} such rows); keep one row of each"
        )
    refuse_trained_on(used)
    gathered = used.group_by("found").agg(
        pl.col("patient").drop_nulls().first().alias("owner"), *(each.max() for each in _AS_PROBABILITIES)
    )
    missing = labels.table.join(gathered, left_on="study", right_on="found", how="anti", maintain_order="left")["study"]
    example = None if labels.by_patient else _example(predictions)
    _refuse_unmatched([shown[study] for study in missing], example, len(labels.table), "studies", file)
    both = labels.table.join(gathered, left_on="study", right_on="found", maintain_order="left")
    table = both.select(
        "study", pl.coalesce("patient", "owner").alias("patient"),
        *(pl.col(label).alias(f"label_{label}") for label in LABELS), *_PROBABILITIES,
    )  # fmt: skip
    return Matched(table, len(rows) - len(used))


def _shown(study: str, row: int, is_patient: bool) -> str:
    """A study of the labels in a message."""
    return f"that of row {row}" if is_patient else visible(study)


def _example(predictions: pl.DataFrame) -> str | None:
    """What the first prediction is called, unless it is by the patient's name."""
    study, patient, file, image = predictions.select("study", "patient", "file", IMAGE_ID).row(0)
    return (study if study != patient else None) or file or image


def _studies(predictions: pl.DataFrame, shown: dict[str, str]) -> pl.Series:
    """The labelled study of each prediction, null where it has none; `shown`: a study -> what messages call it."""
    names = {study_key(study): study for study in shown}
    places = predictions.select(
        "study", "patient", folder=pl.col("file").str.replace_all("\\", "/", literal=True).str.extract(r"^(.*)/")
    )
    kinds = places.unique(maintain_order=True)
    found: list[str | None] = []
    for study, patient, folder in kinds.iter_rows():
        told = [study, patient, *(folder.split("/") if folder else [])]
        fits = list(dict.fromkeys(names[key] for text in told if text and (key := study_key(text)) in names))
        if len(fits) > 1:
            raise DataError(
                f"a prediction fits two studies of the labels, {shown[fits[0]]} and {shown[fits[1]]}, by its study, "
                "patient or folders; give the predictions one column study"
            )
        found.append(fits[0] if fits else None)
    kinds = kinds.with_columns(found=pl.Series(found, dtype=pl.String))
    return places.join(kinds, on=places.columns, how="left", nulls_equal=True, maintain_order="left")["found"]


def _refuse_unmatched(missing: list[str], there: str | None, labelled: int, what: str, file: Path) -> None:
    """`there`: what a prediction is called, None where no name is to be said."""
    if not missing:
        return
    if len(missing) == labelled:
        names = f": labels name {visible(missing[0])}, predictions {visible(there)}" if there else ""
        raise DataError(
            f"none of the {labelled:,} labelled {what} has a prediction in {file}{names}; do the two files belong "
            "together?"
        )
    raise DataError(
        f"{len(missing):,} of {labelled:,} labelled {what} have no prediction in {file}, e.g. "
        f"{', '.join(map(visible, missing[:_EXAMPLES]))}; predict them too, or leave their labels out"
    )


def refuse_trained_on(used: pl.DataFrame) -> None:
    """Refuse predictions that their own table counts as training.

    Args:
        used: rows of `ich.evaluation.elsewhere.prediction_table.read_predictions`, only those that count.

    Raises:
        DataError: `split` of one begins with train.
    """
    seen = used.filter(pl.col("split").str.to_lowercase().str.starts_with("train"))
    if not seen.is_empty():
        raise DataError(
            f"{len(seen):,} of the predictions that are to be used are of split train by their own column split; "
            "leave them out: the model has seen them"
        )
