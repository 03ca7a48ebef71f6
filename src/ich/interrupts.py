"""Ctrl-C, and SIGTERM (a batch system's stop), end a command tidily: finished work is kept, the message is one line."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

_asked = threading.Event()
_listening = threading.Event()  # `stop_on_signals` is there to forget, at its end, what was asked


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """In this block SIGINT and SIGTERM raise KeyboardInterrupt in the main thread, and `check` remembers them.

    Where Python swallows the exception, nothing is printed of it either.
    """

    def stop(*_: object) -> None:
        _asked.set()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    print_lost = sys.unraisablehook
    sys.unraisablehook = lambda lost: None if lost.exc_type is KeyboardInterrupt else print_lost(lost)
    _listening.set()
    try:
        yield
    finally:
        sys.unraisablehook = print_lost
        _restore(before)
        _listening.clear()
        _asked.clear()


@contextlib.contextmanager
def remembered_only() -> Iterator[None]:
    """In this block SIGINT and SIGTERM raise nothing by themselves; `check` does, and must be called often.

    For libraries whose C++ calls Python: an exception that is raised there, at any moment, can end the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    before = {number: signal.signal(number, lambda *_: _asked.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        _restore(before)


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler or signal.SIG_DFL)  # None: one that was not installed from Python


def check() -> None:
    """Raise KeyboardInterrupt if a signal came; long loops call this once a round.

    A command goes on raising until it ends; outside of one, as in a notebook, it is raised once.

    Python delivers a signal wherever the interpreter is just then. In a destructor, or in a callback that C++ called,
    the exception is lost, and the command would go on as if nobody had asked it to stop.
    """
    if _asked.is_set():
        if not _listening.is_set():
            _asked.clear()
        raise KeyboardInterrupt
