"""Clipped gradients of linear layers with ReLU between them (logistic: one layer), without making one gradient a record.

Layer l sees activations a and passes back errors e; a record's weight gradient is the outer product of the two, so its squared
norm is |e|^2 |a|^2 (Goodfellow 2015, arXiv:1510.01799; with the bias |e|^2 (|a|^2 + 1)). Norms therefore cost two row sums, and
the clipped sum one matrix product a layer: exactly what Abadi et al. 2016 (algorithm 1) sum, at the price of a plain batch.

The metric. Weights of a layer count ``scale`` times: with scale = 1/sqrt(features) the average record's inputs have norm one, and
a clip of 1 cuts the few and not the most. A public change of units: clipping and noise agree on it, so the guarantee is the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clientagent.privacy.clipped import ClippedSum, clip_factors
from clientagent.training.local import FOCUS
from clientagent.wire.privacy.stream import Stream
from clientagent.wire.tensors import Array, Layout


class DenseGradients:
    """For a layout of ``layers.i.weight`` (out, in) and ``layers.i.bias`` (out,). ``scales``: one for each layer."""

    def __init__(
        self, layout: Layout, scales: Sequence[float], *, dropout: float = 0.0, focal: bool = False,
        class_weights: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        self._layout, self._scales = layout, list(scales)
        self._dropout, self._focal, self._class_weights = dropout, focal, class_weights
        self._layers = len(layout.shapes) // 2
        stretch = {}
        for layer in range(self._layers):
            stretch[f"layers.{layer}.weight"] = np.full(layout.shapes[f"layers.{layer}.weight"], 1 / self._scales[layer])
            stretch[f"layers.{layer}.bias"] = np.ones(layout.shapes[f"layers.{layer}.bias"])
        self.noise_scale = np.concatenate([stretch[name].reshape(-1) for name in layout.names])

    def __call__(self, weights: Array, rows: Array, labels: Array, *, clip: float, stream: Stream) -> ClippedSum:
        if not len(rows):
            return ClippedSum(np.zeros(self._layout.parameters), 0)
        tensors = self._layout.unflatten(weights)
        with np.errstate(over="ignore", invalid="ignore"):
            activations, masks = self._forward(tensors, rows, stream)
            errors = self._backward(tensors, activations, masks, labels)
            norms = self._norms(activations, errors)
        factors = clip_factors(norms, clip)
        usable = np.isfinite(norms)
        sums = self._sums(activations, errors, factors, usable)
        return ClippedSum(sums, int(np.count_nonzero(factors < 1)), float(norms[usable].sum(dtype=np.float64)))

    # ------------------------------------------------------------------ forwards
    def _forward(self, tensors: dict[str, Array], rows: Array, stream: Stream) -> tuple[list[Array], list[Array]]:
        """What each layer saw, then the logits (batch,); and for each hidden layer what its inputs are multiplied by."""
        activations, masks = [rows], []
        for layer in range(self._layers):
            rows = rows @ tensors[f"layers.{layer}.weight"].T + tensors[f"layers.{layer}.bias"]
            if layer + 1 < self._layers:
                mask = self._mask(rows, stream)
                rows = rows * mask
                masks.append(mask)
            activations.append(rows)
        activations[-1] = rows[:, 0]
        return activations, masks

    def _mask(self, rows: Array, stream: Stream) -> Array:
        """The derivative of ReLU and dropout at once (batch, width)."""
        mask = (rows > 0).astype(np.float32)
        if self._dropout:
            threshold = np.uint32(min(round(self._dropout * 2**32), 2**32 - 1))
            mask *= (stream.words32(rows.size) >= threshold).reshape(rows.shape)
            mask /= np.float32(1 - self._dropout)
        return mask

    # ----------------------------------------------------------------- backwards
    def _backward(
        self, tensors: dict[str, Array], activations: list[Array], masks: list[Array], labels: Array
    ) -> list[Array]:
        """The error (batch, width) of each layer's output."""
        error = self._slope(activations[-1], labels)[:, None]
        errors = [error]
        for layer in range(self._layers - 1, 0, -1):
            error = (error @ tensors[f"layers.{layer}.weight"]) * masks[layer - 1]
            errors.append(error)
        return errors[::-1]

    def _slope(self, logits: Array, labels: Array) -> Array:
        """The derivative (batch,) of each record's own loss by its logit: weighted log loss, or focal loss."""
        slope = np.tanh(logits * np.float32(0.5))  # the sigmoid is (1 + tanh(z / 2)) / 2
        slope *= np.float32(0.5)
        slope += np.float32(0.5) - labels
        if self._focal:
            tail = np.exp(-np.abs(logits))
            loss = np.maximum(logits, 0) - labels * logits + np.log1p(tail)
            hit = np.exp(-loss)
            slope = slope * ((1 - hit) ** FOCUS + FOCUS * (1 - hit) ** (FOCUS - 1) * hit * loss)
        good, bad = self._class_weights
        if (good, bad) != (1.0, 1.0):
            slope = slope * np.where(labels > 0, np.float32(bad), np.float32(good))
        return slope.astype(np.float32, copy=False)

    def _norms(self, activations: list[Array], errors: list[Array]) -> NDArray[np.float32]:
        """Each record's gradient norm (batch,) in the metric."""
        squares = np.zeros(len(errors[0]), np.float32)
        for scale, seen, error in zip(self._scales, activations[:-1], errors, strict=True):
            squares += row_squares(error) * (np.float32(scale * scale) * row_squares(seen) + 1)
        norms: NDArray[np.float32] = np.sqrt(squares)
        return norms

    def _sums(
        self, activations: list[Array], errors: list[Array], factors: NDArray[np.float32], usable: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        if not usable.all():  # nought times infinity is not nought
            activations, errors = [part[usable] for part in activations], [part[usable] for part in errors]
            factors = factors[usable]
        sums: dict[str, Array] = {}
        for layer, (seen, error) in enumerate(zip(activations[:-1], errors, strict=True)):
            cut: Array = error * factors[:, None]
            sums[f"layers.{layer}.weight"] = cut.T @ seen
            sums[f"layers.{layer}.bias"] = cut.sum(axis=0)
        return self._layout.flatten(sums).astype(np.float64)


def row_squares(matrix: Array) -> Array:
    squares: Array = np.einsum("ij,ij->i", matrix, matrix)
    return squares
