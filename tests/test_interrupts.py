import os
import signal
import subprocess
import sys

import pytest

from ich.data import prefetch
from ich.interrupts import check, remembered_only, stop_on_signals
from ich.progress import progress_bar


class Destroyed:
    """Where Python swallows exceptions: a signal that comes during a destructor is lost."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        os.kill(os.getpid(), self.number)
        for _ in range(1000):  # the interpreter looks for signals between bytecodes
            pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_swallowed_signal_is_not_forgotten(number, capfd):
    with stop_on_signals():
        victim = Destroyed(number)
        del victim
        with progress_bar("work", 2) as advance, pytest.raises(KeyboardInterrupt):
            advance(1)
        with pytest.raises(KeyboardInterrupt):
            list(prefetch(str, range(3)))
    assert capfd.readouterr().err == ""
    check()  # another command in the same process begins afresh


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_can_wait_for_the_next_check(number):
    with stop_on_signals(), remembered_only():
        os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt):
            check()
    check()


def test_an_interrupt_while_the_command_loads_is_one_line():
    code = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'cyclopts':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from ich.__main__ import main\n"
        "main()\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (130, "ich: interrupted\n")
