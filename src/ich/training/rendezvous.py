"""All processes meet before JAX joins them: JAX ends a process, with a page of stack trace, if one does not come.

Process 0 listens; each of the others says who it is, and is told `come` when all are there. Then the port is free
again, for JAX's own service.
"""

import contextlib
import ipaddress
import select
import socket
import time
from collections.abc import Iterator

from ich import __version__
from ich.errors import IchError, one_line, visible

_HELLO = "ich"
_COME = b"come\n"


def meet(host: str, port: int, processes: int, process: int, seconds: float) -> None:
    """Return when all processes are there.

    Args:
        host: of process 0, as the others reach it.
        port: of process 0, where nothing may listen yet.
        processes: how many there are.
        process: number of this one.
        seconds: to wait at most.

    Raises:
        IchError: not all came in time, two have the same number, another number of processes, or another version.
    """
    end = time.monotonic() + seconds
    if process == 0:
        _host(host, port, processes, end)
    else:
        _visit(host, port, f"{_HELLO} {__version__} {processes} {process}\n", end)


def _host(host: str, port: int, processes: int, end: float) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listen(host, port))
        came: dict[int, socket.socket] = {}
        while len(came := _still_there(came)) < processes - 1:
            listener.settimeout(max(0.1, end - time.monotonic()))
            try:
                visitor = stack.enter_context(listener.accept()[0])
            except TimeoutError as error:
                missing = sorted(set(range(1, processes)) - set(came))
                raise IchError(
                    f"process {', '.join(map(str, missing))} of {processes} did not come in time; start all of them, "
                    f"each with --coordinator HOST:{port} of process 0 and a number of its own"
                ) from error
            visitor.settimeout(10)
            with contextlib.suppress(OSError, ValueError):  # whoever else knocks at the port
                hello, version, count, number = _line(visitor).split()
                if hello != _HELLO:
                    continue
                came = _still_there(came)
                answer = _refusal(version, int(count), int(number), processes, set(came))
                if answer is None:
                    came[int(number)] = visitor
                    continue
                visitor.sendall(answer.encode() + b"\n")
                raise IchError(answer)
        for visitor in came.values():
            with contextlib.suppress(OSError):
                visitor.sendall(_COME)
                visitor.recv(1)  # they close first, so that no port of ours has to wait


def listening_address(host: str) -> str:
    """Where process 0 listens: on all of its addresses; on loopback only, where that is what the others are told.

    Raises:
        OSError: the host is not known.
    """
    address = str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    return address if ipaddress.ip_address(address).is_loopback else "::"


def _listen(host: str, port: int) -> socket.socket:
    address = listening_address(host)
    if ":" in address:
        return socket.create_server((address, port), family=socket.AF_INET6, dualstack_ipv6=address == "::")
    return socket.create_server((address, port))


def _visit(host: str, port: int, hello: str, end: float) -> None:
    while True:
        try:
            with socket.create_connection((host, port), timeout=5) as coordinator:
                coordinator.settimeout(max(0.1, end - time.monotonic()))
                coordinator.sendall(hello.encode())
                answer = _line(coordinator)
        except OSError as error:
            if time.monotonic() > end:
                raise IchError(
                    f"process 0 is not to be reached at {host}:{port} ({one_line(error)}); start it, and give each "
                    "process its address"
                ) from error
            time.sleep(0.5)
            continue
        if answer == _COME.decode().strip():
            return
        raise IchError(visible(answer) or f"process 0 at {host}:{port} ended, or something else listens there")


def _refusal(version: str, count: int, number: int, processes: int, came: set[int]) -> str | None:
    """Why a process cannot take part; None if it can."""
    if version != __version__:
        return f"process {number} is of ich {version}, process 0 of {__version__}; give all of them the same version"
    if count != processes:
        return f"process {number} was started as one of {count}, process 0 of {processes}; give all of them the same"
    if number in came or not 0 < number < processes:
        return f"two processes have --process-id {number}; give each a number of its own, from 0 to {processes - 1}"
    return None


def _still_there(came: dict[int, socket.socket]) -> dict[int, socket.socket]:
    """Those whose end is still open: they say nothing while they wait, so one that can be read was closed."""
    closed, _, _ = select.select([*came.values()], [], [], 0)
    return {number: visitor for number, visitor in came.items() if visitor not in closed}


def _line(connection: socket.socket) -> str:
    """What comes up to the end of a line, or of the connection; at most 1,000 bytes."""
    received = bytearray()
    for byte in _bytes(connection):
        if byte == b"\n":
            break
        received += byte
    return received.decode("utf-8", "replace")


def _bytes(connection: socket.socket) -> Iterator[bytes]:
    for _ in range(1_000):
        byte = connection.recv(1)
        if not byte:
            return
        yield byte
