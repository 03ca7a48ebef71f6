"""What a slice costs each stage to compute, counted from the network itself, and what the gate saves of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ich.detector import Predictor


@dataclass(frozen=True)
class Compute:
    """Floating-point operations of one slice; a multiply-add is two. As XLA counts them, before it optimizes.

    Attributes:
        gate: what every slice costs: the gates, a backbone that both stages share, and flat models.
        stage2: what is added for a slice that passes.
        models: how many were added up. Each of several has its own gate, and what passes is known of all together
            only: then `saved` is the least that is saved.
    """

    gate: float
    stage2: float
    models: int = 1

    def saved(self, share_in: float) -> float:
        """Share of the operations that the gate saves, against stage 2 on every slice.

        Args:
            share_in: of the slices, those that reach stage 2 (of any model), in [0, 1].
        """
        return 1 - (self.gate + share_in * self.stage2) / (self.gate + self.stage2)

    def as_json(self) -> dict[str, Any]:
        """`gate`, `stage2` and `models`."""
        return {"gate": self.gate, "stage2": self.stage2, "models": self.models}


def of(detector: "Predictor") -> Compute | None:
    """Count the operations of a model, or of all members of an ensemble; nothing is compiled or run.

    None if no model has a gate, or the backend is not JAX.
    """
    if all(member.card.gate is None for member in detector.members):
        return None
    from ich.models.cascade import split_cascade  # Keras loads only where a network is
    from ich.models.forward import operations

    gate, stage2 = 0.0, 0.0
    for member in detector.members:
        parts = [member.network] if member.card.gate is None else split_cascade(member.network)
        counted = [count for part in parts if (count := operations(part)) is not None]
        if len(counted) < len(parts):
            return None
        gate, stage2 = gate + counted[0], stage2 + sum(counted[1:])
    return Compute(gate, stage2, len(detector.members))
