"""Everything that `ich` raises on purpose, and the exit code that each becomes.

    IchError                    1   something in the input or the machine is wrong; the message says what and the fix
    +-- ConfigError             2   the command line or the config file is wrong
    +-- DataError               1   labels, folders, workspace contents
    |   +-- UnreadableSlice     -   one DICOM file cannot be used; stages catch it and quarantine the file
    |   |   +-- CannotRead      -   its bytes are not to be had now; such a file is `missing`, and tried again

Messages are one line: the thing, the rule, the value, the fix. They never hold patient data (names, birth dates).
"""

import os
from pathlib import Path

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INCOMPLETE = 3  # done, but some inputs were quarantined or missing; they are listed
EXIT_INTERRUPTED = 130


class IchError(Exception):
    """A failure whose message is meant for the user."""

    exit_code = EXIT_FAILED


class ConfigError(IchError):
    """The command line or the config file is wrong."""

    exit_code = EXIT_USAGE


class DataError(IchError):
    """Labels, folders or files in the workspace are not what the stage needs."""


class UnreadableSlice(DataError):
    """One DICOM file cannot give a CT slice; the message is the reason that the ledger records."""


class CannotRead(UnreadableSlice):
    """The bytes of a file are not to be had now; another time they may be."""


def one_line(error: BaseException | str) -> str:
    """A library's message, or a text from a file, as a part of ours: on one line, printable, and not too long."""
    return visible(" ".join(str(error).split()))[:200]


def cause(error: BaseException) -> str:
    """What a library says of a file, as `one_line`, without the advice to programmers in its further paragraphs."""
    return one_line(str(error).partition("\n\n")[0])


def printable(path: Path) -> str:
    """A path as text that can be printed and written; bytes that are not UTF-8 become escapes: caf\\xe9.dcm."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def visible(text: str) -> str:
    """A text for a terminal or log, on one line: what no one can see, or would control it, becomes an escape: \\x1b."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
