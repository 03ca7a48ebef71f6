"""`python -m ich` is the command `ich`."""

from ich.cli import main

main()
