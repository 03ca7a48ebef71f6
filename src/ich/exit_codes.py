"""From how a command ends to its exit code (errors.py lists them): an error becomes one line, but for a bug of ours."""

import os
import sys
from collections.abc import Callable

import cyclopts

from ich.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, IchError, one_line
from ich.interrupts import stop_on_signals
from ich.remedies import what_to_do, what_to_do_about_file


def exit_code(command: Callable[[], object], complain: Callable[[str], None]) -> int:
    """Run a command.

    Args:
        command: returns an exit code, or something else, which means that it is done.
        complain: told what went wrong, and what to do.

    Raises:
        Exception: of Python, and nothing that a user can do about it is known.
    """
    try:
        with stop_on_signals():
            result = command()
        return result if isinstance(result, int) else EXIT_DONE
    except cyclopts.CycloptsError as error:
        complain(f"{one_line(error)} (`ich --help` lists the commands)")
        return EXIT_USAGE
    except IchError as error:
        complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        complain("interrupted; run the same command again to continue")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # who read our output has gone, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that flushing at exit says nothing
        return EXIT_FAILED
    except OSError as error:
        complain(what_to_do_about_file(error))
        return EXIT_FAILED
    except (MemoryError, RuntimeError, ImportError, ValueError) as error:
        fix = what_to_do(error)
        if fix is None:
            raise
        complain(fix)
        return EXIT_FAILED
