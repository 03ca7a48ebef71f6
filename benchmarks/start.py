"""Seconds from the start of a process to the end of its first training step: the first time, and the second.

    python -m benchmarks.start                      # demo-scale cascade on a CPU, full size on a GPU
    python -m benchmarks.start --network efficientnet --batch 128

The process does what `ich train` does until then: imports, networks, optimizer, the compiled step, a batch. Bar: the
second start takes a third of the time of the first at most.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import machine, verdict
from benchmarks.train_step import batch_of, build, device_kind, learner

BAR = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="cascade")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(first_step(json.loads(options.case))))
        return
    gpu = device_kind() != "cpu"
    case = {"network": options.network, "batch": options.batch or (32 if gpu else 16), "full": gpu,
            "precision": "bfloat16" if gpu else "float32", "size": 256 if gpu else 128}  # fmt: skip
    print(f"{machine()}; {device_kind()}; {case}", flush=True)
    found = [starts(case) for _ in range(options.rounds)]
    for name, runs in zip(("first start", "second start"), zip(*found, strict=True), strict=True):
        middle = sorted(runs, key=lambda run: run["first step"])[len(runs) // 2]
        print(f"{name:13} " + ", ".join(f"{part} {seconds:.1f} s" for part, seconds in middle.items()))
    ratio = statistics.median(first["first step"] / second["first step"] for first, second in found)
    print(f"the second is {ratio:.1f} times as fast (median of {len(found)}; bar {BAR}: {verdict(ratio >= BAR)})")


def starts(case: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Both starts, with caches that begin empty."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": f"{folder}/jax", "KERAS_BACKEND": "jax"}
        command = [sys.executable, "-m", "benchmarks.start", "--case", json.dumps(case | {"folder": folder})]
        outputs = [
            subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            for _ in range(2)
        ]
    first, second = (json.loads(output.splitlines()[-1]) for output in outputs)
    return first, second


def first_step(case: dict[str, Any]) -> dict[str, float]:
    """Seconds since the process began, part by part."""
    import psutil

    began, told = psutil.Process().create_time(), {}

    def note(part: str) -> None:
        told[part] = round(time.time() - began, 2)

    import jax
    import numpy as np

    import ich.training.train  # noqa: F401  # what `ich train` imports
    from ich.training.compiled import compile_step

    note("imported")
    network, config = build(case)
    ours, batch = learner(network, config.augmentation), batch_of(case, config.augmentation)
    note("built")
    step, _ = compile_step(ours, batch, Path(case["folder"]), "start")
    note("compiled or loaded")
    jax.block_until_ready(step(ours.state(), np.float32(1e-4), batch))
    note("first step")
    return told


if __name__ == "__main__":
    main()
