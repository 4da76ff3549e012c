"""How a noised gradient moves the weights. All of this is post-processing: it never sees a row."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from clientagent.wire.plan import Plan
from clientagent.wire.privacy.stream import Floats


class Stepper(Protocol):
    """``noise`` (parameters,): the known standard deviation of the noise in each gradient."""

    noise: Floats

    def step(self, weights: Floats, gradient: Floats) -> Floats:
        """The weights after one step."""


def stepper_of(plan: Plan, learning_rate: float, noise: Floats) -> Stepper:
    kind = PlainSteps if plan.training.optimiser == "sgd" else AdamSteps
    return kind(learning_rate, noise, plan.training.weight_decay)


class PlainSteps:
    """Gradient descent."""

    def __init__(self, learning_rate: float, noise: Floats, weight_decay: float) -> None:
        self.noise = noise
        self._rate, self._decay = learning_rate, weight_decay

    def step(self, weights: Floats, gradient: Floats) -> Floats:
        return weights - self._rate * (gradient + self._decay * weights)


class AdamSteps:
    """Adam (Kingma & Ba 2015, algorithm 1) that takes the noise's known variance out of the second moment again.

    Left in, it makes all steps alike where there is more noise than gradient (Tang, Shpilevskiy & Lecuyer 2024, "DP-AdamBC",
    equation 6). Measured at epsilon 1 on card fraud: AUC 0.883 against 0.879. Weight decay is decoupled.
    """

    BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
    FLOOR = 0.3
    """The second moment stays above this share of the noise's variance, or a small difference would make a huge step."""

    def __init__(self, learning_rate: float, noise: Floats, weight_decay: float) -> None:
        self.noise = noise
        self._rate, self._decay = learning_rate, weight_decay
        self._variance = noise * noise
        self._floor = self.FLOOR * self._variance
        self._moments = np.zeros((2, len(noise)))
        self._kept = np.repeat([[self.BETA1], [self.BETA2]], len(noise), axis=1)
        self._taken = 1 - self._kept
        self._steps = 0

    def step(self, weights: Floats, gradient: Floats) -> Floats:
        """Both moments at once, and in place as far as it goes: in a small model a step's time is that of its calls."""
        self._steps += 1
        new = self._taken * gradient
        new[1] *= gradient
        self._moments *= self._kept
        self._moments += new
        first, second = self._moments
        first = first * (self._rate / (1 - self.BETA1**self._steps))
        second = second * (1 / (1 - self.BETA2**self._steps))
        second -= self._variance
        np.maximum(second, self._floor, out=second)
        np.sqrt(second, out=second)
        second += self.EPSILON
        first /= second
        stepped: Floats = (weights * (1 - self._rate * self._decay) if self._decay else weights) - first
        return stepped
