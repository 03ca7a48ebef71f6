"""Progress of long work: a bar on a terminal, nothing in a log."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ich.interrupts import check


@contextlib.contextmanager
def progress_bar(title: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error while the block runs.

    Args:
        title: shown before the bar.
        total: how many things there are.
        done: how many of them were done before.

    Yields:
        A function to call with the number of things just done. It raises KeyboardInterrupt if the command was asked to
        stop (`ich.interrupts`).
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(title, total=total, completed=done)

        def advance(count: int) -> None:
            check()
            bar.advance(task, count)

        yield advance
