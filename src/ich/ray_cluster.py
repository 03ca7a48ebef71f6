"""Chunks on a Ray cluster: the machines share the workspace, each has `ich` installed, and any of them may die.

The cluster is the one that RAY_ADDRESS names or that `ray start` began here; else one is started, on this machine and
for this machine only, and ended with the step.
"""

import contextlib
import io
import logging
import os
import platform
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from ich import __version__
from ich.chunks import WAITING, one_thread
from ich.errors import IchError, one_line
from ich.interrupts import check, remembered_only

Item = TypeVar("Item")
Do = Callable[[Sequence[Item], Path], int]
TRIES = 5  # of a chunk whose worker died; then it is the chunk that kills workers
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray tells its makers what runs, unless told not to
    "RAY_task_oom_retries": str(TRIES - 1),  # without end by default
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of what it will do one day
}
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # Ray's only switch for it; elsewhere it is meant for firewalls
_PATIENCE = 5  # seconds for a cluster to answer
_OBJECT_STORE = 80 * 2**20  # bytes, the least that Ray takes; results are numbers


def run_on_cluster(
    do: Do[Item], jobs: Iterator[tuple[Sequence[Item], Path]], workers: int, advance: Callable[[int], None]
) -> None:
    """Do all jobs; one whose worker died is done again, on another.

    Args:
        do: does one chunk and writes its part; doing it twice gives the same part.
        jobs: chunks and where their parts go.
        workers: at most so many chunks at a time; 0: one for each core of the cluster.
        advance: told how many items were done.

    Raises:
        IchError: Ray is not installed, its cluster cannot be reached or fails, a machine of it has another `ich` or
            not this folder, or a chunk's workers die again and again.
    """
    # Ray prints what it has to say of dead workers, whatever its logging is set to, and is slow in doing so.
    with remembered_only(), contextlib.redirect_stdout(io.StringIO()), _cluster(workers) as ray:
        try:
            _work(ray, do, jobs, workers, advance)
        except ray.exceptions.RayError as error:
            raised = getattr(error, "cause", error)  # by the work, unless Ray could not even begin with it
            if not isinstance(raised, ray.exceptions.RayError):
                raise raised from error
            raise IchError(f"the Ray cluster failed ({one_line(raised)}); run again to continue") from error


def _work(
    ray: Any, do: Do[Item], jobs: Iterator[tuple[Sequence[Item], Path]], workers: int, advance: Callable[[int], None]
) -> None:
    environment = {"env_vars": {"PYTHONPATH": _source_tree()}}
    task = ray.remote(num_cpus=1, max_retries=TRIES - 1, runtime_env=environment)(_on_worker)
    pending: dict[Any, Path] = {}
    try:
        while True:
            check()
            at_once = workers or int(ray.cluster_resources().get("CPU", 1)) * (1 + WAITING)  # machines come and go
            new = islice(jobs, max(0, at_once - len(pending)))
            pending |= {task.remote(do, chunk, part, Path.cwd(), __version__): part for chunk, part in new}
            if not pending:
                return
            done, _ = ray.wait(list(pending), timeout=1)  # once a second, for Ctrl-C
            for reference in done:
                advance(_result(ray, reference, pending.pop(reference)))
    finally:
        for reference in pending:
            ray.cancel(reference, force=True)


def _source_tree() -> str:
    """Where workers import from: this very `ich`, if their machine has it in the same place; else what it has."""
    return os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))


def _result(ray: Any, reference: Any, part: Path) -> int:
    died = (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError)
    try:
        return int(ray.get(reference))
    except died as error:
        raise IchError(
            f"a worker process died, {TRIES} times, in chunk {part.name} of {part.parent} (out of memory?); run again "
            "to continue, with fewer workers"
        ) from error


def _on_worker(do: Do[Item], chunk: Sequence[Item], part: Path, folder: Path, version: str) -> int:
    """One chunk, where and as the driver would do it."""
    host = platform.node()
    if version != __version__:
        raise IchError(f"ich on {host} is {__version__}, here {version}; install the same on all machines")
    try:
        os.chdir(folder)  # paths of the config are relative to where the command was given
    except OSError as error:
        raise IchError(f"{host} has no folder {folder}; call ich in a folder that all machines share") from error
    if not part.parent.is_dir():
        raise IchError(f"{host} has no folder {part.parent}; the workspace must be one that all machines share")
    one_thread()
    return do(chunk, part)


@contextlib.contextmanager
def _cluster(workers: int) -> Iterator[Any]:
    """The ray module, connected until the block ends, and with it a cluster that was started for it.

    Raises:
        IchError: Ray is not installed, or there is no such cluster.
    """
    address = _address()
    ray = _import_ray(own=address is None)
    if ray.is_initialized():  # by who called us, and who has use for it yet
        yield ray
        return
    with TemporaryDirectory(prefix="ich-ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:  # short: for sockets
        own = {"num_cpus": workers or None, "object_store_memory": _OBJECT_STORE, "_temp_dir": folder}
        try:
            _connect(ray, address or "local", **({} if address else own))
            yield ray
        finally:
            ray.shutdown()  # ends what init started, and leaves what was there


def _address() -> str | None:
    """Of the cluster that is there; None: there is none.

    Raises:
        IchError: nothing answers at that address, where Ray would try for minutes.
    """
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    begun_here = Path(folder, "ray", "ray_current_cluster")  # `ray start` writes it, `ray stop` removes it
    address = os.environ.get("RAY_ADDRESS") or (begun_here.read_text().strip() if begun_here.is_file() else "local")
    if address == "local":
        return None
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, ValueError) as error:
        raise _no_cluster(address, error) from error
    return address


def _import_ray(own: bool) -> Any:
    """The ray module, which reads its settings as it is imported, and hands them on to the processes that it starts."""
    os.environ.update(_ENVIRONMENT | (_LOOPBACK if own else {}))
    if Path("~/.ray/auth_token").expanduser().exists():  # then `ray start` asks for it, but Ray's programs need telling
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError as error:
        raise IchError("executor is ray, which is not installed; pip install -e '.[ray]'") from error
    return ray


def _connect(ray: Any, address: str, **own: Any) -> None:
    on_stop = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise _no_cluster(address, error) from error
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread, where Ray leaves signals alone too
            signal.signal(signal.SIGTERM, on_stop)


def _no_cluster(address: str, error: Exception) -> IchError:
    return IchError(
        f"no Ray cluster at {address} ({one_line(error)}); start one with `ray start --head`, or, for one of this "
        "command's own, unset RAY_ADDRESS and call `ray stop`"
    )
