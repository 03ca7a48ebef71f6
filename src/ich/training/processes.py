"""Several processes train together, on one machine or on many, joined by JAX's distributed runtime.

Each has its devices and reads its share of every batch (`ich.devices`); all read the same workspace, on storage that
they share, and process 0 alone writes there. They go in step: what one of them computes, all do. If one ends, the
others cannot go on, and stop; started again, all go on after the last epoch that has a checkpoint.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import jax
import numpy as np
from jax.experimental import multihost_utils

from ich.devices import is_first_process
from ich.errors import ConfigError, DataError, IchError, one_line
from ich.remedies import what_to_do
from ich.training.rendezvous import listening_address, meet

_MEET_SECONDS = 300  # that the first process waits for the last one to come
_JOIN_SECONDS = 60  # when all are there
_SILENT_SECONDS = 60  # after which one that says nothing counts as lost

# What JAX's runtimes say where another process is not there any more.
_LOST = ("gloo", "nccl", "coordination", "distributed service", "connection closed", "unavailable")


@dataclass(frozen=True)
class Place:
    """A process among those that train together.

    Attributes:
        coordinator: host and port at which process 0 is to be reached by all: `node1:1234`.
        processes: how many there are, at least 1.
        process: number of this one, from 0.
    """

    coordinator: str
    processes: int
    process: int

    @property
    def host(self) -> str:
        """Of process 0."""
        return self.coordinator.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Of process 0."""
        return int(self.coordinator.rpartition(":")[2])

    @classmethod
    def of(cls, coordinator: str | None, processes: int | None, process: int | None) -> Self:
        """From the command line's options.

        Raises:
            ConfigError: one is missing, or they make no sense.
        """
        given = {"--coordinator": coordinator, "--num-processes": processes, "--process-id": process}
        if coordinator is None or processes is None or process is None:
            missing = next(name for name, value in given.items() if value is None)
            raise ConfigError(
                f"{missing} is missing: processes that train together need --coordinator HOST:PORT, --num-processes "
                "and --process-id"
            )
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise ConfigError(f"--coordinator is {coordinator}; it must be HOST:PORT of process 0, e.g. node1:1234")
        if not 0 <= process < processes:
            raise ConfigError(
                f"--process-id is {process} of --num-processes {processes}; the processes are numbered from 0 to "
                f"{max(processes, 1) - 1}"
            )
        return cls(coordinator, processes, process)


@contextlib.contextmanager
def joined(place: Place, tell: Callable[[str], object]) -> Iterator[None]:
    """For the duration of a block, compute together with the other processes; nothing may have been computed before.

    At its end, all wait for each other. If it raises, the process must end by `os._exit`: at a usual exit JAX would
    wait for the others, for minutes and in vain.

    Args:
        place: of this process.
        tell: takes a line for the user.

    Raises:
        IchError: not all came, they do not fit together, or one of them ended.
    """
    own = f"process {place.process} of {place.processes}"
    tell(f"{own}: waits for the others, up to {_MEET_SECONDS} s; process 0 is to be reached at {place.coordinator}")
    try:
        meet(place.host, place.port, place.processes, place.process, _MEET_SECONDS)
        jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM, and tell nobody
        jax.distributed.initialize(
            place.coordinator, place.processes, place.process, cluster_detection_method="deactivate",
            coordinator_bind_address=f"{_bracketed(listening_address(place.host))}:{place.port}",
            initialization_timeout=_JOIN_SECONDS, heartbeat_timeout_seconds=_SILENT_SECONDS,
        )  # fmt: skip
    except (OSError, RuntimeError, ValueError) as error:
        raise IchError(
            f"{own} could not join at {place.coordinator} ({one_line(error)}); start all of them, with an address of "
            "process 0 that is free there and that each of them can reach"
        ) from error
    try:
        multihost_utils.sync_global_devices("begin")  # connects them: each notices at once if another ends
        yield
        multihost_utils.sync_global_devices("end")
    except (RuntimeError, ValueError) as error:
        if not _is_lost(error):
            raise
        raise IchError(
            "the exchange with the other processes failed: most likely one of them ended, and what it printed last "
            f"says why; start all of them again, and the training goes on after its last checkpoint ({one_line(error)})"
        ) from error


def refuse_disagreement(facts: Mapping[str, str]) -> None:
    """Check that all processes have the same facts, by what they are; every process must ask at the same point.

    Raises:
        DataError: one has another; so in all of them.
    """
    if jax.process_count() == 1:
        return
    own = np.stack([np.frombuffer(hashlib.sha256(fact.encode()).digest(), np.uint8) for fact in facts.values()])
    everyone = np.asarray(multihost_utils.process_allgather(own))
    for name, differs in zip(facts, (everyone != everyone[0]).any(axis=(0, 2)), strict=True):
        if differs:
            raise DataError(
                f"the processes do not agree on {name}; give all of them the same config and version "
                "of ich, and a workspace on storage that they share"
            )


def wait_for_all(what: str) -> None:
    """Return when all processes have come to the point that is called so."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


@contextlib.contextmanager
def first_process_first() -> Iterator[None]:
    """A block that process 0 goes through before the others do, e.g. since it downloads what all of them read."""
    if not is_first_process():
        wait_for_all("process 0 is through")
    yield
    if is_first_process():
        wait_for_all("process 0 is through")


def _is_lost(error: Exception) -> bool:
    """Whether it is an error of the exchange with other processes, and none with a remedy of its own."""
    return what_to_do(error) is None and any(sign in str(error).lower() for sign in _LOST)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
