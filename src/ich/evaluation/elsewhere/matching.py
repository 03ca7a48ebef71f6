"""Which prediction from elsewhere belongs to which label: by image, or by study."""

from typing import NamedTuple

import polars as pl

from ich.errors import DataError, visible
from ich.evaluation.elsewhere.prediction_table import are_by_study, image_id
from ich.evaluation.elsewhere.study_labels import StudyLabels, study_key
from ich.labels import IMAGE_ID, LABELS, SUBTYPES

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
        incoherent: predictions, of those used, with `any` below a subtype; they are scored as they are.
        missing: studies without a prediction, left out; of images there are none.
    """

    table: pl.DataFrame
    extra: int
    incoherent: int
    missing: tuple[str, ...] = ()


def match(predictions: pl.DataFrame, labels: pl.DataFrame) -> Matched:
    """Join predictions with labels by image.

    Args:
        predictions: of `ich.evaluation.elsewhere.prediction_table.read_predictions`.
        labels: ImageID, the six labels and, where known, patient, study and series; these are taken before those of
            the predictions.

    Raises:
        DataError: predictions by study, a labelled image without a prediction, or with two, or a prediction that its
            own table counts as training.
    """
    if are_by_study(predictions):
        raise DataError("the predictions are by study, the labels by image: give labels by study, or predict images")
    wanted = labels.with_columns(key=image_id(pl.col(IMAGE_ID)))
    used = predictions.rename({IMAGE_ID: "key"}).join(wanted.select("key"), on="key", how="semi")
    _refuse_unmatched(wanted.join(used, on="key", how="anti")[IMAGE_ID], predictions[IMAGE_ID], len(labels))
    if len(used) > len(wanted):
        twice = used.filter(pl.col("key").is_duplicated())
        raise DataError(
            f"{twice['key'].n_unique()} labelled images have several predictions, e.g. {visible(twice['key'][0])} "
            f"({', '.join(visible(str(file)) for file in twice.filter(key=twice['key'][0])['file'][:2])}); keep one"
        )
    _refuse_trained_on(used)
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
    return Matched(table, len(predictions) - len(used), _incoherent(used))


def match_studies(predictions: pl.DataFrame, labels: StudyLabels, subset: bool = False) -> Matched:
    """Gather predictions into labelled studies: a study's probability is the largest of its slices'.

    That is the rule of every level of the report (a study has what any slice of it has), and keeps `any` at least as
    probable as each subtype. A prediction belongs to the study that its column study or patient names, or a folder of
    its file; names are compared by `ich.evaluation.elsewhere.study_labels.study_key`.

    Args:
        predictions: of `ich.evaluation.elsewhere.prediction_table.read_predictions`, by image or by study.
        labels: of `ich.evaluation.elsewhere.study_labels.read_study_labels`.
        subset: leave studies without predictions out, and name them, instead of refusing.

    Raises:
        DataError: a labelled study without a prediction, a prediction that fits two studies, two predictions by study
            that fit one, or one that its own table counts as training.
    """
    names = {study_key(study): study for study in labels.table["study"]}
    rows = predictions.with_columns(found=_studies(predictions, names))
    used = rows.filter(pl.col("found").is_not_null())
    if are_by_study(predictions) and not used["found"].is_unique().all():
        again = used.filter(pl.col("found").is_duplicated())
        raise DataError(
            f"{visible(again['study'][0])} and {visible(again['study'][1])} of the predictions are both study "
            f"{visible(again['found'][0])} of the labels ({len(again)} such rows); keep one row of each"
        )
    _refuse_trained_on(used)
    gathered = used.group_by("found").agg(
        pl.col("patient").drop_nulls().first().alias("owner"), *(each.max() for each in _AS_PROBABILITIES)
    )
    missing = labels.table.join(gathered, left_on="study", right_on="found", how="anti", maintain_order="left")["study"]
    if not subset or len(missing) == len(labels.table):
        shown = predictions.select(pl.coalesce("study", "file", IMAGE_ID)).to_series()
        _refuse_unmatched(missing, shown, len(labels.table), "studies")
    both = labels.table.join(gathered, left_on="study", right_on="found", maintain_order="left")
    table = both.select(
        "study", pl.coalesce("patient", "owner").alias("patient"),
        *(pl.col(label).alias(f"label_{label}") for label in LABELS), *_PROBABILITIES, "unanimous",
    )  # fmt: skip
    return Matched(table, len(rows) - len(used), _incoherent(used), tuple(missing))


def _studies(predictions: pl.DataFrame, names: dict[str, str]) -> pl.Series:
    """The labelled study of each prediction, null where it has none."""
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
                f"a prediction fits the studies {visible(fits[0])} and {visible(fits[1])} by its study, patient or "
                "folders; give the predictions one column study"
            )
        found.append(fits[0] if fits else None)
    kinds = kinds.with_columns(found=pl.Series(found, dtype=pl.String))
    return places.join(kinds, on=places.columns, how="left", nulls_equal=True, maintain_order="left")["found"]


def _refuse_unmatched(missing: pl.Series, there: pl.Series, labelled: int, what: str = "images") -> None:
    if missing.is_empty():
        return
    first = ", ".join(visible(name) for name in missing[:_EXAMPLES])
    if len(missing) == labelled:
        raise DataError(
            f"none of the {labelled:,} labelled {what} has a prediction: labels name {visible(missing[0])}, "
            f"predictions {visible(str(there[0]))}; do the two files belong together?"
        )
    raise DataError(
        f"{len(missing):,} of {labelled:,} labelled {what} have no prediction, e.g. {first}; predict them too, or "
        "leave their labels out"
    )


def _refuse_trained_on(used: pl.DataFrame) -> None:
    seen = used.filter(pl.col("split").str.to_lowercase().str.starts_with("train"))
    if not seen.is_empty():
        raise DataError(
            f"{len(seen):,} of the predictions that are to be scored are of split train by their own column split; "
            "leave them out: the model has seen them"
        )


def _incoherent(used: pl.DataFrame) -> int:
    return int(used.select((pl.col("any") < pl.max_horizontal(SUBTYPES)).sum()).item())
