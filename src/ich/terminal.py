"""What commands print for people."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ich.config.keys import config_keys
from ich.errors import visible
from ich.labels import LABELS, Label
from ich.workspace import Outcome

if TYPE_CHECKING:
    from ich.predict import SeriesPredictions


# Radiology's own, so that a line fits 80 columns.
ABBREVIATIONS: dict[Label, str] = {
    "epidural": "EDH", "intraparenchymal": "IPH", "intraventricular": "IVH", "subarachnoid": "SAH", "subdural": "SDH",
}  # fmt: skip


def print_outcome(console: Console, step: str, outcome: Outcome) -> None:
    """One line of counts for a step, its tables, and what was left out."""
    console.print(f"[bold]{step}[/bold]: {counts_line(outcome.counts)}")
    if "splits" in outcome.counts:
        console.print(split_table(outcome.counts["splits"], outcome.counts["unit"]))
    for note in outcome.notes:
        console.print(f"  {visible(note)}", style="yellow", markup=False)


def counts_line(counts: Mapping[str, Any]) -> str:
    """`slices 918, ok 917, ...`: what is one value; tables are left out."""
    plain = {name: value for name, value in counts.items() if not isinstance(value, Mapping | list)}
    return ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}" for name, value in plain.items()
    )


def split_table(splits: Mapping[str, Mapping[str, Any]], unit: str) -> Table:
    """Units, slices, and positives with prevalence of every label; a column a split."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("split")
    for name in splits:
        table.add_column(name, justify="right")
    table.add_row(f"{unit}s", *(f"{part['units']:,}" for part in splits.values()))
    if unit != "slice":
        table.add_row("slices", *(f"{part['slices']:,}" for part in splits.values()))
    for label in LABELS:
        cells = (f"{part['counts'][label]:,} ({part['prevalence'][label] or 0:.1%})" for part in splits.values())
        table.add_row(label, *cells)
    return table


def print_predictions(console: Console, result: "SeriesPredictions", written: Path | None = None) -> None:
    """Probabilities of every slice and what is odd, series by series; last, what could not be read.

    Where the slices were written to a file, a line a series: the highest probability of each label.
    """
    of_each, of_all = _oddities(result.series)
    if written is not None:
        _print_series(console, result, of_each)
    else:
        _print_slices(console, result, of_each)
    for oddity in of_all:
        _print_odd(console, oddity)
    if written is not None:
        console.print(f"{len(result.rows):,} slices: {written}", markup=False, highlight=False, soft_wrap=True)
    if len(result.models) > 1:
        files = ", ".join(model["file"] for model in result.models)
        told = f"mean of {len(result.models)} models: {files}"
        console.print(visible(told), markup=False, highlight=False, soft_wrap=True)
    _print_calibration(console, result.calibration)
    console.print(_legend(console.width), style="dim", soft_wrap=True)
    console.print("Research use only; not a medical device.", style="dim")
    for path, reason in result.unreadable:
        console.print(visible(f"not read: {path}: {reason}"), style="yellow", markup=False, soft_wrap=True)


def _print_calibration(console: Console, about: Mapping[str, Any]) -> None:
    """Whether the probabilities are calibrated, on what, and by which file; or why not."""
    if not about["applied"]:
        console.print(visible(f"not calibrated: {about['reason']}"), markup=False, highlight=False)
        return
    data, share = about["fitted_on"], about["prevalence_of_any"]
    of = "" if share is None else f", {share:.1%} positive"
    changes = "" if set(about["methods"].values()) != {"none"} else ", which changes none"
    told = f"calibrated on {data['slices']:,} validation slices of {data['patients']:,} patients{of}: {about['file']}"
    console.print(visible(told + changes), markup=False, highlight=False, soft_wrap=True)


def _print_slices(console: Console, result: "SeriesPredictions", oddities: list[list[str]]) -> None:
    for (name, rows), lines in zip(result.by_series(), oddities, strict=True):
        table = _probability_table("slice", "mm", title=f"series {escape(name)}")
        for row in rows:
            position = "" if row["position_mm"] is None else f"{row['position_mm']:.1f}"
            table.add_row(escape(visible(Path(row["file"]).name)), position, *(f"{row[label]:.3f}" for label in LABELS))
        console.print(table)
        for line in lines:
            _print_odd(console, f"  {line}")


def _legend(width: int) -> str:
    """What the abbreviations mean; lines end between two of them (rich would break at no-break spaces too)."""
    meanings = ", ".join(f"{short}\N{NO-BREAK SPACE}{label}" for label, short in ABBREVIATIONS.items())
    return textwrap.fill(meanings, width).replace("\N{NO-BREAK SPACE}", " ")


def _print_series(console: Console, result: "SeriesPredictions", oddities: list[list[str]]) -> None:
    table = _probability_table("series", "slices", title="highest probability of a slice")
    for name, rows in result.by_series():
        highest = (max(row[label] for row in rows) for label in LABELS)
        table.add_row(escape(name), f"{len(rows):,}", *(f"{probability:.3f}" for probability in highest))
    console.print(table)
    for series, lines in zip(result.series, oddities, strict=True):
        for line in lines:
            _print_odd(console, f"series {series['series']}: {line}")


_FEW = (
    3  # series with a tilt that get a line each; a gantry is often tilted for heads, and more lines would hide others
)
_TILT = "tilt: "  # as `ich.dicom.series` begins that line


def _print_odd(console: Console, line: str) -> None:
    console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _oddities(series: Sequence[Mapping[str, Any]]) -> tuple[list[list[str]], list[str]]:
    """What is odd about each series, and what about all: the tilt of more than a few of them is told in one line."""
    of_each = [list(each["oddities"]) for each in series]
    tilted = [any(line.startswith(_TILT) for line in lines) for lines in of_each]
    if sum(tilted) <= _FEW:
        return of_each, []
    degrees = [each["tilt_degrees"] for each, is_so in zip(series, tilted, strict=True) if is_so]
    extent = f"{min(degrees):.1f} to {max(degrees):.1f} degrees from axial"
    rest = [[line for line in lines if not line.startswith(_TILT)] for lines in of_each]
    return rest, [f"{_TILT}{len(degrees):,} of {len(series):,} series, {extent}"]


def _probability_table(first: str, second: str, title: str) -> Table:
    table = Table(title=title, box=None, padding=(0, 1), title_justify="left")
    table.add_column(first, overflow="fold")  # a name cut short names nothing
    for column in (second, *(ABBREVIATIONS.get(label, label) for label in LABELS)):
        table.add_column(column, justify="right", no_wrap=True)
    return table


def print_info(console: Console, facts: Mapping[str, Any]) -> None:
    """Two columns of facts."""
    table = Table(show_header=False, box=None, padding=(0, 1))
    for name, value in facts.items():
        text = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, Mapping) else str(value)
        table.add_row(name, escape(text))
    console.print(table)


def print_config_keys(console: Console) -> None:
    """Every config key with its default, its choices and its meaning; two lines a key, none of them cut."""
    for key in config_keys():
        default = f": {key.default}" if key.default else " (must be given)"
        choices = f"Choices: {' | '.join(key.choices)}. " if key.choices else ""
        console.print(f"[bold]{escape(key.name)}[/bold]{escape(default)}", soft_wrap=True, highlight=False)
        console.print(f"    {escape(choices + key.meaning)}", soft_wrap=True, highlight=False)


def print_runs(console: Console, runs: Sequence[Mapping[str, Any]], workspace: Path) -> None:
    """A line a run and a line each of its stages.

    Args:
        console: where to.
        runs: from `ich.runs.runs_of`.
        workspace: whose they are.
    """
    if not runs:
        console.print(f"no runs in {workspace}: `ich train` begins one", markup=False, highlight=False, soft_wrap=True)
    for run in runs:
        when = (run["time"] or "–")[:16].replace("T", " ")
        auroc = "" if run["test_auroc_any"] is None else f", test AUROC of any {run['test_auroc_any']:.3f}"
        told = f"{run['name']} ({run['model'] or 'model unknown'}, {when}): {run['state']}{auroc}"
        console.print(visible(told), markup=False, highlight=False, soft_wrap=True)
        for stage in run["stages"]:
            loss, auc, speed = (_or_dash(stage[key], form) for key, form in _STAGE_FIGURES.items())
            best = f"best validation loss {loss} (AUC {auc})"
            told = f"  {stage['stage']}: epochs {stage['epochs']}, {best}, {speed} images/s"
            console.print(visible(told), markup=False, highlight=False, soft_wrap=True)


_STAGE_FIGURES = {"val_loss": ".4f", "val_auc": ".3f", "images_per_s": ".0f"}


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
