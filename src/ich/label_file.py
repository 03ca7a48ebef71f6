"""The label CSV, where it has a URL or is in a zip file: fetched into the workspace, and again when it has changed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ich.errors import DataError
from ich.files import atomic, read_json, write_json
from ich.sources import archive, remote
from ich.workspace import Workspace


def fetch_labels(workspace: Workspace) -> None:
    """See to it that `workspace.label_csv` is what `data.labels` names now; a file of its own stays where it is.

    Raises:
        DataError: it is not there or cannot be read.
    """
    if not workspace.fetches_labels:
        return
    source, target = str(workspace.config.data.labels), workspace.label_csv
    record, state = target.with_name(f"{target.name}.json"), _state(source)
    if target.is_file() and record.is_file() and _read(record) == state:
        return
    record.unlink(missing_ok=True)  # from here on the file may be of either source
    with atomic(target) as temporary:
        _fetch(source, temporary)
    write_json(record, state)


@contextmanager
def labels_at_hand(workspace: Workspace) -> Iterator[Path]:
    """The label CSV as a file for the duration of a block, without writing into the workspace.

    Raises:
        DataError: as `fetch_labels`.
    """
    if not workspace.fetches_labels:
        yield workspace.label_csv
        return
    with TemporaryDirectory() as folder:
        path = Path(folder, workspace.label_csv.name)
        _fetch(str(workspace.config.data.labels), path)
        yield path


def _state(source: str) -> dict[str, Any]:
    """What tells whether the label CSV is still the one that was fetched. Of a zip file: whether that is."""
    if remote.is_url(source):
        return {"from": source, "state": list(remote.identity(source))}
    path, _ = archive.split(source) or (Path(source), "")
    return {"from": source, "state": [path.stat().st_size, path.stat().st_mtime_ns]}


def _fetch(source: str, target: Path) -> None:
    if remote.is_url(source):
        remote.download(source, target)
    else:
        archive.extract(source, target)


def _read(record: Path) -> Any:
    try:
        return read_json(record)
    except DataError:  # damaged
        return None
