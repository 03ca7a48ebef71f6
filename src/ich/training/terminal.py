"""What `ich train --dry-run` prints."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from ich.training.batch_size import size


def print_plan(console: Console, plan: Mapping[str, Any]) -> None:
    """Networks, then stage by stage and phase by phase, then what fits a small GPU.

    Args:
        console: where to.
        plan: from `ich.training.plan.plan`.
    """

    def line(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    device = f"{plan['device']} ({size(plan['device_memory_bytes'])})"
    line(f"{plan['model']}, {plan['size']} px, {plan['precision']}, on {device}; nothing is trained or written", "bold")
    batch = f"batch size {plan['batch_size']} ({plan['batch_size_reason']})"
    line(f"{batch}, accumulation {plan['accumulation']}, recompute {str(plan['recompute']).lower()}")
    for network in plan["networks"]:
        for text in _network(network):
            line(text)
    phases = [phase for stage in plan["stages"] for phase in stage["phases"]]
    unknown = dict.fromkeys(phase["time"]["unknown"] for phase in phases if "unknown" in phase["time"])
    for stage in plan["stages"]:
        line(f"\n{_stage(stage)}", "bold")
        for phase in stage["phases"]:
            for text in _phase(phase):
                line(text)
    for text in unknown:
        line(f"\nTime: {text}")
    line(f"Memory: {_tolerance(plan)}" if unknown else f"\nMemory: {_tolerance(plan)}")
    for choice in plan["on_16_GB"]:
        line(_small(choice))


def _network(network: Mapping[str, Any]) -> list[str]:
    told = f"  {network['network']}: {network['parameters']:,} parameters"
    if "claimed" not in network:
        return [told]
    difference = network["parameters"] - network["claimed"]
    claimed = (
        f"the notebooks' README: {network['claimed'] / 1e6:.0f} M, trainable {network['claimed_trainable'] / 1e6:.0f} M"
    )
    return [f"{told}; {claimed} ({difference / 1e6:+.1f} M here)", f"    {network['difference']}"]


def _stage(stage: Mapping[str, Any]) -> str:
    if stage["slices"] is None:
        return f"{stage['stage']}: slices not known yet (there is no table)"
    validation = "?" if stage["validation_slices"] is None else f"{stage['validation_slices']:,}"
    return f"{stage['stage']}: {stage['slices']:,} slices, {validation} of validation, batches of {stage['batch_size']}"


def _phase(phase: Mapping[str, Any]) -> list[str]:
    memory = phase["memory"]
    parts = ", ".join(
        f"{name.replace('_', ' ')} {size(memory[name])}"
        for name in ("weights", "gradients_and_moments", "kept_for_backward")
    )
    spare = "" if memory["fits"] else ", MORE THAN THE DEVICE HAS TO SPARE"
    return [
        f"  {phase['phase']}: up to {phase['epochs']} epochs, learning rate {phase['learning_rate']:g}, "
        f"trainable: {phase['trainable']}",
        *(f"    {name}: {rule}" for name, rule in phase["learns"].items()),
        f"    {phase['trainable_parameters']:,} parameters learn in {phase['trainable_layers']} of {phase['layers']} "
        f"layers; {phase['frozen_parameters']:,} do not",
        f"    memory: about {size(memory['total'])}{spare} ({parts})",
        *([] if "unknown" in phase["time"] else [f"    time: {_time(phase['time'])}"]),
    ]


def _time(time: Mapping[str, Any]) -> str:
    parts = []
    if "images_per_s" in time:
        parts.append(f"{_between(time['images_per_s'], '.0f')} images/s")
    if "hours" in time:
        short = time["hours"][1] < 1
        values, unit = ([60 * hours for hours in time["hours"]], "min") if short else (time["hours"], "h")
        parts.append(f"at most {_between(values, '.1f')} {unit}")
    return f"{', '.join(parts)} ({time['source']})"


def _between(values: list[float], form: str) -> str:
    low, high = (format(value, form) for value in values)
    return low if low == high else f"{low} to {high}"


def _tolerance(plan: Mapping[str, Any]) -> str:
    return (
        f"estimated, to {plan['tolerance']:.0%}: 2 % too much for both full backbones, all layers trained (one H100, "
        "256 px, batch 128, bfloat16); not measured there: float32, and recompute, which saved nothing on a CPU; of a "
        "CPU's free memory a third is counted on"
    )


def _small(choice: Mapping[str, Any]) -> str:
    how = f"{choice['precision']}, {'with' if choice['recompute'] else 'without'}"
    batch = f"{choice['batch_size']} fits" if choice["fits"] else f"not even {choice['batch_size']} fits"
    return (
        f"A GPU of 16 GB, {how} train.recompute, {choice['heaviest']}: batch size {batch} "
        f"(about {size(choice['estimate_bytes'])}; JAX takes 11.2 GiB of it at its start)"
    )
