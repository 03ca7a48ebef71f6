"""The results table on the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ich.evaluation import wording
from ich.labels import LABELS
from ich.level_names import noun

COLUMNS = {
    "auroc": "AUROC [95 % interval]",
    "average_precision": "AP",
    "sensitivity": "sens.",
    "specificity": "spec.",
    "f1": "F1",
}


def print_results(console: Console, content: Mapping[str, Any], report: Path | None = None) -> None:
    """Print the test results and where the report is.

    Args:
        console: where to.
        content: what metrics.json holds.
        report: path of report.html; None where another line names it.
    """
    console.print(results_table(content))
    for line in _lines(content):
        console.print(line, highlight=False)
    if report:
        console.print(f"report: {report}", soft_wrap=True, highlight=False, markup=False)


def _lines(content: Mapping[str, Any]) -> list[str]:
    """What stands under the table: figures of all labels together, each beside what it is to be compared with."""
    level = content["levels"][0]
    test, guess = content["splits"]["test"]["levels"][level], content["constant_guess"]
    overall, positive = test["figures"]["all labels"], content["among_positives"]["n"]
    loss, match, against = overall["weighted_log_loss"], overall["exact_match"], ("", "")
    if guess:
        against = (
            f", of a constant guess {guess[level]['weighted_log_loss']:.3f}",
            f", of calling all negative {guess[level]['exact_match']:.3f}",
        )
    lines = [
        f"sens., spec. and F1 {_at_thresholds(content)}",
        f"weighted log loss {number(loss)}{against[0]}",
        f"exact match of six labels {number(match)}{against[1]}",
        f"mean AUROC of subtypes among the {positive:,} positive {noun(positive, level)} {told_apart(content)}",
        *_lines_of_whole(content),
        *_line_of_calibration(content),
    ]
    if baseline := content.get("baseline"):
        lines.append(f"baseline, any AUROC of 50-80 HU pixels in the skull {number(baseline['baseline'])}")
        lines.append(f"model minus baseline {number(baseline['difference'])}")
    if compared := content.get("compared"):
        difference = compared["weighted_log_loss"]["difference"]
        lines.append(f"weighted log loss minus that of {compared['name']} {number(difference)}")
    if len(models := content["models"]) > 1:
        lines.insert(0, f"mean of {len(models)} models: {', '.join(model['file'] for model in models)}")
    if called := test["subtype_called_without_any"]:
        why = " (each label has its own threshold)" if wording.labels_differ(content) else ""
        lines.append(f"called for a subtype but not for any: {called:,}{why}")
    n, patients = test["n"], test["patients"]
    told = content["patients_known"] and level != "study"
    of_patients = f" of {patients:,} {noun(patients, 'patient')}" if told else ""
    lines.append(f"{n:,} test {noun(n, level)}{of_patients}. Research use only; not a medical device.")
    return [*lines, "Phantom data: these figures say nothing about patients."] if content["phantom"] else lines


def _at_thresholds(content: Mapping[str, Any]) -> str:
    """At which thresholds the table's decisions are: the one value, or that each label has its own; and from where."""
    thresholds = content["thresholds"][content["levels"][0]].values()
    if not wording.labels_differ(content) and len({each["source"] for each in thresholds}) == 1:
        return wording.at_threshold(next(iter(thresholds)))
    origins = dict.fromkeys(wording.origin(each["source"]) for each in thresholds)
    return f"at each label's own threshold ({'; '.join(origins)})"


def _lines_of_whole(content: Mapping[str, Any]) -> list[str]:
    """AUROC of any, sensitivity and specificity, of series and patients."""
    lines = []
    of_test = content["splits"]["test"]["levels"]
    for level in content["levels"][1:]:
        if level == "patient" and "series" in of_test and of_test[level]["n"] == of_test["series"]["n"]:
            continue  # each has one series: the same figures
        found = of_test[level]
        figures, counts = found["figures"]["any"], found["counts"]["any"]
        positives, negatives = counts["tp"] + counts["fn"], counts["tn"] + counts["fp"]
        lines.append(
            f"by {level}: any AUROC {number(figures['auroc'])}, sensitivity {counts['tp']}/{positives}, specificity "
            f"{counts['tn']}/{negatives}"
        )
    return lines


def _line_of_calibration(content: Mapping[str, Any]) -> list[str]:
    if not content["calibration"]:
        return []
    before = content["before_calibration"]["figures"]["all labels"]["weighted_log_loss"]
    labels = content["calibration"]["labels"].items()
    methods = "; ".join(f"{label} {each['method'].replace('_', ' ')}" for label, each in labels)
    return [f"weighted log loss before calibration {number(before)}", f"calibration: {methods}"]


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
    test = content["splits"]["test"]["levels"][content["levels"][0]]
    rows = []
    for label in LABELS:
        figures = test["figures"][label]
        denominators = {"n": test["n"], "positives": test["positives"][label]["n"]}
        rows.append({"label": label, **denominators, **{name: figures[name] for name in COLUMNS}})
    return rows


def number(figure: Mapping[str, Any]) -> str:
    """A figure with its interval, e.g. `0.953 [0.921, 0.974]`; the reason where it is undefined."""
    if figure["value"] is None:
        return f"undefined ({figure['reason']})"
    interval = "" if figure["low"] is None else f" [{figure['low']:.3f}, {figure['high']:.3f}]"
    return f"{figure['value']:.3f}{interval}"


def told_apart(content: Mapping[str, Any]) -> str:
    """Mean AUROC of the subtypes among positive slices, over those for which it is defined."""
    aucs = [each["model"]["value"] for each in content["among_positives"]["subtypes"].values()]
    known = [auc for auc in aucs if auc is not None]
    few = f" (of {len(known)} of {len(aucs)})" if len(known) < len(aucs) else ""
    return f"{sum(known) / len(known):.3f}{few}" if known else "undefined"


def _bare(figure: Mapping[str, Any]) -> str:
    return "–" if figure["value"] is None else f"{figure['value']:.3f}"


_COST = ("parameters", "training", "images/s")


def print_comparison(console: Console, content: Mapping[str, Any], written: Path) -> None:
    """Models side by side: what each costs, then figure by figure, with the differences from the first.

    Args:
        console: where to.
        content: from `ich.compare.compare`.
        written: where the Markdown table is.
    """
    rows = content["candidates"]
    costs = Table("model", *_COST, title="cost", title_justify="left", box=None, padding=(0, 1))
    for row in rows:
        costs.add_row(row["model"], *_cost_cells(row))
    console.print(costs)
    for name in rows[0]["figures"]:
        less = f"minus {rows[0]['model']}"
        table = Table("model", name, less, title="", box=None, padding=(0, 1))
        for row in rows:
            table.add_row(row["model"], number(row["figures"][name]), _difference(row, name))
        console.print(table)
    for line in [*comparison_legend(content), f"as a table: {written}"]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def comparison_markdown(content: Mapping[str, Any]) -> list[str]:
    """Lines of a Markdown table of the same, a row a model."""
    names, first = content["candidates"][0]["figures"], content["candidates"][0]["model"]
    header = ["model", *_COST, *names, *(f"{name} minus {first}" for name in names)]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for row in content["candidates"]:
        figures = [*(number(row["figures"][name]) for name in names), *(_difference(row, name) for name in names)]
        lines.append(f"| {' | '.join([row['model'], *_cost_cells(row), *figures])} |")
    return [*lines, "", *comparison_legend(content)]


def comparison_legend(content: Mapping[str, Any]) -> list[str]:
    """What the figures of a comparison are of."""
    slices, patients = content["test_slices"], content["test_patients"]
    lines = [
        f"{slices:,} test {noun(slices, 'slice')} of {patients:,} {noun(patients, 'patient')}, one training each; 95 % "
        "intervals over patients, the same draws for all models: another seed of training would differ too. Images/s "
        "of training, stage by stage, on this machine; its time is with validation.",
        *_tests_by_patient(content["candidates"]),
    ]
    return [*lines, "Phantom data: these figures say nothing about patients."] if content["phantom"] else lines


def _tests_by_patient(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """DeLong's test of each model against the first; patients are independent, as slices are not."""
    return [
        f"any AUROC by patient, {row['model']} minus {rows[0]['model']}: {number(test)}"
        + (f", p = {test['p']:.2g} (DeLong)" if test["p"] is not None else "")
        for row in rows[1:]
        if (test := row["by_patient"])
    ]


def _cost_cells(row: Mapping[str, Any]) -> list[str]:
    speeds = " / ".join("–" if (speed := stage["images_per_s"]) is None else f"{speed:,.0f}" for stage in row["stages"])
    parameters = "–" if row["parameters"] is None else f"{row['parameters'] / 1e6:.2f} M"
    return [parameters, f"{row['seconds'] / 60:.1f} min", speeds]


def _difference(row: Mapping[str, Any], name: str) -> str:
    return number(row["differences"][name]) if row["differences"] else "–"
