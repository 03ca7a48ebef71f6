"""Read foreign DICOM files in a process of its own, which may crash, hang or run out of memory without harm to us.

Files come from anywhere, and the decoders of compressed pixels are C: one file must not end a run of 752,803. The
child serves one file at a time; the kernel ends it when a file takes too long, and its memory is limited. A file that
it dies of is unreadable, with the reason; the next one gets a new child.
"""

import atexit
import contextlib
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO, Any, Literal

from ich.errors import CannotRead, IchError, UnreadableSlice, one_line

Task = Literal["header", "slice"]


def seconds_a_file() -> int:
    """ICH_SECONDS_A_FILE, or a minute.

    Raises:
        IchError: it is no whole number of seconds, 1 or more.
    """
    text = os.environ.get("ICH_SECONDS_A_FILE", "60")
    if not text.isascii() or not text.isdigit() or not int(text):
        raise IchError(f"ICH_SECONDS_A_FILE is {text}; set it to a whole number of seconds, 1 or more")
    return int(text)


SECONDS = seconds_a_file()  # an ordinary file takes a few milliseconds
MEMORY = 2**30  # bytes that a file may need on top of the program: 16 times the largest slice that we take

_READY = b"ready"
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}
_LENGTH = struct.Struct("<Q")


class _Child:
    """The process, started when it is first needed.

    Raises:
        IchError: it does not start; that is no file's fault.
    """

    def __init__(self) -> None:
        # Few threads: each that a library starts reserves memory, which is limited. -P: what lies in the current folder
        # is not imported by mistake.
        environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ich.dicom.isolated"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=environment, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.questions, self.answers = self.process.stdin, self.process.stdout
        with self.process.stderr as complaints:  # the child closes its end once it is ready
            complaint = complaints.read()
        if self.answers.read(len(_READY)) != _READY:
            self.end()
            raise IchError(
                f"the reader of compressed and odd DICOM files does not start ({one_line(complaint[-200:].decode())}); "
                "is the installation whole? `make test` tells"
            )

    def ask(self, task: Task, content: bytes) -> Any:
        """The answer, or EOFError, BrokenPipeError if the child died of it."""
        _send(self.questions, (task, content))
        return _receive(self.answers)

    def end(self) -> int:
        """End it, if it has not ended; its exit code."""
        try:
            code = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        for pipe in (self.questions, self.answers):
            with contextlib.suppress(BrokenPipeError):  # closing sends what is still to be sent
                pipe.close()
        return code


_child: _Child | None = None
_one_at_a_time = threading.Lock()


def ask(task: Task, content: bytes) -> Any:
    """What `ich.dicom.full.read_header` (task `header`) or `read` (task `slice`) gives for a file's bytes.

    Raises:
        UnreadableSlice: with the reason; also if the child ran out of time or memory, or crashed.
        CannotRead: the child was ended from without, which says nothing of the file.
        IchError: the child does not start.
    """
    with _one_at_a_time:
        code, answer = _try(task, content)
        if code not in (0, -signal.SIGALRM):  # the system may have ended the child for another's sake: once more
            code, answer = _try(task, content)
    if code:
        raise _reason(code)
    if isinstance(answer, UnreadableSlice):
        raise answer
    return answer


def _try(task: Task, content: bytes) -> tuple[int, Any]:
    """The child's answer after 0; or the code it ended with."""
    global _child
    if _child is None:
        _child = _Child()
        atexit.register(_kill)
    try:
        return 0, _child.ask(task, content)
    except (EOFError, BrokenPipeError, pickle.UnpicklingError):
        child, _child = _child, None
        return child.end() or 1, None
    except BaseException:  # interrupted between question and answer: the next question must not get this answer
        _kill()
        raise


def _kill() -> None:
    global _child
    if _child is not None:
        _child.process.kill()
        _child.end()
        _child = None
        atexit.unregister(_kill)


def _reason(code: int) -> UnreadableSlice:
    """Why there was no answer. A file of which the decoder crashes will crash it again; other ends may be chance."""
    if code == -signal.SIGALRM:
        return UnreadableSlice(f"reading it takes longer than {SECONDS} s (ICH_SECONDS_A_FILE)")
    if -code in _CRASHES:
        return UnreadableSlice(f"reading it ends the decoder ({signal.Signals(-code).name})")
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return CannotRead(f"cannot be read: its reader was ended ({name}; out of memory?)")


def _serve(questions: IO[bytes], answers: IO[bytes], functions: dict[Task, Callable[[bytes], Any]]) -> None:
    """Answer until nobody asks any more."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, whatever it is in
    while True:
        try:
            task, content = _receive(questions)
        except EOFError:
            return
        signal.alarm(SECONDS)
        try:
            answer = functions[task](content)
        except UnreadableSlice as error:
            answer = error
        except MemoryError:
            answer = UnreadableSlice(f"reading it takes more than {MEMORY / 2**30:.0f} GiB of memory")
        except RecursionError:
            answer = UnreadableSlice("damaged DICOM structure: nested too deep")
        signal.alarm(0)
        _send(answers, answer)


def _send(pipe: IO[bytes], thing: Any) -> None:
    content = pickle.dumps(thing, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(_LENGTH.pack(len(content)))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    (length,) = _LENGTH.unpack(_exactly(pipe, _LENGTH.size))
    return pickle.loads(_exactly(pipe, length))


def _exactly(pipe: IO[bytes], length: int) -> bytes:
    content = pipe.read(length)
    if len(content) < length:
        raise EOFError
    return content


def _limit_memory() -> None:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - one line
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what an import or a decoder prints must not get between the answers
    from ich.dicom import full

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    answers.write(_READY)
    answers.flush()
    _serve(sys.stdin.buffer, answers, {"header": full.read_header, "slice": full.read})


if __name__ == "__main__":
    _main()
