"""The mean of several models, which is a model like any other: an image is read once, and every member sees it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ich.card import read_cards
from ich.detector import Detector, Predictions, Predictor, load_detector

_AT_ONCE = 256  # slices that are held while one member after the other works on them: 50 MB at 256 pixels


class Ensemble(Predictor):
    """Mean of the members' probabilities, each with its own gate. `any` is never less than a subtype, as in each.

    Attributes:
        card: the first member's, of which `ich.card.IMAGE_KEYS` are those of all.
    """

    def __init__(self, members: Sequence[Detector]) -> None:
        """Of at least one model; what an image is must be the same to all (`ich.card.read_cards` checks it)."""
        self._members, self.card = tuple(members), members[0].card

    @property
    def members(self) -> tuple[Detector, ...]:
        """As they were given."""
        return self._members

    def _predict(
        self,
        batches: Iterable[NDArray[np.uint8]],
        batch_size: int,
        done: Callable[[int], object] = int,
        ungated: bool = False,
    ) -> Predictions:
        means = []
        for group in _groups(batches):
            means.append(mean([member._predict(group, batch_size, ungated=ungated) for member in self.members]))
            done(sum(map(len, group)))
        return Predictions(
            np.concatenate([each.probabilities for each in means]),
            np.concatenate([each.gated_in for each in means]),
            np.concatenate([each.raised for each in means]),
            np.concatenate([each.ungated for each in means if each.ungated is not None]) if ungated else None,
        )


def mean(predictions: Sequence[Predictions]) -> Predictions:
    """Mean of the members' probabilities of the same n slices, added up in float64.

    A slice counts as gated in if it reached any member's stage 2, and as raised if any member raised it. What no gate
    would give is the mean of what it would give of each member; None if one of them does not say.
    """
    ungated = [each.ungated for each in predictions if each.ungated is not None]
    return Predictions(
        _mean([each.probabilities for each in predictions]),
        np.any([each.gated_in for each in predictions], axis=0),
        np.any([each.raised for each in predictions], axis=0),
        _mean(ungated) if len(ungated) == len(predictions) else None,
    )


def _mean(probabilities: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.asarray(np.sum(probabilities, axis=0, dtype=np.float64) / len(probabilities), np.float32)


def load_models(models: Sequence[Path]) -> Predictor:
    """Load one model as it is, or several as their mean.

    Args:
        models: `.keras` files, at least one, each with its card beside it.

    Raises:
        DataError: they cannot be averaged (`ich.card.read_cards`), or one cannot be loaded.
    """
    if len(models) == 1:
        return load_detector(models[0])
    read_cards(models)  # before the first network is loaded, which takes seconds
    return Ensemble([load_detector(model) for model in models])


def _groups(batches: Iterable[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.uint8]]]:
    """Batches, some at a time, so that stage 2 of a cascade still gets full ones; the last group may be empty."""
    group: list[NDArray[np.uint8]] = []
    for batch in batches:
        group.append(batch)
        if sum(map(len, group)) >= _AT_ONCE:
            yield group
            group = []
    yield group
