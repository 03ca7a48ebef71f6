"""The command line. Every step is a command over the same config file; any key can be overridden: --split.unit slice.

Heavy modules are imported by the command that needs them, so that `ich --help` is instant.
"""

import atexit
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console

from ich import __version__
from ich import command_options as option
from ich.claim import claimed
from ich.config import Experiment, StepName
from ich.config.keys import config_keys
from ich.config.read import in_section, load, parse_overrides, read_evaluate
from ich.config.training import ModelName
from ich.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    ConfigError,
    DataError,
    visible,
)
from ich.evaluation.terminal import print_comparison, print_results, result_rows
from ich.exit_codes import exit_code
from ich.files import read_json
from ich.interrupts import check
from ich.stages import STEPS, fetch_inputs, is_up_to_date, refuse_unfit, run_step
from ich.terminal import print_config_keys, print_info, print_outcome, print_predictions, print_runs
from ich.workspace import Workspace

app = App(
    name="ich",
    help="Train, evaluate and run a detector of intracranial haemorrhage on head CT. Research use only; not a medical "
    "device. Steps take a config file (-c CONFIG); any of its keys can be replaced: --split.unit slice.",
    version=__version__,
    help_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # ours, so that the message is ours
)
SEED = 42  # of the bootstrap, where no config gives one
messages = Console(stderr=True, soft_wrap=True, highlight=False)


def _add_step(name: StepName) -> None:
    """Every step is a command of the same form; `train` and `evaluate` have options of their own."""

    def command(*overrides: option.Overrides, config: option.ConfigPath, json: option.AsJson = False) -> int:
        return _do_step(name, load(config, in_section(name, parse_overrides(overrides))), json)

    def train(
        *overrides: option.Overrides,
        config: option.ConfigPath,
        dry_run: option.DryRun = False,
        compare: option.Compare = None,
        coordinator: option.Coordinator = None,
        num_processes: option.NumProcesses = None,
        process_id: option.ProcessId = None,
        json: option.AsJson = False,
    ) -> int:
        experiment = load(config, in_section(name, parse_overrides(overrides)))
        together = not (coordinator is None and num_processes is None and process_id is None)
        if dry_run + together + (compare is not None) > 1:
            raise ConfigError("--dry-run, --compare and --coordinator exclude each other: give one of them")
        if dry_run:
            return _show_plan(experiment, json)
        if compare is not None:
            return _compare(experiment, compare, json)
        if not together:
            return _do_step(name, experiment, json)
        return _train_together(experiment, coordinator, num_processes, process_id, json)

    def evaluate(
        *overrides: option.Overrides,
        config: option.OptionalConfig = None,
        predictions: option.Predictions = None,
        labels: option.LabelFile = None,
        thresholds: option.ThresholdFile = None,
        output: option.ReportFolder = None,
        json: option.AsJson = False,
    ) -> int:
        keys = in_section(name, parse_overrides(overrides))
        if config is None:
            return _evaluate_files(predictions, labels, thresholds, output, keys, json)
        if any(given is not None for given in (labels, thresholds, output)):
            raise ConfigError(
                "--labels, --thresholds and --output are for evaluation without a config: leave them out, or -c CONFIG"
            )
        of_file = {} if predictions is None else {"evaluate.predictions": str(predictions)}
        if of_file.keys() & keys.keys():
            raise ConfigError("--predictions and --evaluate.predictions are the same key: give it once")
        return _do_step(name, load(config, keys | of_file), json)

    own: dict[StepName, Callable[..., int]] = {"train": train, "evaluate": evaluate}
    app.command(own.get(name, command), name=name, help=STEPS[name].help, help_epilogue=option.ANY_KEY)


def _evaluate_files(
    predictions: Path | None,
    labels: Path | None,
    thresholds: Path | None,
    output: Path | None,
    keys: dict[str, str],
    as_json: bool,
) -> int:
    """Without a workspace: predictions against labels."""
    if predictions is None or labels is None or output is None:
        raise ConfigError("give -c CONFIG, or else all of --predictions FILE --labels FILE --output FOLDER")
    settings = read_evaluate(keys)
    if thresholds is None and isinstance(settings.threshold, str) and any(key.endswith("threshold") for key in keys):
        raise ConfigError(f"--threshold {settings.threshold} needs --thresholds FILE, or a config; or give a number")
    from ich.evaluation.elsewhere.outside import evaluate_files
    from ich.evaluation.report import PAGE

    content = evaluate_files(predictions, labels, output, settings, SEED, thresholds)
    print_results(messages, content, output / PAGE)
    if as_json:
        _print_json({"results": result_rows(content), "report": str(output / PAGE)})
    return EXIT_DONE


def _do_step(name: StepName, experiment: Experiment, as_json: bool) -> int:
    with claimed(experiment):
        outcome = run_step(name, experiment)
    print_outcome(messages, name, outcome)
    if as_json:
        _print_json(outcome.counts)
    return EXIT_INCOMPLETE if outcome.incomplete else EXIT_DONE


def _compare(experiment: Experiment, models: list[ModelName], as_json: bool) -> int:
    """Models on one split."""
    from ich.compare import candidates, compare, comparison_path

    runs = candidates(experiment, models)
    with claimed(experiment, *runs):
        refuse_unfit("train", experiment)
        compared = compare(experiment, runs)
    if as_json:
        _print_json(compared)
    else:
        print_comparison(Console(), compared, comparison_path(experiment, "md"))
    for row in compared["candidates"]:
        for note in row["notes"]:
            messages.print(f"  {row['run']}: {visible(note)}", style="yellow", markup=False)
    return EXIT_INCOMPLETE if compared["incomplete"] else EXIT_DONE


def _train_together(
    experiment: Experiment, coordinator: str | None, processes: int | None, process: int | None, as_json: bool
) -> int:
    """One of several processes; process 0 has the workspace, and tells."""
    from ich.training.processes import Place, joined
    from ich.training.train import train

    place = Place.of(coordinator, processes, process)
    try:
        with joined(place, messages.print):
            if place.process == 0:
                return _do_step("train", experiment, as_json)
            messages.print(f"process {place.process} of {place.processes}: joined; process 0 tells how it goes")
            train(experiment)
    except BaseException as error:
        code = EXIT_INTERRUPTED if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", EXIT_FAILED)
        atexit.register(_exit_at_once, code)
        raise
    return EXIT_DONE


def _exit_at_once(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _show_plan(experiment: Experiment, as_json: bool) -> int:
    from ich.training.plan import plan
    from ich.training.terminal import print_plan

    planned = plan(experiment)
    _print_json(planned) if as_json else print_plan(Console(), planned)
    return EXIT_DONE


for _name in STEPS:
    _add_step(_name)


@app.command
def run(*overrides: option.Overrides, config: option.ConfigPath, json: option.AsJson = False) -> int:
    """Do all steps of the config in order; those that are up to date are skipped."""
    experiment = _load(config, overrides)
    with claimed(experiment):
        results, incomplete = _run_steps(experiment)
    if json:
        _print_json(results)
    return EXIT_INCOMPLETE if incomplete else EXIT_DONE


def _run_steps(experiment: Experiment) -> tuple[dict[str, Any], bool]:
    """Counts of each step, and whether one of them left something out."""
    results: dict[str, Any] = {}
    incomplete = False
    if experiment.evaluate.of_others and "train" in experiment.steps:
        key = "models are" if experiment.evaluate.models else "predictions are"
        raise ConfigError(
            f"evaluate.{key} given, but train is one of the steps: its model would be trained, and not evaluated; "
            "use `ich evaluate` for them, or take train out of steps"
        )
    fetch_inputs(experiment.steps, experiment)
    for name in experiment.steps:
        record = is_up_to_date(name, experiment)
        if record is not None:
            messages.print(f"{name}: up to date")
            if name == "evaluate":
                report = Workspace(experiment).report
                print_results(messages, read_json(report / "metrics.json"), report / "report.html")
            results[name] = record["counts"]
            incomplete |= record["incomplete"]
            continue
        outcome = run_step(name, experiment)
        check()
        print_outcome(messages, name, outcome)
        results[name] = outcome.counts
        incomplete |= outcome.incomplete
    return results, incomplete


@app.command
def predict(
    inputs: option.DicomInputs,
    *,
    model: option.Models,
    calibration: option.CalibrationFile = None,
    json: option.AsJson = False,
    output: option.ProbabilityTable = None,
) -> int:
    """Probabilities of haemorrhage for every slice, in order along each series. Not for clinical use."""
    from ich.predict import predict as predict_files
    from ich.predict import refuse_output

    if stray := [path for path in inputs if path.suffix == ".keras"]:
        raise ConfigError(f"{stray[0]} is a model, not an input; give --model before each: --model A --model B")
    if output is not None:
        refuse_output(output)
    result = predict_files(inputs, model, calibration)
    if output is not None:
        result.write_csv(output)
    if json:
        _print_json(result.as_json())
    else:
        print_predictions(Console(), result, written=output)
    return EXIT_INCOMPLETE if result.unreadable else EXIT_DONE


@app.command
def submit(
    predictions: option.PredictionTable,
    *,
    sample: option.SampleSubmission,
    output: option.Submission,
    clip: option.Clip = 1e-15,
    json: option.AsJson = False,
) -> int:
    """Write the competition's file, `ID,Label`, from a table of predictions; an incomplete one is refused."""
    from ich.submit import submit as write_submission

    written = write_submission(predictions, sample, output, clip)
    _print_json(written.as_json()) if json else print(visible(written.line()))
    return EXIT_DONE


@app.command
def status(
    *overrides: option.Overrides,
    config: option.ConfigPath,
    file: Annotated[
        str | None, Parameter(help="The life of one slice: an ImageID, file name, or augmented image.")
    ] = None,
    json: option.AsJson = False,
) -> int:
    """Whether each step is up to date, and what became of every slice; with --file, the life of one of them."""
    from ich.status import ledgers, life, steps, terminal

    experiment = _load(config, overrides)
    if file is not None:
        facts = life.life(experiment, file)
        _print_json(facts) if json else terminal.print_life(Console(), facts)
        return EXIT_DONE
    facts = steps.collect(experiment)
    _print_json(facts) if json else terminal.print_status(Console(), facts)
    if wrong := ledgers.that_do_not_add_up(facts["ledgers"]):
        raise DataError(wrong[0])
    return EXIT_DONE


@app.command
def runs(*overrides: option.Overrides, config: option.ConfigPath, json: option.AsJson = False) -> int:
    """Trainings of the workspace, and evaluations of several models: state, best losses and AUC, speed, test AUROC."""
    from ich.runs import runs_of

    experiment = _load(config, overrides)
    found = runs_of(Workspace(experiment))
    _print_json(found) if json else print_runs(Console(), found, experiment.workspace)
    return EXIT_DONE


@app.command
def info(
    *overrides: option.Overrides,
    config: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    json: option.AsJson = False,
) -> int:
    """Versions, devices, memory, and disk space against what a config needs."""
    from ich.info import collect

    facts = collect(_load_if_given(config, overrides))
    if json:
        _print_json(facts)
    else:
        print_info(Console(), facts)
    return EXIT_DONE


@app.command(name="config")
def show_config(
    *overrides: option.Overrides,
    config: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    explain: Annotated[bool, Parameter(negative="", help="List every key with its default and meaning.")] = False,
    json: option.AsJson = False,
) -> int:
    """With a config, print it whole, as it is read; without one, or with --explain, every key there is."""
    experiment = _load_if_given(config, overrides)
    if explain or experiment is None:
        if json:
            _print_json([key._asdict() for key in config_keys()])
        else:
            print_config_keys(Console())
        return EXIT_DONE
    content = experiment.model_dump(mode="json", by_alias=True)
    if json:
        _print_json(content)
        return EXIT_DONE
    import yaml

    print(yaml.safe_dump(content, sort_keys=False), end="")
    return EXIT_DONE


def run_command(arguments: list[str]) -> int:
    """Run one command line and return its exit code (errors.py lists them)."""
    os.environ.pop("MPLBACKEND", None)  # Colab hands on its notebook's, which our environment lacks; no window is drawn
    return exit_code(lambda: app(arguments, exit_on_error=False, print_error=False), _complain)


def _complain(message: str) -> None:
    messages.print(f"ich: {visible(message)}", style="red", markup=False)


def _load(config: Path, overrides: tuple[str, ...]) -> Experiment:
    return load(config, parse_overrides(overrides))


def _load_if_given(config: Path | None, overrides: tuple[str, ...]) -> Experiment | None:
    if config is None and overrides:
        raise ConfigError(f"{overrides[0]} replaces a value of a config file: name the file with -c CONFIG")
    return _load(config, overrides) if config else None


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, default=str))
