"""Images/s of the training step and of inference, beside timm with torch.compile, in one run.

    python -m benchmarks.train_step                                   # what is sensible on this machine
    python -m benchmarks.train_step --networks efficientnet convnext --batches 128 --precisions bfloat16
    python -m benchmarks.train_step --fed --batches 32 128            # fed from PNG files, augmented; and Keras's `fit`

Each network, batch and precision is measured in a process of its own, ours and the peer's one after the other, so that
none holds the memory of the device while another runs; what a process finds is printed at once. Steps take the same
images from the device's memory, as they are: no augmentation, 6 labels, Adam. The peer is timm's member of the same
family (tf_efficientnetv2_m, convnext_base), channels_last, autocast, torch.compile in its default mode, fused Adam.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import machine, verdict

# Ours over the peer's, on a H100 at batch 128 in bfloat16.
BARS = {("efficientnet", "train"): 1.2, ("convnext", "train"): 1.2, ("efficientnet", "infer"): 1.2,
        ("convnext", "infer"): 1.0}  # fmt: skip
FED_SHARE = 0.95  # of the bare step's images/s, fed from files
FED_OVER_FIT = 1.5  # at batch 32
ROUNDS, SECONDS = 5, 1.0  # a round is at least so long
Times = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["efficientnet", "convnext", "cascade"])
    parser.add_argument("--batches", nargs="+", type=int)
    parser.add_argument("--precisions", nargs="+", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--size", type=int)
    parser.add_argument("--full", action="store_true", help="full-size networks on a CPU too")
    parser.add_argument("--fed", action="store_true", help="measure training from files instead")
    parser.add_argument("--without-fit", action="store_true", help="with --fed: leave out Keras's `fit`")
    parser.add_argument("--without-peer", action="store_true")
    parser.add_argument("--case", help=argparse.SUPPRESS)  # one measurement, in a process of its own
    options = parser.parse_args()
    if options.case:
        measure(json.loads(options.case))
        return
    gpu = device_kind() != "cpu"
    full = gpu or options.full
    size = options.size or (256 if full else 128)
    batches = options.batches or ([32, 128] if full else [16])
    precisions = options.precisions or (["float32", "float16", "bfloat16"] if gpu else ["float32"])
    print(f"{machine()}; {device_kind()}; {size} px; {'full-size' if full else 'demo-scale'} networks", flush=True)
    for network in options.networks:
        for batch in batches:
            for precision in precisions:
                case = {"network": network, "batch": batch, "precision": precision, "size": size, "full": full}
                if options.fed:
                    report_fed(case, None if options.without_fit else run({**case, "what": "fit"}))
                else:
                    peer = None if options.without_peer or not full else run({**case, "what": "peer"})
                    report(case, run({**case, "what": "ours"}), peer, gpu)


def device_kind() -> str:
    """Asked in another process: this one must not hold the device."""
    code = "import jax; print(jax.devices()[0].device_kind)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def run(case: dict[str, Any]) -> dict[str, Any] | None:
    """Measure in a process of its own; None where it could not, which is said."""
    command = [sys.executable, "-m", "benchmarks.train_step", "--case", json.dumps(case)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        told = done.stdout.strip() or f"ended with {done.returncode}"
        print(f"  {case['what']}, {case['network']}, batch {case['batch']}, {case['precision']}: {told}", flush=True)
        return None
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def report(case: dict[str, Any], ours: dict[str, Any] | None, peer: dict[str, Any] | None, gpu: bool) -> None:
    """A line for training and one for inference."""
    for mode in ("train", "infer"):
        if ours is None or mode not in ours:
            continue
        line = f"{case['network']:12} {mode} batch {case['batch']} {case['precision']}: {rate(case, ours[mode])}"
        line += f", ready in {ours[f'{mode} ready']:.0f} s"
        if peer is not None and mode in peer:
            ratio = statistics.median(peer[mode]) / statistics.median(ours[mode])
            line += f"; timm + torch.compile {rate(case, peer[mode])}, ready in {peer[f'{mode} ready']:.0f} s"
            line += f"; {ratio:.2f} of it"
            bar = BARS.get((case["network"], mode))
            if gpu and bar and (case["batch"], case["precision"], case["size"]) == (128, "bfloat16", 256):
                line += f" (bar {bar}: {verdict(ratio >= bar)})"
        print(line, flush=True)


def report_fed(case: dict[str, Any], fit: dict[str, Any] | None) -> None:
    """Fed from files, as a share of the bare step; at batch 32 over Keras's `fit`."""
    fed = run({**case, "what": "fed"})
    if fed is None:
        return
    share = statistics.median(fed["bare"]) / statistics.median(fed["fed"])
    print(
        f"{case['network']:12} batch {case['batch']} {case['precision']}: bare step {rate(case, fed['bare'])}, "
        f"augmented {rate(case, fed['augmented'])}, fed from files {rate(case, fed['fed'])}: {share:.3f} of "
        f"the bare step (bar {FED_SHARE}: {verdict(share >= FED_SHARE)}), {100 * fed['waiting']:.1f} % of the time "
        "without a batch",
        flush=True,
    )
    if fit is not None:
        ratio = statistics.median(fit["fit"]) / statistics.median(fed["fed"])
        bar = f" (bar {FED_OVER_FIT}: {verdict(ratio >= FED_OVER_FIT)})" if case["batch"] == 32 else ""
        print(f"  Keras's fit, the same files: {rate(case, fit['fit'])}; ours {ratio:.2f} times that{bar}", flush=True)


def rate(case: dict[str, Any], seconds: list[float]) -> str:
    """Median images/s of the rounds, and their range."""
    rates = sorted(case["batch"] / each for each in seconds)
    return f"{statistics.median(rates):,.0f}/s ({rates[0]:,.0f} to {rates[-1]:,.0f})"


# In a process of its own


def measure(case: dict[str, Any]) -> None:
    """Print what was found as a line of JSON."""
    what: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "ours": measure_ours, "peer": measure_peer, "fed": measure_fed, "fit": measure_fit,
    }  # fmt: skip
    print(json.dumps(what[case["what"]](case)), flush=True)


def measure_peer(case: dict[str, Any]) -> dict[str, Any]:
    """See `benchmarks.torch_peer`; ends the process where PyTorch or timm is not installed."""
    if case["network"] == "cascade":
        sys.exit("no peer has a cascade")
    try:
        from benchmarks import torch_peer
    except ImportError as error:
        print(f"no peer: {error}")
        sys.exit(1)
    return torch_peer.measure(case, rounds)


def rounds(step: Callable[[], object], finish: Callable[[], object]) -> list[float]:
    """Seconds a step, of each round; `finish` waits for what was begun."""
    for _ in range(3):
        step()
    finish()
    start = time.perf_counter()
    for _ in range(3):
        step()
    finish()
    repeats = max(3, round(SECONDS / ((time.perf_counter() - start) / 3)))
    found = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(repeats):
            step()
        finish()
        found.append((time.perf_counter() - start) / repeats)
    return found


def build(case: dict[str, Any]) -> Any:
    """The network, and its training configuration."""
    import keras

    from ich.config import Backbones, Train
    from ich.models.build import build as build_networks

    if case["precision"] != "float32":
        keras.config.set_dtype_policy(f"mixed_{case['precision']}")
    names = Backbones() if case["full"] else Backbones(efficientnet="EfficientNetV2Demo", convnext="ConvNeXtDemo")
    config = Train(model=case["network"], backbones=names, weights="none")
    network = build_networks(config, case["size"], 0).final
    network.trainable = True
    return network, config


def learner(network: Any, augmentation: Any) -> Any:
    """As training makes it."""
    from ich.training.losses import COMPETITION_WEIGHTS, binary_crossentropy
    from ich.training.step import Learner, adam

    return Learner(network, adam(network.compute_dtype), binary_crossentropy(COMPETITION_WEIGHTS), augmentation)


def batch_of(case: dict[str, Any], augmentation: Any) -> Any:
    """One batch of noise, on the device."""
    import jax
    import numpy as np

    from ich.augmentation import Draws, draw, item_keys
    from ich.training.step import Batch

    rng, n, size = np.random.default_rng(0), case["batch"], case["size"]
    images = rng.integers(0, 256, (1, n, size, size, 3), np.uint8)
    draws = Draws(*(field[None] for field in draw(augmentation, 0, 0, item_keys(map(str, range(n))))))
    return jax.device_put(Batch(images, draws, rng.integers(0, 2, (1, n, 6)).astype(np.float32)))


def time_steps(network: Any, case: dict[str, Any], augmentation: Any) -> tuple[list[float], float]:
    """Seconds a training step, and until the first one was done."""
    import jax
    import numpy as np

    start = time.perf_counter()
    ours, batch = learner(network, augmentation), batch_of(case, augmentation)
    step, held = ours.compile(batch), [ours.state()]

    def once() -> None:
        held[0] = step(held[0], np.float32(1e-4), batch)[0]

    once()
    jax.block_until_ready(held[0])
    ready = time.perf_counter() - start
    found = rounds(once, lambda: jax.block_until_ready(held[0]))
    ours.store(held[0])
    return found, ready


def measure_ours(case: dict[str, Any]) -> dict[str, Any]:
    """Training and inference, from a batch on the device."""
    import jax

    from ich.models.forward import compile_forward

    network, _ = build(case)
    training, ready = time_steps(network, case, no_augmentation())
    start = time.perf_counter()
    forward = compile_forward(network)
    images = batch_of(case, no_augmentation()).images[0]
    jax.block_until_ready(forward([images]))
    ready_to_infer = time.perf_counter() - start
    last: list[Any] = [None]

    def once() -> None:
        last[0] = forward([images])

    inference = rounds(once, lambda: jax.block_until_ready(last[0]))
    return {"train": training, "infer": inference, "train ready": ready, "infer ready": ready_to_infer}


def no_augmentation() -> Any:
    from ich.config import TrainingAugmentation

    return TrainingAugmentation(horizontal_flip=0, rotate=0, shift=0)


def measure_fed(case: dict[str, Any]) -> dict[str, Any]:
    """The bare step, the step with augmentation, and an epoch from files as training runs it."""
    import jax

    from ich.training.batches import on_device, training_batches
    from ich.training.epoch import run_epoch

    network, config = build(case)
    bare, _ = time_steps(network, case, no_augmentation())
    augmented, _ = time_steps(network, case, config.augmentation)
    ours = learner(network, config.augmentation)
    with written_images(case) as (slices, targets):
        batches = on_device(
            training_batches(slices, targets, case["size"], (1, case["batch"]), config.augmentation, 0, 0)
        )
        first = next(batches)
        step, state = ours.compile(first), ours.state()
        steps = max(10, round(SECONDS * ROUNDS / statistics.median(augmented)))
        state, _ = run_epoch(step, state, batches, 5, lambda _: 1e-4)
        jax.block_until_ready(state)
        told = [run_epoch_timed(step, state, batches, steps)]
        batches.close()
    seconds = [epoch.seconds / steps for epoch in told]
    return {"bare": bare, "augmented": augmented, "fed": seconds, "waiting": told[0].waiting / told[0].seconds}


def run_epoch_timed(step: Any, state: Any, batches: Iterator[Any], steps: int) -> Any:
    from ich.training.epoch import run_epoch

    return run_epoch(step, state, batches, steps, lambda _: 1e-4)[1]


def measure_fit(case: dict[str, Any]) -> dict[str, Any]:
    """Keras's `fit` on the same files, with the callbacks that a notebook has."""
    import keras

    from ich.augmentation import apply
    from ich.training.batches import training_batches
    from ich.training.losses import COMPETITION_WEIGHTS, binary_crossentropy

    network, config = build(case)

    class Augmented(keras.Model):
        def __init__(self) -> None:
            super().__init__(autocast=False)
            self.network = network

        def call(self, inputs: Any, training: bool = False) -> Any:
            images, draws = inputs
            return self.network(apply(images, draws, config.augmentation), training=training)

    model = Augmented()
    metrics = [keras.metrics.BinaryAccuracy(), keras.metrics.AUC(multi_label=True, num_labels=6)]
    model.compile(keras.optimizers.Adam(1e-4), loss=binary_crossentropy(COMPETITION_WEIGHTS), metrics=metrics)
    clock = _Clock(warm_up=10)
    with written_images(case) as (slices, targets), tempfile.TemporaryDirectory() as folder:
        made = training_batches(slices, targets, case["size"], (1, case["batch"]), config.augmentation, 0, 0)
        parts = (((b.images[0], type(b.draws)(*(f[0] for f in b.draws))), b.targets[0]) for b in made)
        callbacks = [
            keras.callbacks.ModelCheckpoint(f"{folder}/best.weights.h5", save_weights_only=True, monitor="loss"),
            keras.callbacks.EarlyStopping(monitor="loss"),
            keras.callbacks.ReduceLROnPlateau(monitor="loss"),
            clock,
        ]
        model.fit(parts, steps_per_epoch=10 + 20 * (4 if case["batch"] < 64 else 1), verbose=0, callbacks=callbacks)
        made.close()
    return {"fit": [clock.seconds_a_step]}


class _Clock:
    """Seconds a step of `fit`, after the first few; a Keras callback by duck typing, made when Keras is there."""

    def __new__(cls, warm_up: int) -> Any:
        import keras

        class Clock(keras.callbacks.Callback):
            seconds_a_step = float("nan")

            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                if batch == warm_up:
                    float(logs["loss"])
                    self.started = time.perf_counter()
                self.last = batch

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                self.seconds_a_step = (time.perf_counter() - self.started) / (self.last - warm_up)

        return Clock()


class written_images:  # a context manager, used like a function
    """PNG files of the size that step 3's have, about 50 kB: noise in a disc; as slices with random targets."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case, self.folder = case, tempfile.TemporaryDirectory()

    def __enter__(self) -> Any:
        import numpy as np

        from ich.data import Manifest
        from ich.png import encode_png

        rng, size, count = np.random.default_rng(0), self.case["size"], max(1024, 4 * self.case["batch"])
        rows, columns = np.mgrid[:size, :size] - size / 2
        head = (rows**2 + columns**2 < (0.32 * size) ** 2)[..., None]
        paths = []
        for i in range(count):
            noise = rng.normal(120, 6, (size, size, 3)).clip(0, 255).astype(np.uint8)
            path = Path(self.folder.name) / f"ID_{i:05d}.png"
            path.write_bytes(encode_png(noise * head))
            paths.append(path)
        labels = rng.integers(0, 2, (count, 6)).astype(np.uint8)
        return Manifest(tuple(path.stem for path in paths), tuple(paths), labels), labels

    def __exit__(self, *_: object) -> None:
        self.folder.cleanup()


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "jax")
    main()
