"""What a bank reaches by itself: a model of the plan's family on its own rows, trained to its best."""

from __future__ import annotations

from clientagent.evaluation.scores import mean_loss
from clientagent.preparation.preprocess import Inputs
from clientagent.training.local import class_weights, trainer_of
from clientagent.training.newton import optimum
from clientagent.wire.plan import Plan
from clientagent.wire.strategies import number_of
from clientagent.wire.tensors import Array
from clientagent.wire.weights import initial_weights

PATIENCE, MOST_EPOCHS, LEAST_GAIN = 10, 150, 1e-6


def best_of(plan: Plan, training: Inputs, validation: Inputs) -> Array:
    """The weights with the lowest validation loss, over two step sizes, each trained until it improves no more.

    For ``newton`` the optimum of the training rows under the same ridge.
    """
    if plan.strategy.name == "newton" and len(training.labels):
        good, bad = class_weights(plan, training)
        ridge = number_of(plan.strategy, "ridge")
        return optimum(training.matrix, training.labels, ridge=ridge, good_weight=good, bad_weight=bad)
    rate = plan.training.resolved_learning_rate(plan.model.family)
    tried = [_trained(plan, training, validation, rate * factor) for factor in (1.0, 0.3)]
    return min(tried, key=lambda pair: pair[0])[1]


def _trained(plan: Plan, training: Inputs, validation: Inputs, rate: float) -> tuple[float, Array]:
    start = initial_weights(plan, training.matrix.shape[1])
    judge = validation if len(validation.labels) else training
    trainer = trainer_of(plan, start, training, learning_rate=rate, seed=plan.training.seed, alone=True)
    best, since = (mean_loss(plan, start, judge), start), 0
    for _ in range(MOST_EPOCHS):
        trainer.epoch()
        flat = trainer.weights()
        loss = mean_loss(plan, flat, judge)
        since = 0 if loss < best[0] - LEAST_GAIN else since + 1
        best = (loss, flat) if since == 0 else best
        if since >= PATIENCE:
            break
    return best
