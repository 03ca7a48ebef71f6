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

from ich.errors import UnreadableSlice

Task = Literal["header", "slice"]
SECONDS = int(os.environ.get("ICH_SECONDS_A_FILE", "60"))  # an ordinary file takes a few milliseconds
MEMORY = 2**30  # bytes that a file may need on top of the program: 16 times the largest slice that we take

_LENGTH = struct.Struct("<Q")


class _Child:
    """The process, started when it is first needed."""

    def __init__(self) -> None:
        # Few threads: each that a library starts reserves memory, which is limited.
        environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ich.dicom.isolated"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env=environment, start_new_session=True,
        )  # fmt: skip

    def ask(self, task: Task, content: bytes) -> Any:
        """The answer, or EOFError, BrokenPipeError if the child died of it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        _send(self.process.stdin, (task, content))
        return _receive(self.process.stdout)

    def end(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):  # closing sends what is still to be sent
                if pipe is not None:
                    pipe.close()
        self.process.wait()


_child: _Child | None = None
_one_at_a_time = threading.Lock()


def ask(task: Task, content: bytes) -> Any:
    """What `ich.dicom.full.read_header` (task `header`) or `read` (task `slice`) gives for a file's bytes.

    Raises:
        UnreadableSlice: with the reason; also if the child ran out of time or memory, or crashed.
    """
    with _one_at_a_time:
        code, answer = _try(task, content)
        if code not in (0, -signal.SIGALRM):  # the system may have ended the child for another's sake: once more
            code, answer = _try(task, content)
    if code:
        raise UnreadableSlice(_reason(code))
    if isinstance(answer, UnreadableSlice):
        raise answer
    return answer


def _try(task: Task, content: bytes) -> tuple[int, Any]:
    """The child's answer after 0; or the code it ended with."""
    global _child
    if _child is None:
        _child = _Child()
        atexit.register(_end)
    try:
        return 0, _child.ask(task, content)
    except (EOFError, BrokenPipeError, pickle.UnpicklingError):
        code = _child.process.wait()
        _end()
        return code or 1, None
    except BaseException:  # interrupted between question and answer: the next question must not get this answer
        _end()
        raise


def _end() -> None:
    global _child
    if _child is not None:
        _child.end()
        _child = None
        atexit.unregister(_end)


def _reason(code: int) -> str:
    if code == -signal.SIGALRM:
        return f"reading it takes longer than {SECONDS} s"
    return f"reading it ends the decoder ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"


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
    from ich.dicom import full

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints must not get between the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    _serve(sys.stdin.buffer, answers, {"header": full.read_header, "slice": full.read})


if __name__ == "__main__":
    _main()
