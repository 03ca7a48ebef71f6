"""A trained model ready for use: images to the six probabilities, gate first.

A slice whose P(any) is under the gate's threshold never reaches stage 2: its subtypes get P(any) times their share
among natural training positives. Every batch has one shape (short ones are filled up), so that each network is compiled
once.
"""

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ich.card import Card, read_card
from ich.data import Manifest, image_batches, pad_batch
from ich.errors import DataError, one_line
from ich.labels import LABELS, SUBTYPES
from ich.models.cascade import split_cascade
from ich.models.fast_layers import make_fast
from ich.models.forward import Forward, compile_forward
from ich.models.initialize import numpy_initializers
from ich.precision import resolve_precision


@dataclass(frozen=True)
class Predictions:
    """Of n slices.

    Attributes:
        probabilities: (n, 6) float32 in [0, 1], in label order; `any` is never less than a subtype.
        gated_in: (n,) bool, whether stage 2 ran; all True for a flat model. Of several models: whether that of any did.
        raised: (n,) bool, whether `any` of a flat model was raised to its largest subtype. Of several: of any of them.
        ungated: (n, 6) float32, what `probabilities` would be without a gate: stage 2 ran on every slice. The same for
            a flat model. None if it was not asked for.
    """

    probabilities: NDArray[np.float32]
    gated_in: NDArray[np.bool_]
    raised: NDArray[np.bool_]
    ungated: NDArray[np.float32] | None = None


class Predictor(ABC):
    """What images become probabilities with: one model (`Detector`) or the mean of several (`ich.ensemble`).

    Attributes:
        card: windows, size and aspect of its images. Of an ensemble it is the first member's, so nothing else is to be
            read from it: gates, for example, are the members' own.
    """

    card: Card

    @property
    @abstractmethod
    def members(self) -> Sequence["Detector"]:
        """The models that the probabilities are the mean of; of one model, itself."""

    def predict(self, images: NDArray[np.uint8], batch_size: int = 32, *, ungated: bool = False) -> Predictions:
        """Probabilities of images.

        Args:
            images: (n, size, size, 3) uint8, made as the card says (`ich.slice_images`).
            batch_size: slices that are computed together; changes no result.
            ungated: also say what no gate would give. `gated_in` and `any` stay the same, and subtypes too but for
                rounding (1e-5), as stage 2 then sees its slices in other batches.

        Raises:
            DataError: the images have another shape or type.
        """
        size = self.card.size
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3):
            raise DataError(
                f"images must be uint8 of shape (n, {size}, {size}, 3), got {images.dtype} of shape {images.shape}"
            )
        batch_size = max(1, min(batch_size, len(images)))
        batches = (images[i : i + batch_size] for i in range(0, len(images), batch_size))
        return self._predict(batches, batch_size, ungated=ungated)

    def predict_files(
        self, slices: Manifest, batch_size: int = 32, done: Callable[[int], object] = int, *, ungated: bool = False
    ) -> Predictions:
        """Probabilities of slices from the PNG files that step 3 wrote, read in the background; any number of them.

        Args:
            slices: with their neighbours, if the model was trained so (`ich.neighbours.read_slices`).
            batch_size: slices that are computed together; changes no result.
            done: called with the number of slices just done, e.g. to advance a progress bar.
            ungated: as for `predict`.

        Raises:
            DataError: a file cannot be used; see `ich.png.read_png`.
        """
        batch_size = max(1, min(batch_size, len(slices)))
        return self._predict(image_batches(slices, self.card.size, batch_size), batch_size, done, ungated)

    @abstractmethod
    def _predict(
        self,
        batches: Iterable[NDArray[np.uint8]],
        batch_size: int,
        done: Callable[[int], object] = int,
        ungated: bool = False,
    ) -> Predictions:
        """Probabilities of batches of at most `batch_size` images; there may be none."""


class Detector(Predictor):
    """A network and its card.

    Attributes:
        card: what belongs to the model: windows, size, aspect, gate (`ich.card.Card`).
        network: images to the six probabilities without gating; what explanations look into.
    """

    def __init__(self, network: keras.Model, card: Card) -> None:
        self.network, self.card = network, card
        parts = [network] if card.gate is None else split_cascade(network)
        self._stages = [compile_forward(part) for part in parts]

    @property
    def members(self) -> tuple["Detector"]:
        """Itself."""
        return (self,)

    def _predict(
        self,
        batches: Iterable[NDArray[np.uint8]],
        batch_size: int,
        done: Callable[[int], object] = int,
        ungated: bool = False,
    ) -> Predictions:
        if self.card.gate is None:
            return self._flat(batches, batch_size, done, ungated)
        return self._gated(batches, batch_size, self.card.gate.threshold, done, ungated)

    def _flat(
        self, batches: Iterable[NDArray[np.uint8]], batch_size: int, done: Callable[[int], object], ungated: bool
    ) -> Predictions:
        results = [np.empty((0, len(LABELS)), np.float32)]
        for images in batches:
            results.append(_run(self._stages[0], [images], batch_size)[0])
            done(len(images))
        probabilities = np.concatenate(results)
        largest = probabilities.max(axis=1)
        raised = largest > probabilities[:, 0]
        probabilities[:, 0] = largest
        everything = np.ones(len(probabilities), bool)
        return Predictions(probabilities, everything, raised, probabilities if ungated else None)

    def _gated(
        self,
        batches: Iterable[NDArray[np.uint8]],
        batch_size: int,
        threshold: float,
        done: Callable[[int], object],
        ungated: bool,
    ) -> Predictions:
        gate, subtypes = self._stages
        p_any: list[NDArray[np.float32]] = [np.empty((0, 1), np.float32)]

        def passing() -> Iterator[list[NDArray[Any]]]:
            """Run the gate; of the slices that pass, or of all, the images and what else stage 2 needs of them."""
            for images in batches:
                p, *reused = _run(gate, [images], batch_size)
                p_any.append(p)
                yield [rows[(p[:, 0] >= threshold) | ungated] for rows in (images, *reused)]
                done(len(images))

        empty = np.empty((0, len(SUBTYPES)), np.float32)
        given = np.concatenate(
            [empty, *(_run(subtypes, batch, batch_size)[0] for batch in _regroup(passing(), batch_size))]
        )
        p = np.concatenate(p_any)
        gated_in = p[:, 0] >= threshold
        p_subtype_if_any = np.tile(self._prevalence(), (len(p), 1))
        p_subtype_if_any[gated_in] = given[gated_in] if ungated else given
        return Predictions(
            np.hstack([p, p * p_subtype_if_any]),
            gated_in,
            np.zeros(len(p), bool),
            np.hstack([p, p * given]) if ungated else None,
        )

    def _prevalence(self) -> NDArray[np.float32]:
        return np.array([self.card.conditional_prevalence[subtype] for subtype in SUBTYPES], np.float32)


def load_detector(model: Path) -> Detector:
    """Load a trained model.

    Args:
        model: a .keras file; its card lies beside it under the same name, ending in .json.

    Raises:
        DataError: the file or its card is not there, damaged, or they do not belong together.
    """
    card = read_card(model)
    try:
        with numpy_initializers(0):  # the values are overwritten at once; drawing them by Keras takes seconds
            network = keras.models.load_model(model, compile=False)
        adapt_precision(network)
        make_fast(network)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{model} cannot be loaded as a Keras model ({one_line(error)}); train it again, with this version of ich"
        ) from error
    if network.input_shape[1:] != (card.size, card.size, 3) or network.output_shape[1:] != (len(LABELS),):
        raise DataError(
            f"{model} maps {network.input_shape} to {network.output_shape}, its card says {card.size} x {card.size} "
            f"RGB to {len(LABELS)} labels; train it again"
        )
    return Detector(network, card)


def adapt_precision(network: keras.Model) -> None:
    """Let layers that were trained in mixed precision compute in what this machine is good at; others stay float32."""
    policy = resolve_precision("auto")
    for layer in network._flatten_layers():  # not public; `layers` leaves out the parts of an attention layer
        if layer.dtype_policy.name.startswith("mixed_"):
            layer.dtype_policy = policy


def _run(forward: Forward, inputs: list[NDArray[Any]], batch_size: int) -> list[NDArray[Any]]:
    """Run one batch of at most `batch_size` rows at exactly that shape."""
    count = len(inputs[0])
    return [np.asarray(output)[:count] for output in forward([pad_batch(rows, batch_size) for rows in inputs])]


def _regroup(batches: Iterable[list[NDArray[Any]]], batch_size: int) -> Iterator[list[NDArray[Any]]]:
    """Full batches from batches of any length, rows in the same order; the last one may be shorter."""
    waiting: list[NDArray[Any]] | None = None
    for batch in batches:
        waiting = batch if waiting is None else [np.concatenate(pair) for pair in zip(waiting, batch, strict=True)]
        if len(waiting[0]) >= batch_size:
            yield [rows[:batch_size] for rows in waiting]
            waiting = [rows[batch_size:] for rows in waiting]
    if waiting is not None and len(waiting[0]):
        yield waiting
