"""Have a workspace to oneself: it must be ours, with no way out of it, and no other command may work in it."""

import contextlib
import errno
import fcntl
import os
import platform
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from ich.config import Experiment
from ich.errors import DataError
from ich.workspace import Workspace, remove_half_written

_ATTEMPTS = 3


@contextlib.contextmanager
def claimed(config: Experiment, *others: Experiment) -> Iterator[None]:
    """Have the workspace to ourselves for the duration of a block.

    Args:
        config: whose workspace it is.
        others: other runs in the same workspace, into whose folders the block writes too.

    Raises:
        DataError: it holds what is not ours, or a link that leads out of it, or another command works in it.
    """
    workspace = Workspace(config)
    _refuse_foreign(workspace)
    workspaces = [workspace, *map(Workspace, others)]
    for each in workspaces:
        _refuse_ways_out(each)
    workspace.records.mkdir(parents=True, exist_ok=True)
    path = workspace.records / ".lock"
    lock = _open_lock(path)
    try:
        if _take_lock(lock, workspace):
            for each in workspaces:
                remove_half_written(each)
        _sign(lock, path)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.truncate(lock, 0)  # who has it next for an instant must not be taken for us
    finally:
        os.close(lock)


def holder(workspace: Workspace) -> str | None:
    """Who works in the workspace now (`process 12 on host, since ...`); None if nobody does, or nobody can tell."""
    try:
        lock = os.open(workspace.records / ".lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _signature(lock)
    except OSError:
        return None
    finally:
        os.close(lock)
    return None


def _refuse_foreign(workspace: Workspace) -> None:
    """Steps clear and rename folders of the workspace, so they work only in one that is new, empty or ours."""
    root = workspace.root
    if (root.exists() or root.is_symlink()) and not root.is_dir():
        raise DataError(f"workspace {root} is not a folder; choose another")
    if root.is_dir() and any(root.iterdir()) and not workspace.records.is_dir():
        raise DataError(
            f"workspace {root} holds files that are not ours; choose a new folder, or make an empty folder records in "
            "it to say that what is there may be replaced"
        )


def _refuse_ways_out(workspace: Workspace) -> None:
    """A folder of ours that is a link would let us clear or fill what is not ours; the whole workspace may be one.

    Files need no such care: they are replaced, never written through.
    """
    root = workspace.root.resolve()
    for folder in workspace.folders:
        if folder.is_symlink() and not folder.resolve().is_relative_to(root):
            raise DataError(
                f"{folder} is a link that leads out of the workspace, where nothing may be changed; remove the link "
                "(a workspace as a whole may lie elsewhere: choose another --workspace, or link that)"
            )


def _open_lock(path: Path) -> int:
    """The lock file, open; it is written in place, so it must be a file of ours, and no link to another."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise DataError(f"{path} is a link, and would be written through; remove it") from error
    status = os.fstat(lock)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(lock)
        raise DataError(f"{path} is no file of its own (a pipe, or a second name of another file); remove it")
    return lock


def _take_lock(lock: int, workspace: Workspace) -> bool:
    """Whether the workspace is ours alone; False on a file system without locks, where nobody can tell.

    Raises:
        DataError: another command has it.
    """
    for attempt in reversed(range(_ATTEMPTS)):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if not attempt:
                raise DataError(
                    f"another command works in workspace {workspace.root} ({_signature(lock)}); wait until it ends, or "
                    "choose another --workspace"
                ) from error
            time.sleep(0.02)  # `holder` has it for an instant
        except OSError:
            return False
        else:
            return True
    return False


def _signature(lock: int) -> str:
    return os.pread(lock, 1000, 0).decode("utf-8", "replace").strip() or "one that has just started"


def _sign(lock: int, path: Path) -> None:
    """Say who works here, for those who come meanwhile."""
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    text = f"process {os.getpid()} on {platform.node()}, since {now}\n"
    try:
        os.truncate(lock, os.pwrite(lock, text.encode(), 0))  # in this order: not emptied by who signs
    except OSError as error:  # a full disk
        error.filename = str(path)
        raise
