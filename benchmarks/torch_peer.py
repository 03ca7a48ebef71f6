"""timm with torch.compile, channels_last and autocast: what a person who uses PyTorch would run. Needs both.

Training: gradients and fused Adam; float16 with a gradient scaler. Images are uint8 on the device, scaled in the graph,
as ours are.
"""

import time
from collections.abc import Callable
from typing import Any

import timm
import torch

NAMES = {"efficientnet": "tf_efficientnetv2_m", "convnext": "convnext_base"}
TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

Rounds = Callable[[Callable[[], object], Callable[[], object]], list[float]]


def measure(case: dict[str, Any], rounds: Rounds) -> dict[str, Any]:
    """Seconds a step and a batch of inference, by rounds, and seconds until the first was done."""
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")  # TF32, as XLA takes for float32
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = timm.create_model(NAMES[case["network"]], num_classes=6, drop_path_rate=_drop_path(case))
    model = model.to(device, memory_format=torch.channels_last)
    shape = (case["batch"], case["size"], case["size"], 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=device).permute(0, 3, 1, 2)  # channels_last
    targets = torch.randint(0, 2, (case["batch"], 6), device=device).float()
    return _training(model, case, pixels, targets, rounds) | _inference(model, case, pixels, rounds)


def _drop_path(case: dict[str, Any]) -> float:
    """As Keras's members have it."""
    return 0.2 if case["network"] == "efficientnet" else 0.0


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _training(model: Any, case: dict[str, Any], pixels: Any, targets: Any, rounds: Rounds) -> dict[str, Any]:
    dtype = TYPES[case["precision"]]
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
    scaler = torch.amp.GradScaler(pixels.device.type, enabled=dtype == torch.float16)
    loss = torch.nn.BCEWithLogitsLoss()
    model.train()
    compiled = torch.compile(lambda images: model(images.float() / 127.5 - 1))

    def once() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(pixels.device.type, dtype, enabled=dtype != torch.float32):
            value = loss(compiled(pixels), targets)
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()

    start = time.perf_counter()
    once()
    _finish()
    ready = time.perf_counter() - start
    return {"train": rounds(once, _finish), "train ready": ready}


def _inference(model: Any, case: dict[str, Any], pixels: Any, rounds: Rounds) -> dict[str, Any]:
    dtype = TYPES[case["precision"]]
    model.eval()
    compiled = torch.compile(lambda images: model(images.float() / 127.5 - 1))

    def once() -> None:
        with torch.inference_mode(), torch.autocast(pixels.device.type, dtype, enabled=dtype != torch.float32):
            compiled(pixels)

    start = time.perf_counter()
    once()
    _finish()
    ready = time.perf_counter() - start
    return {"infer": rounds(once, _finish), "infer ready": ready}
