"""The steps: which there are, what each depends on, and whether its last result still stands."""

import hashlib
import json
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ich import __version__
from ich.card import card_path
from ich.config import Experiment, StepName
from ich.config.keys import WITHOUT_EFFECT, differences
from ich.errors import DataError
from ich.files import each_file, fingerprint, read_json, write_json
from ich.labels import is_augmented
from ich.workspace import Outcome, Workspace, provenance


@dataclass(frozen=True)
class Step:
    """A step of the pipeline.

    Attributes:
        run: the stage function; what it needs is imported when it is called.
        help: what the command does, for `ich --help`.
        sections: parts of the config that its result depends on.
        reads_input: whether it reads the user's label file.
        is_read: whether a later step reads what it writes; if not, none is stale because of it.
    """

    run: Callable[[Experiment], Outcome]
    help: str
    sections: tuple[str, ...]
    reads_input: bool = False
    is_read: bool = True


def _phantom(config: Experiment) -> Outcome:
    from ich.phantom.dataset import phantom

    return phantom(config)


def _index(config: Experiment) -> Outcome:
    from ich.prepare.index import index

    return index(config)


def _sample(config: Experiment) -> Outcome:
    from ich.prepare.sample import sample

    return sample(config)


def _copy(config: Experiment) -> Outcome:
    from ich.prepare.copy import copy

    return copy(config)


def _preprocess(config: Experiment) -> Outcome:
    from ich.prepare.preprocess import preprocess

    return preprocess(config)


def _split(config: Experiment) -> Outcome:
    from ich.prepare.split import split

    return split(config)


def _augment(config: Experiment) -> Outcome:
    from ich.prepare.augment import augment

    return augment(config)


def _datacard(config: Experiment) -> Outcome:
    from ich.datacard.datacard import datacard

    return datacard(config)


def _train(config: Experiment) -> Outcome:
    from ich.training.train import train

    return train(config)


def _evaluate(config: Experiment) -> Outcome:
    from ich.evaluation.evaluate import evaluate

    return evaluate(config)


STEPS: dict[StepName, Step] = {
    "phantom": Step(
        _phantom,
        "Make synthetic head CT in the competition's layout: DICOM files and a label CSV.",
        ("phantom", "seed"),
    ),
    "index": Step(
        _index,
        "Read the headers of all DICOM files: patients, studies, series, positions.",
        ("data", "index"),
        reads_input=True,
    ),
    "sample": Step(_sample, "Step 1: choose slices from the label CSV.", ("data", "sample", "seed"), reads_input=True),
    "copy": Step(_copy, "Step 2: copy or link the chosen DICOM files, verified; missing ones are listed.", ("copy",)),
    "preprocess": Step(
        _preprocess,
        "Step 3: DICOM to RGB PNG through three windows; every slice is accounted for in slices.parquet.",
        ("preprocess",),
    ),
    "split": Step(
        _split,
        "Step 4: training, validation and test.",
        ("split", "seed"),
        reads_input=True,
    ),
    "augment": Step(_augment, "Step 5: add changed copies of minority-class training images.", ("augment", "seed")),
    "datacard": Step(
        _datacard,
        "A page of what the prepared data are: every slice accounted for, prevalence, headers, pixels, sample images.",
        ("data", "seed"),
        reads_input=True,
        is_read=False,
    ),
    "train": Step(_train, "Step 6: train the networks.", ("name", "model_folder", "train", "seed")),
    "evaluate": Step(
        _evaluate,
        "Metrics, figures and a report on validation and test data.",
        ("name", "model_folder", "evaluate", "seed"),
    ),
}


# What is read again of a record, and what it is.
_RECORDED: dict[str, type] = {
    "key": str, "time": str, "inputs": dict, "built_on": dict, "counts": dict, "incomplete": bool, "outputs": dict,
    "rewritten": dict, "config": dict,
}  # fmt: skip
_UNFINISHED = {"finished": False}  # in place of a record: what the step left may be of two runs


def run_step(name: StepName, config: Experiment) -> Outcome:
    """Run one step and record what it did; as soon as it starts, the record says that it did not finish.

    Raises:
        DataError: a step before this one was run with other settings or did not finish, or what the step itself raises.
    """
    workspace = Workspace(config)
    workspace.records.mkdir(parents=True, exist_ok=True)
    refuse_unfit(name, config)
    fetch_inputs((name,), config)
    write_json(_record(name, workspace), _UNFINISHED)
    outcome = STEPS[name].run(config)
    write_json(_record(name, workspace), {
        "step": name, "key": _key(name, config), **provenance(), "inputs": _inputs(name, workspace),
        "built_on": _built_on(name, config),
        "counts": outcome.counts, "notes": outcome.notes, "incomplete": outcome.incomplete,
        "outputs": {_name(path, workspace): _digest(path) for path in outcome.outputs},
        "rewritten": {_name(path, workspace): _natural_digest(path) for path in outcome.rewritten},
        "config": config.model_dump(mode="json", by_alias=True),
    })  # fmt: skip
    return outcome


def fetch_inputs(names: Collection[StepName], config: Experiment) -> None:
    """Bring what some steps read, and what has no path of its own, into the workspace.

    Raises:
        DataError: it cannot be had, or cannot be had in the way that `copy.mode` says.
    """
    if "copy" in names:
        from ich.prepare.copy import refuse_places

        refuse_places(Workspace(config))
    if any(STEPS[name].reads_input for name in names) and Workspace(config).fetches_labels:
        from ich.label_file import fetch_labels

        fetch_labels(Workspace(config))


class Standing(NamedTuple):
    """Whether the last result of a step still stands.

    Attributes:
        record: of its last run; empty where there is none that can be read.
        stale: in a few words, why `ich run` would do it again; None if the result stands.
    """

    record: dict[str, Any]
    stale: str | None


LEFT_OUT = "left something out"  # why a step does not stand that did all it could


def is_up_to_date(name: StepName, config: Experiment) -> dict[str, Any] | None:
    """The record of the step's last run, if it still stands."""
    record, stale = standing(name, config)
    return record if stale is None else None


def standing(name: StepName, config: Experiment) -> Standing:
    """The record of the step's last run, and why it does not stand, if so.

    A step that left something out is done again: what it lacked may be there now, and what it had it keeps. Otherwise
    it stands if the settings of this step and those before it, the label file, and the outputs of the steps before it
    are what they were, and its own outputs are as it left them. A step that was repeated by hand and gave the same
    bytes makes nothing stale.
    """
    workspace = Workspace(config)
    if not _record(name, workspace).exists():
        return Standing({}, "never run")
    record = read_record(name, workspace)
    if not record:
        return Standing({}, "did not finish" if _is_unfinished(name, workspace) else "its record is damaged")
    return Standing(record, _why_stale(name, config, record))


def _why_stale(name: StepName, config: Experiment, record: dict[str, Any]) -> str | None:
    workspace = Workspace(config)
    if record["key"] != _key(name, config):
        return f"settings changed: {_difference(record, (*_before(name, config), name), config)}"
    was, now = record["inputs"], _inputs(name, workspace)
    if was != now:
        return f"{next(path for path in now | was if was.get(path) != now.get(path))} changed"
    was, now = record["built_on"], _built_on(name, config)
    if was != now:
        changed = next(step for step in now | was if was.get(step) != now.get(step))
        return f"{changed} wrote something else since, or did not finish"
    for kind, digest in (("outputs", _digest), ("rewritten", _natural_digest)):
        for path, expected in record[kind].items():
            if (found := digest(workspace.root / path)) != expected:
                return f"{path} is {'gone' if found is None else 'not as it was left'}"
    return LEFT_OUT if record["incomplete"] is not False else None


def _difference(record: dict[str, Any], steps: tuple[StepName, ...], config: Experiment) -> str:
    """The first setting of some steps that is another than in the record."""
    sections = {section for step in steps for section in STEPS[step].sections} | {"names"}
    changed = differences(record["config"], config.model_dump(mode="json", by_alias=True), sections)
    return next(changed, "other steps before it, or by another version of ich")


def _record(name: StepName, workspace: Workspace) -> Path:
    """Of a step. A run that has a model folder of its own has its own records; so has an evaluation of named models."""
    config = workspace.config
    of_run = name in ("train", "evaluate") and config.model_folder != "models"
    of_run |= name == "evaluate" and config.evaluate.of_others
    return workspace.records / (f"{name}-{config.name}.json" if of_run else f"{name}.json")


def read_record(name: StepName, workspace: Workspace) -> dict[str, Any]:
    """A record; empty if there is none, its step did not finish, or it is damaged."""
    try:
        content: dict[str, Any] = read_json(_record(name, workspace))
    except DataError:
        return {}
    if not isinstance(content, dict) or not all(isinstance(content.get(key), kind) for key, kind in _RECORDED.items()):
        return {}
    return content if isinstance(content["counts"].get("slices", 0), int) else {}


def _is_unfinished(name: StepName, workspace: Workspace) -> bool:
    try:
        return bool(read_json(_record(name, workspace)) == _UNFINISHED)
    except DataError:
        return False


def refuse_unfit(name: StepName, config: Experiment) -> None:
    """A step that is run by hand must not build on what is half done, or was made with other settings.

    Raises:
        DataError: it would.
    """
    if name == "evaluate" and config.evaluate.of_others:
        from ich.evaluation.evaluated_models import refuse_name_of_a_training

        refuse_name_of_a_training(Workspace(config))  # whose record would else say that it did not finish
    if name == "evaluate":
        from ich.evaluation.elsewhere.prediction_table import read_predictions

        for file in filter(None, (config.evaluate.predictions, config.evaluate.compare_with)):
            read_predictions(file)  # before a record says that the last evaluation does not stand, and networks run
    for earlier in _before(name, config):
        record = read_record(earlier, Workspace(config))
        if not record and _record(earlier, Workspace(config)).exists():
            what = "did not finish" if _is_unfinished(earlier, Workspace(config)) else "has a damaged record"
            raise DataError(f"{earlier} {what}; run it again (`ich run` repeats all that is needed)")
        if not record or record["key"] == _key(earlier, config):
            continue
        difference = _difference(record, (earlier,), config)
        raise DataError(f"{earlier} was run with {difference}; run it again (`ich run` repeats all that is needed)")


def _before(name: StepName, config: Experiment) -> tuple[StepName, ...]:
    """The steps before this one that it can depend on."""
    earlier = config.steps[: config.steps.index(name)] if name in config.steps else ()
    others = ("train",) if name == "evaluate" and config.evaluate.of_others else ()  # it reads what is named
    return tuple(step for step in earlier if STEPS[step].is_read and step not in others)


def _name(path: Path, workspace: Workspace) -> str:
    """Relative to the workspace, which may be moved; links are left as they are."""
    return os.path.relpath(path, workspace.root)


def _digest(path: Path) -> str | None:
    """SHA-256 of a file, or of the names and sizes of a folder's images; None for what is not there."""
    if path.is_dir():
        return _images_digest(path)
    return fingerprint(path) if path.exists() else None


def _natural_digest(path: Path) -> str | None:
    """What stays the same of a table or folder that augment adds to: the rows or images that are not augmented."""
    if path.is_dir():
        return _images_digest(path, augmented=False)
    if not path.exists():
        return None
    digest = hashlib.sha256()
    with path.open("rb") as lines:
        for line in lines:
            if not is_augmented(line.partition(b",")[0].decode("utf-8", "replace")):
                digest.update(line)
    return digest.hexdigest()


def _images_digest(folder: Path, *, augmented: bool = True) -> str:
    """Sizes tell of images that are gone or were cut off, and take 4 s for the 750,000 of the competition.

    A sum of hashes, one a file, needs neither all names in memory nor their order.
    """
    total = 0
    for name, size in each_file(folder):
        is_image = not name.startswith(".") and name.endswith((".png", ".dcm"))
        if is_image and (augmented or not is_augmented(name[:-4])):
            total += int.from_bytes(hashlib.sha256(f"{name} {size}".encode()).digest())
    return f"{total % 2**256:064x}"


def _built_on(name: StepName, config: Experiment) -> dict[str, Any]:
    """Outputs of the steps before this one, as their records have them."""
    workspace = Workspace(config)
    earlier = [step for step in _before(name, config) if _record(step, workspace).exists()]
    return {step: read_record(step, workspace).get("outputs") for step in earlier}


def _key(name: StepName, config: Experiment) -> str:
    """Hash of the settings of the step and of every step before it: a change anywhere upstream changes it."""
    dump = config.model_dump(mode="json", by_alias=True)
    if config.split.published:
        dump["split"]["published"] = _input_name(config.split.published, Workspace(config))
    dump["evaluate"]["models"] = [_input_name(model, Workspace(config)) for model in config.evaluate.models]
    for key in ("predictions", "compare_with"):
        if file := getattr(config.evaluate, key):
            dump["evaluate"][key] = _input_name(file, Workspace(config))
    for without_effect in WITHOUT_EFFECT & dump.keys():
        del dump[without_effect]
    for without_effect in WITHOUT_EFFECT - dump.keys():
        section, _, key = without_effect.partition(".")
        dump.get(section, {}).pop(key, None)
    before = _before(name, config) if name in config.steps else config.steps
    chain = [*before, name]
    settings = [(step, {section: dump[section] for section in STEPS[step].sections}) for step in chain]
    content = json.dumps([__version__, dump["names"], settings], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _inputs(name: StepName, workspace: Workspace) -> dict[str, str]:
    """Fingerprints of the files that the step reads and no step before it wrote."""
    files = [workspace.label_csv] if STEPS[name].reads_input else []
    if name == "split" and workspace.config.split.published:
        files.append(workspace.config.split.published)
    if name == "evaluate":
        evaluated = workspace.config.evaluate
        files += [file for model in evaluated.models for file in (model, card_path(model))]
        files += [file for file in (evaluated.predictions, evaluated.compare_with) if file]
    return {_input_name(path, workspace): fingerprint(path) for path in files if path.is_file()}


def _input_name(path: Path, workspace: Workspace) -> str:
    """Relative where it lies in the workspace, such as a phantom's, and moves with it."""
    return _name(path, workspace) if path.is_relative_to(workspace.root) else str(path)
