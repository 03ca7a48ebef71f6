"""The results table on the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ich.labels import LABELS

COLUMNS = {
    "auroc": "AUROC [95 % interval]",
    "average_precision": "AP",
    "sensitivity": "sens.",
    "specificity": "spec.",
    "f1": "F1",
}


def print_results(console: Console, content: Mapping[str, Any], report: Path) -> None:
    """Print the test results and where the report is.

    Args:
        console: where to.
        content: what metrics.json holds.
        report: path of report.html.
    """
    test, overall = content["splits"]["test"], content["splits"]["test"]["levels"]["slice"]["all labels"]
    console.print(results_table(content))
    loss, guess = overall["weighted_log_loss"], content["constant_guess"]["weighted_log_loss"]
    compared = content["baseline"]
    for line in (
        f"weighted log loss {number(loss)}, of a constant guess {guess:.3f}",
        f"exact match of six labels {number(overall['exact_match'])}",
        f"baseline, any AUROC of 50-80 HU pixels in the skull {number(compared['baseline'])}",
        f"model minus baseline {number(compared['difference'])}",
        f"{test['slices']:,} test slices of {test['patients']:,} patients. Research use only; not a medical device.",
    ):
        console.print(line, highlight=False)
    if content["phantom"]:
        console.print("Phantom data: these figures say nothing about patients.")
    console.print(f"report: {report}", soft_wrap=True, highlight=False, markup=False)


def results_table(content: Mapping[str, Any]) -> Table:
    """Test results, a row a label."""
    table = Table(title="test", title_justify="left", box=None, padding=(0, 1))
    table.add_column("label")
    for name in ("positive", *COLUMNS.values()):
        table.add_column(name, justify="left" if "[" in name else "right", no_wrap=True)
    for row in result_rows(content):
        auroc = _bare(row["auroc"]) if row["auroc"]["value"] is None else number(row["auroc"])
        figures = [auroc, *(_bare(row[name]) for name in list(COLUMNS)[1:])]
        table.add_row(row["label"], f"{row['positives']:,}", *figures)
    return table


def result_rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Test results as plain mappings, one a label: label, n, positives, and each figure with its interval."""
    test = content["splits"]["test"]
    rows = []
    for label in LABELS:
        figures = test["levels"]["slice"][label]
        denominators = {"n": test["slices"], "positives": test["positives"][label]["slices"]}
        rows.append({"label": label, **denominators, **{name: figures[name] for name in COLUMNS}})
    return rows


def number(figure: Mapping[str, Any]) -> str:
    """A figure with its interval, e.g. `0.953 [0.921, 0.974]`; the reason where it is undefined."""
    if figure["value"] is None:
        return f"undefined ({figure['reason']})"
    interval = "" if figure["low"] is None else f" [{figure['low']:.3f}, {figure['high']:.3f}]"
    return f"{figure['value']:.3f}{interval}"


def _bare(figure: Mapping[str, Any]) -> str:
    return "–" if figure["value"] is None else f"{figure['value']:.3f}"
