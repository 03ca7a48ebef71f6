"""Chunks on a Ray cluster: the machines share the workspace, each has `ich` installed, and any of them may die."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from ich.errors import IchError, one_line

Item = TypeVar("Item")
TRIES = 5  # of a chunk whose worker died; then the chunk kills workers
_WAITING = 2  # chunks for each worker, beside the one that it has


def run_on_cluster(
    do: Callable[[Sequence[Item], Path], int],
    jobs: Iterator[tuple[Sequence[Item], Path]],
    workers: int,
    advance: Callable[[int], None],
) -> None:
    """Do all jobs; one whose worker died is done again, on another.

    Args:
        do: does one chunk and writes its part; doing it twice gives the same part.
        jobs: chunks and their parts.
        workers: at most so many chunks at a time; 0: one for each core of the cluster.
        advance: told how many items were done.

    Raises:
        IchError: Ray is not installed, its cluster cannot be reached, or a chunk's workers die again and again.
    """
    ray = _connect()
    task = ray.remote(num_cpus=1, max_retries=TRIES)(_on_worker)
    at_once = workers or int(ray.cluster_resources().get("CPU", 1))
    pending: list[Any] = []
    try:
        while True:
            jobs_now = islice(jobs, at_once * (1 if workers else 1 + _WAITING) - len(pending))
            pending += [task.remote(do, chunk, part, Path.cwd()) for chunk, part in jobs_now]
            if not pending:
                return
            done, pending = ray.wait(pending, timeout=1)  # once a second, for Ctrl-C
            advance(sum(ray.get(done)))
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from None
    except ray.exceptions.RayError as error:
        raise IchError(f"the Ray cluster failed ({one_line(error)}); run again to continue") from error
    finally:
        for reference in pending:
            ray.cancel(reference, force=True)


def _on_worker(do: Callable[[Sequence[Item], Path], int], chunk: Sequence[Item], part: Path, folder: Path) -> int:
    from ich.chunks import one_thread

    os.chdir(folder)  # paths of the config are relative to where the command was given
    one_thread()
    return do(chunk, part)


def _connect() -> Any:
    """The ray module, connected: to the cluster that RAY_ADDRESS names, or that runs here; else to a new one here."""
    try:
        import ray
    except ImportError as error:
        raise IchError("executor is ray, which is not installed; pip install -e '.[ray]'") from error
    if ray.is_initialized():
        return ray
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray.init(
            address=os.environ.get("RAY_ADDRESS"), include_dashboard=False, log_to_driver=False,
            logging_level=logging.ERROR, configure_logging=True,
        )  # fmt: skip
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise IchError(f"no Ray cluster ({one_line(error)}); start one with `ray start --head`") from error
    return ray
