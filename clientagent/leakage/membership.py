"""Who was trained on: members have a smaller loss than others, the more so against a model that never saw them.

The threshold attack (Yeom et al. 2018) on losses, and on losses calibrated by a reference model of the attacker's own customers
(Watson et al. 2022, "On the importance of difficulty calibration"), whichever does better; reported at few false alarms too, as
Carlini et al. 2022 ask.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from clientagent.evaluation.scores import losses, score
from clientagent.leakage.customers import Population
from clientagent.leakage.leaving import Exchange
from clientagent.leakage.masked import opened_mean
from clientagent.preparation.preprocess import Inputs
from clientagent.wire.plan import Plan
from clientagent.wire.tensors import Array
from clientagent.wire.weights import initial_weights

Numbers = NDArray[np.float64]
BANKS, MOST_ROUNDS, OTHERS = 3, 10, 2000
"""Banks that train together, rounds of it at most, and customers that nobody trained on."""
FALSE_ALARMS = 0.01
SURE = NormalDist().inv_cdf(1 - 0.01 / 4)
"""99 %, on both sides, of the better of two scores."""


def membership_scores(
    exchange: Exchange, plain: Exchange, population: Population, rows: int, rng: np.random.Generator
) -> tuple[Numbers, Numbers]:
    """(of the first bank's members (2, rows), of others (2, OTHERS)): higher says member. Plain losses, then calibrated ones.

    ``plain`` trains the reference.
    """
    members, others = population.draw(rows, rng), population.draw(OTHERS, rng)
    banks = [members, *(population.draw(rows, rng) for _ in range(BANKS - 1))]
    target = held_model(exchange, banks, rng)
    reference = held_model(plain, [population.draw(rows, rng) for _ in range(BANKS)], rng)

    def scores(customers: Inputs) -> Numbers:
        lost = _losses(exchange.plan, target, customers)
        return np.stack([-lost, _losses(plain.plan, reference, customers) - lost])

    return scores(members), scores(others)


def held_model(exchange: Exchange, banks: list[Inputs], rng: np.random.Generator) -> Array:
    """The weights that the portal attacks after the last round: the first bank's own, or under masks the cohort's mean."""
    weights = initial_weights(exchange.plan, exchange.inputs)
    rounds = min(exchange.plan.schedule.rounds, MOST_ROUNDS)
    for number in range(1, rounds + 1):
        made = [exchange.update(weights, rows, rng, round_number=number) for rows in banks]
        if number == rounds and exchange.banks == 1:
            return weights + made[0]
        mean = opened_mean(exchange.plan, made, rng) if exchange.banks > 1 else np.mean(made, axis=0, dtype=np.float64)
        weights = (weights + mean).astype(np.float32)
    return weights


def auc_of(members: Numbers, others: Numbers) -> float:
    """The chance that a member scores above another, ties by half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, members, "left") + np.searchsorted(ordered, members, "right")
    return float(below.sum() / (2 * len(members) * len(others)))


def found_at(members: Numbers, others: Numbers, false_alarms: float = FALSE_ALARMS) -> float:
    """The share of members above the threshold that so many of the others pass."""
    return float(np.mean(members > np.quantile(others, 1 - false_alarms, method="higher")))


def auc_margin(members: int, others: int) -> float:
    """How far luck takes the AUC of a blind attack from one half: the U statistic's variance, at 99 %."""
    return SURE * math.sqrt((members + others + 1) / (12 * members * others))


def found_margin(members: int, others: int, false_alarms: float = FALSE_ALARMS) -> float:
    """The same for the share found: binomial in the members, and the threshold's own in the others."""
    return SURE * math.sqrt(false_alarms * (1 - false_alarms) * (1 / members + 1 / others))


def _losses(plan: Plan, weights: Array, customers: Inputs) -> Numbers:
    return losses(score(plan, weights, customers.matrix), customers.labels)
