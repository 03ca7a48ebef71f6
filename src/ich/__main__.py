"""The command `ich`, also as `python -m ich`. Ctrl-C while Python still loads the command ends it tidily too."""

import io
import sys


def main() -> None:
    """Run the command line in `sys.argv` and exit with its code (`ich.errors` lists them)."""
    try:
        from ich.cli import run_command

        for stream in (sys.stdout, sys.stderr):  # of a terminal that is not UTF-8: a sign that it lacks is no error
            if isinstance(stream, io.TextIOWrapper):  # None, if it was closed
                stream.reconfigure(errors="replace")
        code = run_command(sys.argv[1:])
    except KeyboardInterrupt:
        print("ich: interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
