"""A real object store, on loopback."""

import logging
import sys
import time
from importlib.util import find_spec

import pytest

from ich.dicom.read import HEADER_BYTES, CannotRead
from ich.errors import DataError
from ich.prepare.index import index_chunk
from ich.sources import list_files, read_file, read_files
from ich.sources.file import SourceFile

needs_store = pytest.mark.skipif(
    not (find_spec("s3fs") and find_spec("moto")), reason="s3fs or moto is not installed: pip install -e '.[dev]'"
)


@pytest.fixture(scope="module")
def server():
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """Made-up credentials, none of the user's own settings, and no service of a cloud to ask."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    settings = {"AWS_ACCESS_KEY_ID": "made", "AWS_SECRET_ACCESS_KEY": "up", "AWS_DEFAULT_REGION": "us-east-1"}
    settings |= {"AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    for name, value in (settings | {"AWS_EC2_METADATA_DISABLED": "true"}).items():
        monkeypatch.setenv(name, value)
    yield monkeypatch
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(server, environment, tmp_path):
    """An empty bucket, as fsspec sees it."""
    import fsspec

    environment.setenv("AWS_ENDPOINT_URL", server)
    store = fsspec.filesystem("s3", use_listings_cache=False)
    if store.exists("data"):
        store.rm("data", recursive=True)
    store.mkdir("data")
    return store


@needs_store
def test_a_store_gives_what_a_folder_gives(prepared_from, planted_dataset, tmp_path, bucket):
    (tmp_path / "dicom" / f"{planted_dataset[5]}.dcm").write_bytes(b"")
    bucket.put(str(tmp_path / "dicom"), "data/rsna/stage_2_train", recursive=True)
    bucket.put(str(tmp_path / "labels.csv"), "data/rsna/labels.csv")
    folder = prepared_from(str(tmp_path / "dicom"))
    assert prepared_from("s3://data/rsna/stage_2_train", "s3://data/rsna/labels.csv") == folder
    assert prepared_from(f"file://{tmp_path}/dicom") == folder
    copied = prepared_from("s3://data/rsna", mode="copy")
    assert copied == folder


@needs_store
def test_several_places_at_once(small_dataset, tmp_path, bucket):
    for place in ("data", "data2"):
        if not bucket.exists(place):
            bucket.mkdir(place)
    first, second = (tmp_path / "dicom" / f"{image_id}.dcm" for image_id in small_dataset[:2])
    bucket.put(str(first), f"data/{first.name}")
    bucket.put(str(second), f"data2/{second.name}")
    first.unlink()
    second.unlink()
    files = list_files([str(tmp_path / "dicom"), "s3://data", "s3://data2"])
    assert [file.image_id for file in files] == small_dataset
    assert all(isinstance(content, bytes) for _, content in read_files(files))
    bucket.pipe(f"data2/{first.name}", b"again")
    with pytest.raises(DataError, match=f"two files have the name of one slice, s3://data/{first.name}"):
        list_files(["s3://data", "s3://data2"])


def test_large_files_are_asked_for_few_at_a_time(monkeypatch):
    asked = []

    def fetch(files, limit):
        asked.append(sum(file.size for file in files))
        return [b""] * len(files)

    monkeypatch.setattr("ich.sources.remote.read_files", fetch)
    files = [SourceFile(f"ID_{n}", f"s3://a/{n}", size, 0) for n, size in enumerate([2**24] * 9 + [10] * 70 + [2**30])]
    assert [file for file, _ in read_files(files)] == files
    assert (len(asked), max(asked[:-1]), asked[-1]) == (8, 2**25, 2**30)  # the last is refused unread, for its size


@needs_store
def test_an_index_reads_the_beginning_of_each_file_only(small_dataset, tmp_path, bucket, monkeypatch):
    bucket.put(str(tmp_path / "dicom"), "data/rsna", recursive=True)
    files, asked, whole = list_files(["s3://data/rsna"]), [], type(bucket)._cat_file

    async def counted(self, path, start=None, end=None, **more):
        content = await whole(self, path, start=start, end=end, **more)
        asked.append(len(content))
        return content

    monkeypatch.setattr(type(bucket), "_cat_file", counted)
    rows = index_chunk(list(files))
    assert rows["status"].unique().to_list() == ["ok"]
    assert asked == [HEADER_BYTES] * 48


@needs_store
def test_what_is_gone_or_refused_is_missing_and_tried_again(experiment, small_dataset, tmp_path, bucket, monkeypatch):
    bucket.put(str(tmp_path / "dicom"), "data/rsna", recursive=True)
    files = list(list_files(["s3://data/rsna"]))
    bucket.rm(f"data/rsna/{small_dataset[3]}.dcm")
    rows = index_chunk(files)
    assert rows.filter(status="missing").select("ImageID", "reason").rows() == [
        (small_dataset[3], "cannot be read: FileNotFoundError: The specified key does not exist.")
    ]

    async def refuse(self, path, **more):
        raise PermissionError("Access Denied")

    with monkeypatch.context() as refused:
        refused.setattr(type(bucket), "_cat_file", refuse)
        assert set(index_chunk(files)["reason"]) == {"cannot be read: PermissionError: Access Denied"}
        with pytest.raises(CannotRead, match="Access Denied"):
            read_file(files[0])
    assert isinstance(read_file(files[0]), bytes)


@needs_store
def test_no_bucket_nothing_in_it_or_no_network_is_one_line_soon(server, environment, bucket):
    begun = time.monotonic()
    for url, endpoint, line in (
        ("s3://nowhere/a", server, r"s3://nowhere/a cannot be had \(FileNotFoundError: .*bucket.*\); correct the URL"),
        ("s3://data/none", server, "there is nothing at s3://data/none; set data.dicom to where the .dcm files are"),
        ("s3://data/a", "http://127.0.0.1:1", r"\(EndpointConnectionError: .*\); is the network there, and AWS_END"),
        ("what://data/a", server, r"what://data/a cannot be opened \(.*\); is it spelt right"),
    ):
        environment.setenv("AWS_ENDPOINT_URL", endpoint)
        type(bucket).clear_instance_cache()
        with pytest.raises(DataError, match=line):
            list_files([url])
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        environment.delenv(name)
    type(bucket).clear_instance_cache()
    with pytest.raises(DataError, match=r"\(NoCredentialsError: .*\); set AWS_ACCESS_KEY_ID and .* or FSSPEC_S3_ANON"):
        list_files(["s3://data/a"])
    assert time.monotonic() - begun < 15


@needs_store
def test_the_environment_can_say_that_a_bucket_is_public(bucket, environment):
    bucket.pipe("data/ID_1.dcm", b"1")
    bucket.chmod("data/ID_1.dcm", "public-read")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        environment.delenv(name)
    from fsspec.config import conf, set_conf_env

    set_conf_env(said := {}, {"FSSPEC_S3_ANON": "true"})
    environment.setitem(conf, "s3", said["s3"])
    type(bucket).clear_instance_cache()
    assert read_file(SourceFile("ID_1", "s3://data/ID_1.dcm", 1, 0)) == b"1"


def test_without_fsspec_one_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(DataError, match=r"s3://a/b needs packages .* not installed; pip install -e '.\[remote\]'"):
        list_files(["s3://a/b"])
