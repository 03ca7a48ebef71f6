"""What every benchmark needs: times, peak memory, the machine's name."""

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def timed(job: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds by the clock, and what the job returned."""
    start = time.perf_counter()
    result = job()
    return time.perf_counter() - start, result


def peak_gb(process: int | str = "self") -> float:
    """A process's largest resident memory; `getrusage` would count that of the process it was started from, too."""
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e9 for line in status if line.startswith("VmHWM"))


def machine() -> str:
    """Processor and Python."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{model}, Python {platform.python_version()}"


def verdict(reached: bool) -> str:
    """Beside a bar."""
    return "reached" if reached else "MISSED"
