"""What holds a small batch back on a GPU: the same training step, handed over in different ways.

    python -m benchmarks.small_batch                     # on a GPU EfficientNetV2M, batch 32; on a CPU demo-scale
    python -m benchmarks.small_batch --network convnext --batch 16

At batch 32 a step is bound by launches: some thousand kernels in about 20 ms. One CUDA graph launches them at once, but
is recorded anew if the address of one of its arrays has changed. The ways:

    new batches     as training hands over: each batch lies elsewhere in memory
    one batch       the same arrays each time: nothing moves but the results
    batch in place  each batch is copied into arrays that stay where they are
    four steps      four steps in one program, over four batches
    graphs off, no convolutions in graphs: as `new batches`, with other settings of XLA

Host is the time until a step is handed over, without waiting for it: where it is near the step's, the host is the
limit.
"""

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.measure import machine
from benchmarks.train_step import batch_of, build, device_kind, learner, no_augmentation, rate, rounds

WAYS = ("new batches", "one batch", "batch in place", "four steps", "no convolutions in graphs", "graphs off")
_STEPS = 4  # in one program
_BATCHES = 8  # that take turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="efficientnet")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--case", help=argparse.SUPPRESS)  # one measurement, in a process of its own
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(json.loads(options.case))), flush=True)
        return
    kind = device_kind()
    full = kind != "cpu"
    case = {
        "network": options.network, "batch": options.batch or (32 if full else 8), "full": full,
        "size": 256 if full else 64, "precision": "bfloat16" if full else "float32",
    }  # fmt: skip
    print(f"{machine()}; {kind}; {case['network']}, batch {case['batch']}, {case['size']} px, {case['precision']}")
    for way in options.ways:
        command = [sys.executable, "-m", "benchmarks.small_batch", "--case", json.dumps({**case, "way": way})]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            print(f"{way:26} ended with {done.returncode}", flush=True)
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        host = 1000 * found["host"]
        print(f"{way:26} {rate(case, found['step'])}, host {host:.1f} ms a step", flush=True)


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Seconds a step, of each round, and of the host alone."""
    import jax

    network, _ = build(case)
    ours, batches = learner(network, no_augmentation()), [batch_of(case, no_augmentation()) for _ in range(_BATCHES)]
    once, held, steps = step_of(case["way"], ours, batches)
    seconds = rounds(once, lambda: jax.block_until_ready(held[0]))
    started = time.perf_counter()
    for _ in range(3):
        once()
    host = (time.perf_counter() - started) / 3
    jax.block_until_ready(held[0])
    return {"step": [each / steps for each in seconds], "host": host / steps}


def step_of(way: str, ours: Any, batches: list[Any]) -> tuple[Callable[[], None], list[Any], int]:
    """A function that hands over a step, where its state is held, and how many steps it is."""
    import jax
    import numpy as np

    held, turns = [ours.state()], itertools.cycle(batches)
    if way == "four steps":
        program = jax.jit(lambda state, rate, some: jax.lax.scan(lambda s, b: ours.step(s, rate, b), state, some),
                          donate_argnums=0)  # fmt: skip
        some = jax.tree.map(lambda *each: jax.numpy.stack(each), *batches[:_STEPS])
        compiled = program.lower(held[0], np.float32(0), some).compile(_options("WHILE"))

        def several() -> None:
            held[0] = compiled(held[0], np.float32(1e-4), some)[0]

        return several, held, _STEPS
    step = ours.compile(batches[0], **_settings(way))
    place = _in_place(batches[0]) if way == "batch in place" else _as_it_is(way, turns)

    def once() -> None:
        held[0] = step(held[0], np.float32(1e-4), place(next(turns)))[0]

    return once, held, 1


def _as_it_is(way: str, turns: Iterator[Any]) -> Callable[[Any], Any]:
    first = next(turns)
    return (lambda _: first) if way == "one batch" else (lambda batch: batch)


def _in_place(like: Any) -> Callable[[Any], Any]:
    """Copies a batch into arrays that stay where they are: what is given away is what comes back."""
    import jax

    copy = jax.jit(lambda old, new: jax.tree.map(jax.numpy.copy, new), donate_argnums=0)
    held = [jax.tree.map(jax.numpy.copy, like)]

    def place(batch: Any) -> Any:
        held[0] = copy(held[0], batch)
        return held[0]

    return place


def _settings(way: str) -> dict[str, str]:
    """Settings of XLA, over those of training."""
    name = "xla_gpu_enable_command_buffer"
    without = {"graphs off": "", "no convolutions in graphs": _options().get(name, "").replace(",CONVOLUTION", "")}
    return {name: without[way]} if way in without and _options() else {}


def _options(more: str = "") -> dict[str, Any]:
    from ich.xla import compiler_options

    return {key: f"{value},{more}" if more else value for key, value in compiler_options().items()}


if __name__ == "__main__":
    main()
