"""Start `ich` as a user does, in processes of its own; kill it with all that it started; watch the memory of all."""

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import psutil

from ich import chunks
from ich.cli import run_command

# `ich`, with chunks of another size; it says when it has loaded what the step needs: killing imports tests nothing.
LAUNCH = (
    "import importlib, sys; from ich import chunks; chunks.CHUNK = int(sys.argv.pop(1)); "
    "importlib.import_module(sys.argv.pop(1)); from ich.cli import run_command; "
    "print(flush=True); sys.exit(run_command(sys.argv[1:]))"
)
MODULES = {
    "phantom": "ich.phantom.dataset", "datacard": "ich.datacard.datacard", "run": "ich.stages",
    "train": "ich.training.train",
}  # fmt: skip
MINUTES = 60


@dataclass
class Peaks:
    """Highest resident memory of any process, bytes, by kind."""

    main: int = 0
    worker: int = 0
    decoder: int = 0


@dataclass
class Command:
    """A command that runs."""

    process: subprocess.Popen[str]
    began: float
    peaks: Peaks = field(default_factory=Peaks)

    def wait(self, seconds: float = 10 * MINUTES) -> tuple[int, str, float]:
        """Exit code, what it said, and how long it took, s."""
        try:
            said = self.process.communicate(timeout=seconds)[1]
        finally:
            self.kill()
        return self.process.returncode, said, time.monotonic() - self.began

    def wait_and_watch(self, seconds: float = 10 * MINUTES) -> tuple[int, str, float]:
        """As `wait`, with an eye on the memory of every process."""
        watching = threading.Thread(target=self._watch)
        watching.start()
        try:
            return self.wait(seconds)
        finally:
            watching.join()

    def kill(self, alone: bool = False) -> bool:
        """Kill it, its workers and their decoders at once, or it alone; whether it was still running."""
        running = self.process.poll() is None
        everyone = tree(self.process.pid) if running and not alone else []
        self.process.kill()
        if not alone:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        for each in everyone:  # decoders have a process group of their own
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        while any(_runs(each) for each in everyone):
            time.sleep(0.01)
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return running

    def _watch(self) -> None:
        while self.process.poll() is None:
            for each in tree(self.process.pid):
                _note_peak(each, self.process.pid, self.peaks)
            time.sleep(0.05)


def start(arguments: list[str], cwd: Path, chunk: int = 256, **environment: str) -> Command:
    """Start a command; returns when it has loaded."""
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(chunk), _module(arguments), *arguments], cwd=cwd,
        env=os.environ | environment, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    return Command(process, time.monotonic())


def run(arguments: list[str], cwd: Path, chunk: int = 256, **environment: str) -> tuple[int, str, float]:
    """Run a command to its end: exit code, what it said, seconds."""
    return start(arguments, cwd, chunk, **environment).wait()


def run_here(arguments: list[str], cwd: Path, chunk: int = 256) -> tuple[int, str, float]:
    """As `run`, in this process, which has everything loaded; what it said goes to where the test's output goes."""
    importlib.import_module(_module(arguments))
    began = time.monotonic()
    with contextlib.chdir(cwd), mock.patch.object(chunks, "CHUNK", chunk):
        return run_command(arguments), "", time.monotonic() - began


def _runs(process: psutil.Process) -> bool:
    """Whether it can still do something: a zombie, which the system may keep for seconds, cannot."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _module(arguments: list[str]) -> str:
    return MODULES.get(arguments[0], f"ich.prepare.{arguments[0]}")


def tree(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _note_peak(process: psutil.Process, main: int, peaks: Peaks) -> None:
    try:
        words = process.cmdline()
        if process.pid != main and words == psutil.Process(main).cmdline():
            return  # just started, and not yet a program of its own: its memory is still its parent's
        status = Path(f"/proc/{process.pid}/status").read_text()
    except (OSError, psutil.Error):
        return
    highest = [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")]
    kind = "main" if process.pid == main else "decoder" if "ich.dicom.isolated" in words else "worker"
    setattr(peaks, kind, max(getattr(peaks, kind), *highest, 0))
