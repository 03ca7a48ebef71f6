"""Evaluate: predictions of validation and test, calibration and thresholds from validation, then figures and a report.

What is known before anything is predicted stands in `held_out.py`, what is found in the predictions in `findings.py`.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from ich.calibration import Calibration, calibration_path, write_calibration
from ich.config import Experiment
from ich.errors import DataError
from ich.evaluation import baseline, compared, findings, gating, held_out, predictions, references, report, terminal
from ich.evaluation.compute import Compute
from ich.evaluation.elsewhere import scored as elsewhere
from ich.evaluation.figures.training import read_history
from ich.evaluation.findings import Found
from ich.evaluation.held_out import HELD_OUT, HeldOut
from ich.evaluation.inspection import examples, slice_headers, subgroups, to_look_at
from ich.evaluation.predictions import Scored
from ich.evaluation.statistics.sample import Sample
from ich.files import write_parquet
from ich.progress import progress_bar
from ich.sources import locate_files
from ich.workspace import Outcome, Workspace


def evaluate(config: Experiment) -> Outcome:
    """Write predictions.parquet, calibration, metrics.json, .csv and .parquet, figures and report.html.

    The outcome is incomplete if the baseline could not read a test slice, which preprocess could.

    Raises:
        DataError: the splits leak, one is empty, an image or the model is missing, or predictions from elsewhere do not
            fit.
    """
    workspace = Workspace(config)
    known = held_out.collect(workspace)
    table, raised, cost = held_out.predict(workspace, known)
    scored = {split: predictions.select(table, split) for split in HELD_OUT if split in set(table["split"])}
    calibration = held_out.calibrate(workspace, known, scored)
    reported = findings.reported(scored, calibration)
    write_parquet(workspace.predictions, predictions.with_calibrated(table, reported))

    undecided = {
        split: findings.at_levels(each.truth, reported[split], each.series, each.patients)
        for split, each in scored.items()
    }
    found = findings.find(undecided, config.evaluate, config.seed)
    content = {
        **known.facts, "raised": raised, **found.content,
        **_of_calibration(scored, found, calibration, config),
        **_of_slices(workspace, known, scored["test"], found.samples["test"]["slice"]),
        "gate": _of_gate(known, scored, cost, config) if known.cards else None,
    }  # fmt: skip
    outputs = [workspace.predictions, *_write_calibration(workspace, calibration, found)]
    history = read_history(workspace.run / "history.csv")
    outputs += report.write(workspace.report, content, found, config, workspace.images("test"), history)
    terminal.print_results(Console(stderr=True), content)  # the step's own line names the report
    return _outcome(content, workspace, outputs)


def _of_calibration(
    scored: Mapping[str, Scored], found: Found, calibration: Calibration | None, config: Experiment
) -> dict[str, Any]:
    """What calibration did, on test slices before and after."""
    after = {level: findings.reliability(sample) for level, sample in found.samples["test"].items()}
    if calibration is None or not calibration.changes:
        why = "These probabilities come from a file, and are scored as they are."
        if calibration is not None:
            reasons = "; ".join(sorted({each.reason for each in calibration.labels.values()}))
            why = f"No probability was changed (method none for all six): {reasons}."
        reliability = {"after": after, "before": {}}
        return {"calibration": None, "not_calibrated": why, "before_calibration": None, "reliability": reliability}
    test = scored["test"]
    raw = findings.at_levels(test.truth, test.probabilities, test.series, test.patients)
    return {
        "calibration": calibration.model_dump(mode="json", exclude={"operating_points", "provenance"}),
        "not_calibrated": "",
        "before_calibration": {"figures": findings.figures_of(raw["slice"], config.evaluate, config.seed, "test")},
        "reliability": {"after": after, "before": {level: findings.reliability(each) for level, each in raw.items()}},
    }


def _of_gate(known: HeldOut, scored: Mapping[str, Scored], cost: Compute | None, config: Experiment) -> dict[str, Any]:
    """The cascade's own account; of models without a gate, that they have none."""
    gates = [card.gate for card in known.cards if card.gate is not None]
    replicates, seed = config.evaluate.bootstrap, config.seed
    account = {
        split: gating.account(
            each.truth, each.gated_in, each.patients, replicates, findings.bootstrap_rng(seed, split)
        )
        for split, each in scored.items()
    }  # fmt: skip
    if not gates:
        return {"account": account, "curve": [], "compute": None, "saved": None, "compared": {"reason": "no gate"}}
    test = scored["test"]
    chosen = gates[0].threshold if len(known.cards) == 1 else None
    return {
        "account": account,
        "curve": gating.curve(test.truth, test.probabilities[:, 0], chosen, cost),
        "compute": cost.as_json() if cost else None,
        "saved": cost.saved(float(test.gated_in.mean())) if cost else None,
        "compared": gating.compare(test, replicates, lambda: findings.bootstrap_rng(seed, "test")),
    }


def _of_slices(workspace: Workspace, known: HeldOut, test: Scored, sample: Sample) -> dict[str, Any]:
    """What is looked at slice by slice: baseline, comparison, subgroups, errors, examples."""
    config = workspace.config
    settings, replicates = config.evaluate, config.evaluate.bootstrap
    headers = slice_headers.read(workspace, test.image_ids.tolist())
    of_any = sample.truth[:, 0], sample.decisions[:, 0]
    chosen = examples.choose(*of_any, sample.patients, settings.examples, config.seed)

    def rng() -> np.random.Generator:
        return findings.bootstrap_rng(config.seed, "test")

    return {
        "baseline": references.compare_with_baseline(sample, _count_blood_pixels(workspace, test), replicates, rng()),
        "compared": _compared(known, sample, config),
        "subgroups": subgroups.summarise(sample, headers, replicates, rng),
        "mistakes": to_look_at.find(sample, test.image_ids, headers, settings.mistakes),
        "examples": [each._asdict() | {"image_id": str(test.image_ids[each.row])} for each in chosen],
    }


def _compared(known: HeldOut, sample: Sample, config: Experiment) -> dict[str, Any] | None:
    """The test slices beside another model's probabilities, where a file of them is named."""
    file = config.evaluate.compare_with
    if file is None:
        return None
    given = elsewhere.on_splits(file, {"test": known.tables["test"]})["test"]
    other = replace(sample, probabilities=given.probabilities)
    rng = findings.bootstrap_rng(config.seed, "test")
    return {"extra": given.extra} | compared.compare(sample, other, file.name, config.evaluate.bootstrap, rng)


def _count_blood_pixels(workspace: Workspace, test: Scored) -> NDArray[np.float64]:
    try:
        files = locate_files([str(image_id) for image_id in test.image_ids], workspace.dicom)
    except DataError:  # their place is gone, or not to be reached: as good as files that cannot be read
        return np.full(len(test.image_ids), np.nan)
    with progress_bar("baseline", len(files)) as done:
        return baseline.scores(files, done)


def _write_calibration(workspace: Workspace, calibration: Calibration | None, found: Found) -> list[Path]:
    """Beside the workspace's own model; of models that were named, with the run, as none of them is ours to change."""
    if calibration is None:
        return []
    given = workspace.config.evaluate.models
    path = workspace.run / "calibration.json" if given else calibration_path(workspace.final_model)
    write_calibration(path, calibration.model_copy(update={"operating_points": found.operating_points}))
    return [path]


def _outcome(content: Mapping[str, Any], workspace: Workspace, outputs: list[Path]) -> Outcome:
    splits, unreadable = content["splits"], content["baseline"]["unreadable"]
    notes = [f"baseline: {unreadable} test slices could not be read"] if unreadable else []
    if content["shared_patients"]:
        notes.append(f"{content['shared_patients']} patients are in more than one split: the figures are optimistic")
    for file in dict.fromkeys(weights["file"] for model in content["models"] for weights in model["weights"]):
        notes.append(
            f"weights come from {file}: if it was trained on patients who are held out here, figures are wrong"
        )
    return Outcome(
        counts={
            **{split: each["levels"]["slice"]["n"] for split, each in splits.items()},
            "results": terminal.result_rows(content),
            "report": str(workspace.report / report.PAGE),
        },
        outputs=outputs,
        incomplete=unreadable > 0,
        notes=notes,
    )
