"""Preparation of many files: processes, memory, headers alone, copies; and what larger sets would cost.

    python -m benchmarks.scale [--files N] [--indexed N]

The files are hard links to 1,000 phantom slices of the competition's size, under names of their own: to the steps
they are many files, to the disk's cache they are few. So these figures are of the computation; a disk or network that
is slower than 500 MB/s a core would be what limits. Commands run as `ich` runs them, each in processes of its own.

- `ich preprocess` of --files (default 20,000) files with one process and with two, in turn, three times, its images
  written to memory (/dev/shm), so that the disk's moods do not count; and once each to the disk; beside them, what the
  machine itself gives: two commands of one process each at once, which share nothing, and do twice the work;
- peak memory of the process that hands out the work, and of the largest worker, at 1,000 and at 100,000 files;
- `ich index` of --indexed (default 50,000) files, and what 752,803 would take; with hashes of the pixels, of --files;
- `ich copy` of 5,000 files beside `cp` of the same, one and as many at a time as there are cores, and `cat` of all of
  them into one file, which is what the disk takes, in turn, three times, until all of it is on the disk;
- computed from these: index with hashes, and step 3, of 55,297, 752,803 and 100 million slices on 2, 32 and 320 cores.
"""

import argparse
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.competition import SLICES
from benchmarks.measure import machine, peak_gb, verdict
from ich.config.read import validate
from ich.labels import LABELS
from ich.phantom.dataset import folder as phantom_folder
from ich.phantom.dataset import phantom
from ich.workspace import Workspace

LINKED, COPIED = 1_000, 5_000
SPEED_UP, MEGABYTES, CORE_MINUTES = 1.8, 400, 8
CORES = (2, 32, 320)  # of the computed costs


class Took(NamedTuple):
    """What a command took.

    Attributes:
        wall: seconds by the clock.
        cpu: seconds of CPU of all its processes.
        first_cpu: of these, the process's that was started, which hands out the work.
        first_peak: peak memory of that process, MB.
        worker_peak: of the largest of the others, MB; 0 without any.
    """

    wall: float
    cpu: float
    first_cpu: float
    first_peak: float
    worker_peak: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--indexed", type=int, default=50_000)
    options = parser.parse_args()
    table = Table("what", "figure", "bar", title_justify="left")
    table.title = f"hard links to {LINKED:,} phantom slices, {os.cpu_count()} cores of {machine()}"
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory(dir=in_memory) as memory:
        bench = Bench(Path(name), Path(memory))
        bench.processes(options.files, table)
        bench.headers(options.indexed, table)
        bench.hashes(options.files, table)
        bench.copies(table)
        bench.peaks(table)
        costs = bench.costs()
    Console().print(table)
    Console().print(costs)


class Bench:
    """Phantoms in a folder, and commands over links to them."""

    def __init__(self, root: Path, memory: Path) -> None:
        self.root, self.memory = root, memory
        self.slice_ms = self.hash_ms = self.first_ms = self.first_kb = self.core = 0.0  # measured, for `costs`
        config = validate({
            "workspace": str(root / "phantom"), "steps": ["phantom"],
            "phantom": {"patients": LINKED // 25 + 1, "quirks": False, "masks": False},
        }, "benchmark")  # fmt: skip
        phantom(config)
        self.slices = sorted(phantom_folder(Workspace(config)).iterdir())[:LINKED]

    def processes(self, files: int, table: Table) -> None:
        self.link(files)
        one, two, apart = [], [], []
        for _ in range(3):
            one.append(self.run("preprocess", files, workers=1, to=self.memory))
            two.append(self.run("preprocess", files, workers=2, to=self.memory))
            apart.append(self.two_at_once(files))
        disk = [self.run("preprocess", files, workers=workers).wall for workers in (1, 2)]
        ratios = sorted(a.wall / b.wall for a, b in zip(one, two, strict=True))
        given = sorted(2 * a.wall / b for a, b in zip(one, apart, strict=True))
        best = [min(took.wall for took in each) for each in (one, two)]
        cpu = self.slice_ms = 1000 * min(took.cpu for took in one) / files
        self.core = ratios[1] / 2
        table.add_row(f"ich preprocess, {files:,} files, one process", f"{best[0]:.1f} s, {cpu:.2f} ms CPU a file", "")
        table.add_row(
            "the same, two processes", f"{best[1]:.1f} s; {ratios[1]:.2f} times one (three pairs: {_list(ratios)})",
            f"{SPEED_UP}: {verdict(ratios[1] >= SPEED_UP)}",
        )  # fmt: skip
        table.add_row(
            "what the machine gives: two commands of one process at once, twice the work",
            f"{min(apart):.1f} s; {given[1]:.2f} times one ({_list(given)}); ours: {ratios[1] / given[1]:.0%} of it",
            "",
        )  # fmt: skip
        table.add_row(
            "one and two processes, images to the disk",
            f"{disk[0]:.1f} and {disk[1]:.1f} s: {disk[0] / disk[1]:.2f} times",
            "",
        )

    def peaks(self, table: Table) -> None:
        took = []
        for files in (1_000, 100_000):
            self.link(files)
            took.append(self.run("preprocess", files, workers=2))
        few, many = took
        self.first_ms = 1000 * (many.first_cpu - few.first_cpu) / 99_000
        self.first_kb = 1000 * (many.first_peak - few.first_peak) / 99_000
        largest = max(few.first_peak, few.worker_peak, many.first_peak, many.worker_peak)
        table.add_row(
            "peak memory of the largest worker, 1,000 and 100,000 files",
            f"{few.worker_peak:.0f} and {many.worker_peak:.0f} MB", f"{MEGABYTES} MB: {verdict(largest <= MEGABYTES)}",
        )  # fmt: skip
        table.add_row(
            "of the process that hands out the work", f"{few.first_peak:.0f} and {many.first_peak:.0f} MB: "
            f"{self.first_kb:.2f} kB and {self.first_ms:.3f} ms of CPU a file", "",
        )  # fmt: skip

    def costs(self) -> Table:
        """Hours and minutes, from this run's figures; a core counts what each of two did here."""
        table = Table("computed, not run: slices", *(f"{cores} cores" for cores in CORES))
        for slices in (55_297, SLICES, 100_000_000):
            seconds = [
                slices / 1000 * ((self.hash_ms + self.slice_ms) / cores / self.core + 2 * self.first_ms)
                for cores in CORES
            ]
            table.add_row(f"{slices:,}", *map(_duration, seconds))
        table.caption = (
            f"index with hashes {self.hash_ms:.2f} ms, step 3 {self.slice_ms:.2f} ms, {self.first_ms:.3f} ms for each "
            f"in the one process that hands out the work; a core counts {self.core:.2f}"
        )
        return table

    def headers(self, files: int, table: Table) -> None:
        self.link(files)
        took = self.run("index", files, workers=0)
        minutes = took.cpu / files * SLICES / 60
        table.add_row(
            f"ich index, {files:,} files", f"{took.wall:.1f} s, {1000 * took.cpu / files:.2f} ms CPU a file", ""
        )
        table.add_row(
            f"from that, {SLICES:,} files", f"{minutes:.1f} core-minutes",
            f"{CORE_MINUTES}: {verdict(minutes <= CORE_MINUTES)}",
        )  # fmt: skip

    def hashes(self, files: int, table: Table) -> None:
        took = self.run("index", files, workers=1, settings="index: {hash: true}\n")
        self.hash_ms = 1000 * took.cpu / files
        table.add_row(f"ich index with hashes of the pixels, {files:,} files", f"{self.hash_ms:.2f} ms CPU a file", "")

    def copies(self, table: Table) -> None:
        """What is read is in memory, what is written are files of their own."""
        self.link(COPIED)
        source = self.root / f"dicom{COPIED}"
        commands = {
            "cp -r": f"cp -r --preserve=timestamps {source} TARGET",
            f"{os.cpu_count()} cp at a time": f"find {source} -type f | xargs -P{os.cpu_count()} -n100 "
            "cp --preserve=timestamps -t TARGET",
            "cat into one file": f"find {source} -type f | xargs -n100 cat > TARGET/all",
        }
        ours: list[Took] = []
        theirs: dict[str, list[Took]] = {name: [] for name in commands}
        for _ in range(3):  # the start of Python, and reading the table of slices, count against ours
            ours.append(self.run("copy", COPIED, workers=0))
            for name, command in commands.items():
                target = self.root / "cp"
                target.mkdir()
                theirs[name].append(measured(["sh", "-c", command.replace("TARGET", str(target))], to_disk=True))
                shutil.rmtree(target)
        size = COPIED * self.slices[0].stat().st_size / 1e9
        for name, each in {"ich copy": ours, **theirs}.items():
            best, ratios = min(each), sorted(a.wall / b.wall for a, b in zip(ours, each, strict=True))
            table.add_row(
                f"{name}, {COPIED:,} files, {size:.1f} GB", f"{best.wall:.1f} s, {size / best.wall:.2f} GB/s, CPU "
                f"{best.cpu:.1f} s", "" if each is ours else f"ich copy takes {ratios[1]:.2f} of it ({_list(ratios)})",
            )  # fmt: skip

    def link(self, files: int) -> None:
        """A folder with so many links, and their label CSV."""
        folder = self.root / f"dicom{files}"
        if folder.is_dir():
            return
        folder.mkdir()
        with (self.root / f"labels{files}.csv").open("w") as labels:
            labels.write("ID,Label\n")
            for number in range(files):
                name = f"ID_{number:09x}"
                os.link(self.slices[number % len(self.slices)], folder / f"{name}.dcm")
                labels.writelines(f"{name}_{label},0\n" for label in LABELS)

    def two_at_once(self, files: int) -> float:
        """Seconds until both of two commands of one process each have ended."""
        commands = [self.prepared("preprocess", files, 1, self.memory / f"workspace{number}") for number in (1, 2)]
        with ThreadPoolExecutor(2) as pool:
            wall = max(took.wall for took in pool.map(measured, commands))
        for number in (1, 2):
            shutil.rmtree(self.memory / f"workspace{number}")
        return wall

    def run(self, step: str, files: int, workers: int, to: Path | None = None, settings: str = "") -> Took:
        """A step of the whole folder in a new workspace; only the step is measured."""
        command = self.prepared(step, files, workers, (to or self.root) / "workspace", settings)
        return measured(command, to_disk=step == "copy")

    def prepared(self, step: str, files: int, workers: int, workspace: Path, settings: str = "") -> list[str]:
        """The command of a step, all steps before which have run in a new workspace."""
        shutil.rmtree(workspace, ignore_errors=True)
        config = self.root / f"{workspace.name}.yaml"
        config.write_text(
            f"workspace: {workspace}\nsteps: [index, sample, copy, preprocess]\n"
            f"data: {{labels: {self.root}/labels{files}.csv, dicom: {self.root}/dicom{files}}}\n"
            "sample: {scope: all, per_label: 0, negatives: 0}\n"
            f"copy: {{mode: {'copy' if step == 'copy' else 'none'}}}\npreprocess: {{workers: {workers}}}\n{settings}"
        )
        command = [sys.executable, "-m", "ich"]
        if step != "index":
            subprocess.run([*command, "sample", "-c", config], check=True, capture_output=True)
        return [*command, step, "-c", str(config)]


def measured(command: list[str], *, to_disk: bool = False) -> Took:
    """Run a command and watch its processes; `to_disk`: until all that it wrote is on the disk."""
    if to_disk:
        os.sync()  # what others wrote before is not its burden
    start, before, watched = time.perf_counter(), _cpu_of_children(), Watched()
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    thread = threading.Thread(target=watched.watch, args=(process,))
    thread.start()
    _, message = process.communicate()
    if to_disk:
        os.sync()
    wall = time.perf_counter() - start
    thread.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {message.decode()}")
    peak = watched.peak.copy()
    first = peak.pop(process.pid, 0.0)
    return Took(wall, _cpu_of_children() - before, watched.first_cpu, first, max(peak.values(), default=0.0))


def _cpu_of_children() -> float:
    """CPU seconds of all processes that ended and were waited for, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Watched:
    """Peak memory, MB, of a process and those it started, and its own CPU seconds, looked at ten times a second."""

    def __init__(self) -> None:
        self.peak: dict[int, float] = {}
        self.first_cpu = 0.0

    def watch(self, process: psutil.Popen) -> None:
        while process.poll() is None:
            for each in (process, *_children(process)):
                self._look(each)
            with contextlib.suppress(psutil.Error):
                used = process.cpu_times()  # its own, without those that it waited for
                self.first_cpu = used.user + used.system
            time.sleep(0.1)

    def _look(self, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.Error, OSError, StopIteration):  # it has just ended
            self.peak[process.pid] = 1000 * peak_gb(process.pid)


def _children(process: psutil.Popen) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes >= 120:
        return f"{minutes / 60:.1f} h"
    return f"{minutes:.1f} min" if minutes >= 2 else f"{seconds:.0f} s"


def _list(ratios: list[float]) -> str:
    return ", ".join(f"{ratio:.2f}" for ratio in ratios)


if __name__ == "__main__":
    main()
