"""What `ich status` prints: the steps, the ledgers, and the life of one slice."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ich.errors import visible
from ich.labels import LABELS
from ich.prepare.ledger import EXAMPLES
from ich.stages import LEFT_OUT
from ich.status.ledgers import sum_line
from ich.terminal import counts_line


def print_status(console: Console, facts: Mapping[str, Any]) -> None:
    """A table of the steps, and of each ledger its sum, repairs and reasons.

    Args:
        console: where to.
        facts: from `steps.collect`.
    """
    console.print(f"workspace {facts['workspace']}", markup=False, highlight=False, soft_wrap=True)
    if facts["works_here"]:
        text = f"{facts['works_here']}, works here: steps that it has not finished stand as they were before"
        _print_line(console, text, "cyan")
    if not facts["exists"]:
        _print_line(console, "this folder does not exist yet: `ich run` makes it", "yellow")
    table = Table(box=None, padding=(0, 1))
    for column in ("step", "last run (UTC)", "state, counts"):
        table.add_column(column, no_wrap=column != "state, counts")
    for step in facts["steps"]:
        when = (step["time"] or "–")[:16].replace("T", " ")
        counts = f"\n{escape(counts_line(step['counts']))}" if step["counts"] else ""
        table.add_row(step["step"], when, f"{_state(step)}{counts}")
    console.print(table, highlight=False)
    for name, counted in facts["ledgers"].items():
        _print_ledger(console, name, counted)


def _state(step: Mapping[str, Any]) -> str:
    if step["stale"] is None:
        return "[green]up to date[/green]"
    if step["stale"] == LEFT_OUT:
        return f"[yellow]done, but it {LEFT_OUT}: `ich run` looks again[/yellow]"
    finished = f" (finished chunks: {step['chunks']:,})" if step["chunks"] else ""
    return f"[yellow]{'stale: ' if step['time'] else ''}{escape(step['stale'])}{finished}[/yellow]"


def _print_ledger(console: Console, name: str, counted: Mapping[str, Any] | str) -> None:
    console.print(f"\n[bold]{name}[/bold]", highlight=False)
    if isinstance(counted, str):
        console.print(f"  {counted}", highlight=False)
        return
    style = "green" if counted["adds_up"] else "red"
    _print_line(console, sum_line(counted), style)
    for repair, slices in counted["repairs"].items():
        _print_line(console, f"repair: {repair}: {slices:,}")
    for reason in counted["reasons"]:
        more = f" and {reason['slices'] - EXAMPLES:,} more" if reason["slices"] > EXAMPLES else ""
        ids = ", ".join(reason["examples"])
        _print_line(console, f"{reason['status']}: {reason['reason']}: {reason['slices']:,}: {ids}{more}", "yellow")


def _print_line(console: Console, text: str, style: str | None = None) -> None:
    console.print(f"  {visible(text)}", style=style, markup=False, highlight=False, soft_wrap=True)


def print_life(console: Console, facts: Mapping[str, Any]) -> None:
    """Two columns: the steps in order, and what each knows of the slice.

    Args:
        console: where to.
        facts: from `life.life`.
    """
    console.print(f"[bold]{escape(visible(facts['image_id']))}[/bold]", highlight=False)
    if facts["augmented"]:
        console.print(f"  the original of {facts['augmented']}", markup=False, highlight=False)
    table = Table(show_header=False, box=None, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for part, tell in _TELL.items():
        found = facts[part]
        table.add_row(
            part, f"[dim]{escape(found['unknown'])}[/dim]" if "unknown" in found else escape(_lines(tell(found)))
        )
    console.print(table, highlight=False)


def _lines(text: str) -> str:
    return "\n".join(visible(line) for line in text.split("\n"))


def _labels(found: Mapping[str, Any]) -> str:
    positive = [label for label, value in found["values"].items() if value]
    lacking = [label for label in LABELS if label not in found["values"]]
    without = f"; no row for {', '.join(lacking)}" if lacking else ""
    return f"{', '.join(positive) or 'none is positive'}{without} ({found['source']})"


def _index(found: Mapping[str, Any]) -> str:
    lines = [f"{_fate(found)} ({found['source']})"]
    if found["path"]:
        size = "" if found["size"] is None else f", {found['size']:,} bytes"
        lines.append(f"{found['path']}{size}")
    lines += [f"{name} {found[name]}" for name in ("patient", "study", "series") if found[name]]
    if found["place"] is not None:
        lines.append(
            f"slice {found['place']} of {found['slices_in_series']} in its series, at {_mm(found['position_mm'])} "
            f"along its normal, {_mm(found['slice_spacing_mm'])} apart"
        )
    elif found["slices_in_series"]:
        lines.append(f"without a place among the {found['slices_in_series']} slices of its series")
    if found["row_spacing_mm"] is not None:
        spacing = f"{found['row_spacing_mm']:.3f} x {found['column_spacing_mm']:.3f} mm"
        lines.append(f"{found['rows']} x {found['columns']} pixels of {spacing}")
    return "\n".join(lines)


def _mm(length: float | None) -> str:
    return "an unknown distance" if length is None else f"{length:.2f} mm"


def _fate(found: Mapping[str, Any]) -> str:
    repairs = f": {', '.join(found['repairs'])}" if found.get("repairs") else ""
    reason = f": {found['reason']}" if found["reason"] else ""
    return f"{found['status']}{repairs}{reason}"


def _split(found: Mapping[str, Any]) -> str:
    return f"{found['split']} (split by {found['unit']})"


def _sample(found: Mapping[str, Any]) -> str:
    return f"{'chosen' if found['sampled'] else 'not chosen'} ({found['table']})"


def _copy(found: Mapping[str, Any]) -> str:
    if found["listed_as_missing"]:
        return f"missing when copy ran: {found['reason']} (missing_files.csv)"
    how = {"none": "read in place", "link": "linked", "copy": "copied"}[found["mode"]]
    return f"not there: {found['path']}" if found["there"] is False else f"{how}: {found['path'] or 'not read yet'}"


def _preprocess(found: Mapping[str, Any]) -> str:
    lines = [_fate(found)]
    if found["hu_min"] is not None:
        lines.append(f"{found['hu_min']} to {found['hu_max']} HU, {found['padding']:.1%} of it padding")
    if found["png"]:
        state = {
            "as written": "its SHA-256 is that of the ledger",
            "changed": "CHANGED: its SHA-256 is not that of the ledger; run `ich preprocess` again",
            "gone": "GONE; run `ich preprocess` again",
        }[found["png_is"]]
        lines.append(f"{found['png']}, {found['png_size']:,} bytes: {state}")
    return "\n".join(lines)


def _tables(found: Mapping[str, Any]) -> str:
    return ", ".join(found["tables"])


def _augment(found: Mapping[str, Any]) -> str:
    copies = found["copies"]
    return f"{len(copies):,} copies: {', '.join(copies)}" if copies else "no copies"


def _predict(found: Mapping[str, Any]) -> str:
    decisions = found["decisions"] or {}
    lines = [f"{found['split']}; {'reached' if found['gated_in'] else 'did not reach'} the subtype stage"]
    for label, probability in found["probabilities"].items():
        decision = "" if not decisions else ", called positive" if decisions[label] else ", called negative"
        lines.append(f"{label} {probability:.3f}{decision}")
    return "\n".join(lines)


_TELL: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "labels": _labels, "index": _index, "split": _split, "sample": _sample, "copy": _copy,
    "preprocess": _preprocess, "tables": _tables, "augment": _augment, "predict": _predict,
}  # fmt: skip
