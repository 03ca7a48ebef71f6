"""A real cluster of two workers, started as the command starts it."""

import contextlib
import functools
import importlib
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import psutil
import pytest

from ich import chunks, ray_cluster
from ich.chunks import run_in_chunks
from ich.errors import DataError, IchError
from ich.files import fingerprint
from ich.prepare import preprocess as step
from ich.prepare.index import index
from ich.prepare.preprocess import preprocess, preprocess_chunk
from ich.prepare.sample import sample
from ich.workspace import Workspace

# Ray starts its processes by forking, of which JAX warns where another test has imported it; these tests do not use it.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")

needs_ray = pytest.mark.skipif(not find_spec("ray"), reason="ray is not installed: pip install -e '.[ray]'")


@pytest.fixture(scope="module")
def cluster():
    """Two workers, for all tests of this file that ask for them."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_ADDRESS", "local")  # not one that somebody began here
        started = contextlib.ExitStack()
        ray = started.enter_context(ray_cluster._cluster(workers=2))
    with started:
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import what only pytest finds
        yield ray


def run(folder, work, items=range(12), workers=2):
    return run_in_chunks(
        "test", items, work, folder=folder, settings="", workers=workers, executor="ray", chunk=3,
        intact=lambda chunk, part: True,
    ).collect()  # fmt: skip


def squares(items):
    return pl.DataFrame({"square": [item**2 for item in items]})


def surroundings(items):
    import cv2

    return pl.DataFrame({
        "folder": str(Path.cwd()), "openmp": os.environ["OMP_NUM_THREADS"], "opencv": cv2.getNumThreads(),
        "module": ray_cluster.__file__, "process": os.getpid(),
    })  # fmt: skip


def die(items):
    if 7 in items:
        os.kill(os.getpid(), signal.SIGKILL)
    return squares(items)


def refuse(items):
    raise DataError("ID_7 is odd; leave it out")


def die_once(files, png, how):
    """`preprocess_chunk`, but the first worker to come to the third chunk is killed when half of its work is done."""
    if files[0].image_id.endswith("000200000"):
        try:
            (png.parent / "killed").touch(exist_ok=False)
            preprocess_chunk(files[: len(files) // 2], png=png, how=how)
            os.kill(os.getpid(), signal.SIGKILL)
        except FileExistsError:
            pass
    return preprocess_chunk(files, png=png, how=how)


@needs_ray
def test_a_killed_worker_changes_no_byte(experiment, planted_dataset, tmp_path, monkeypatch, cluster):
    monkeypatch.setattr(chunks, "CHUNK", 4)
    one = experiment(sample={"scope": "all"}, steps=["index", "sample", "preprocess"])
    how = one.preprocess.model_copy(update={"workers": 2})
    two = one.model_copy(update={"workspace": tmp_path / "two", "executor": "ray", "preprocess": how})
    for config in (one, two):
        index(config)
        sample(config)
        preprocess(config)
        monkeypatch.setattr(step, "preprocess_chunk", die_once)
    assert (two.workspace / "killed").exists()
    for path in (Workspace(one).index, Workspace(one).slices):
        assert fingerprint(path) == fingerprint(two.workspace / path.name)
    images = [{path.name: fingerprint(path) for path in Workspace(config).png.iterdir()} for config in (one, two)]
    assert images[0] == images[1]
    assert len(images[0]) == 46


@needs_ray
def test_workers_are_where_the_driver_is(tmp_path, monkeypatch, cluster):
    monkeypatch.chdir(tmp_path)
    found = run(Path("parts"), surroundings)
    assert found["folder"].unique().to_list() == [str(tmp_path)]
    assert found["openmp"].unique().to_list() == ["1"]
    assert found["opencv"].unique().to_list() == [1]
    assert found["module"].unique().to_list() == [ray_cluster.__file__]
    assert os.getpid() not in found["process"]


@needs_ray
def test_a_chunk_that_kills_its_worker_every_time_ends_the_run(tmp_path, monkeypatch, cluster):
    monkeypatch.setattr(ray_cluster, "TRIES", 2)
    with pytest.raises(IchError, match=r"a worker process died, 2 times, in chunk 000002-\w+ of .*parts"):
        run(tmp_path / "parts", die, workers=1)
    assert len(list((tmp_path / "parts").iterdir())) == 2  # what was finished is kept


@needs_ray
def test_an_error_of_the_work_arrives_as_itself(tmp_path, cluster):
    with pytest.raises(DataError) as raised:
        run(tmp_path, refuse)
    assert type(raised.value) is DataError
    assert str(raised.value) == "ID_7 is odd; leave it out"


class NotThere:
    """What a worker cannot have, since its machine lacks a module."""

    def __reduce__(self):
        return importlib.import_module, ("nowhere_at_all",)


@needs_ray
def test_what_a_machine_lacks_is_said_in_one_line(tmp_path, cluster):
    with pytest.raises(IchError, match=r"the Ray cluster failed \(.*No module named 'nowhere_at_all'.*\); run again"):
        run(tmp_path, functools.partial(squares, NotThere()))


@needs_ray
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "0"}, r"ich on \S+ is .*, here 0; install the same"),
        ({"folder": Path("/nowhere")}, "has no folder /nowhere; call ich in a folder that all machines share"),
        ({"part": Path("/nowhere/part")}, "has no folder /nowhere; the workspace must be one that all machines share"),
    ],
)
def test_a_machine_that_is_not_like_this_one_is_named(tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)  # puts the folder back
    given = {"chunk": [1], "part": tmp_path / "part", "folder": tmp_path, "version": ray_cluster.__version__} | change
    with pytest.raises(IchError, match=message):
        ray_cluster._on_worker(lambda chunk, part: 1, **given)


@needs_ray
def test_it_speaks_to_nobody_else(cluster):
    """No usage statistics; every port that is open is of 127.0.0.1; no dashboard."""
    from ray._common.usage import usage_lib

    assert not usage_lib.usage_stats_enabled()
    told, ports = set(), set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # workers come and go
            told.add(process.environ().get("RAY_USAGE_STATS_ENABLED"))  # None: workers write their names over it
            ports |= {port.laddr for port in process.net_connections() if port.status == psutil.CONN_LISTEN}
    assert {"0"} <= told <= {"0", None}
    assert {port.ip.removeprefix("::ffff:") for port in ports} == {"127.0.0.1"}
    assert 8265 not in {port.port for port in ports}


@pytest.fixture
def command(small_dataset, config_file):
    """`ich run` of one step, on a cluster."""
    config = config_file(executor="ray", steps="[index]", preprocess="{size: 64, workers: 2}")
    return [sys.executable, "-m", "ich", "run", "-c", str(config)]


@needs_ray
def test_a_cluster_that_was_there_stays(command, cluster, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", cluster.get_runtime_context().gcs_address)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "ray" not in done.stderr.lower()
    assert cluster.get(cluster.remote(squares).remote([2]))["square"].to_list() == [4]


@needs_ray
def test_ctrl_c_ends_a_cluster_of_its_own_in_one_line(command, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "local")
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    started: list[psutil.Process] = []
    working, deadline = False, time.monotonic() + 60
    while not working and time.monotonic() < deadline:
        time.sleep(0.02)
        with contextlib.suppress(psutil.NoSuchProcess):  # helpers of Ray come and go
            started = psutil.Process(run.pid).children(recursive=True)
            working = any("_on_worker" in process.name() for process in started)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    stdout, stderr = run.communicate(timeout=60)
    assert (run.returncode, stdout, stderr) == (130, "", "ich: interrupted; run the same command again to continue\n")
    assert psutil.wait_procs(started, timeout=10)[1] == []


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "somewhere"])
def test_a_cluster_that_does_not_answer_is_refused_at_once(tmp_path, monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(IchError, match=rf"no Ray cluster at {address} \(.*\); start one with `ray start --head`"):
        run(tmp_path, squares)


def test_without_ray_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(IchError, match=r"executor is ray, which is not installed; pip install -e '.\[ray\]'"):
        run(tmp_path, squares)
