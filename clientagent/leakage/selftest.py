"""All attacks, without protection and under the plan, side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clientagent import __version__
from clientagent.leakage import audit, membership, recovery
from clientagent.leakage.customers import MOST_FEATURES, Population, population_of
from clientagent.leakage.leaving import Exchange
from clientagent.leakage.variants import attackable, bare_gradient, is_narrowed, unprotected
from clientagent.preparation.preprocess import Inputs
from clientagent.wire.capabilities import require_supported
from clientagent.wire.combinations import require_combinable
from clientagent.wire.errors import PlanUnsupported
from clientagent.wire.leakage import Attack, Finding, LeakTest
from clientagent.wire.plan import Plan
from clientagent.wire.tensors import Array
from clientagent.wire.weights import initial_weights, layout_of

Progress = Callable[[Attack, int, int], None]
"""Called with the attack, and how many of how many parts of the whole test are done."""
BATCHES = (1, 8)
"""Customers of a bank whose inputs are read off its first layer; and then the plan's own batch."""
INVERTED = 4
TRIALS, INVERSION_TRIALS, MEMBERSHIP_TRIALS = 8, 3, 3
RUNS = 200
UNRELATED = 10
"""Sets of customers that nobody trained on, a trial, against which the same finds show what chance yields."""
Reader = Callable[[Plan, Array, Array, Inputs, int], NDArray[np.float64]]
Held = Callable[[NDArray[np.float64], Array], float]


@dataclass(frozen=True)
class SelfTest:
    """A self-test of ``plan`` with ``rows`` customers a bank. ``runs`` of the canary audit, with and without the canary."""

    plan: Plan
    rows: int = 200
    seed: int = 0
    runs: int = RUNS

    def run(self, progress: Progress | None = None) -> LeakTest:
        """Raises ``PlanUnsupported``, ``PlanInvalid`` and ``BudgetExceeded``."""
        started = time.monotonic()
        require_supported(self.plan)
        require_combinable(self.plan)
        require_torch()
        report = progress or (lambda attack, done, of: None)
        small = attackable(self.plan)
        population = population_of(small, self._rng("population"))
        parts = self._parts(small, population)
        findings: list[Finding] = []
        for done, (attack, part) in enumerate(parts):
            report(attack, done, len(parts))
            findings += part()
        exchange = self._exchange(small, population)
        record = small.privacy.record_dp
        return LeakTest(
            plan_hash=self.plan.hash, agent_version=__version__, made_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            seconds=round(time.monotonic() - started, 1), seed=self.seed, rows=self.rows, banks=exchange.banks,
            inputs=population.inputs, hidden=small.model.hidden if small.model.family == "mlp" else [],
            parameters=layout_of(small, population.inputs).parameters,
            narrowed=is_narrowed(self.plan) or len(self.plan.features) > MOST_FEATURES,
            stated_epsilon=record.epsilon if record else None, delta=exchange.terms(self.rows).delta if record else None,
            findings=findings,
        )  # fmt: skip

    def _parts(self, plan: Plan, population: Population) -> list[tuple[Attack, Callable[[], list[Finding]]]]:
        batches = sorted({*BATCHES, min(plan.training.batch_size, self.rows)})
        return [
            *(("recovery", partial(self._recovery, plan, population, batch)) for batch in batches),
            ("inversion", partial(self._inversion, plan, population, INVERTED)),
            ("membership", partial(self._membership, plan, population, self.rows)),
            ("canary", partial(self._audit, plan, population, self.runs)),
        ]

    # ------------------------------------------------------------- whose inputs
    def _recovery(self, plan: Plan, population: Population, customers: int) -> list[Finding]:
        def read(plan: Plan, base: Array, update: Array, rows: Inputs, seed: int) -> NDArray[np.float64]:
            return recovery.read_off(plan, update, population.inputs)

        return [self._inputs_found("recovery", plan, population, customers, TRIALS, read, recovery.best_of)]

    def _inversion(self, plan: Plan, population: Population, customers: int) -> list[Finding]:
        def read(plan: Plan, base: Array, update: Array, rows: Inputs, seed: int) -> NDArray[np.float64]:
            return recovery.inverted(plan, base, update, rows.labels, population.inputs, seed)

        return [self._inputs_found("inversion", plan, population, customers, INVERSION_TRIALS, read, recovery.best_match)]

    def _inputs_found(
        self, attack: Attack, plan: Plan, population: Population, customers: int, trials: int, read: Reader, held: Held
    ) -> Finding:
        """Means over ``trials``; under masks the better of what the masked words and the opened sum yield.

        Chance is what the same finds yield against customers whom nobody trained on, of the two columns the higher one: the
        best of many guesses is right by luck, too.
        """
        rng = self._rng(f"{attack} {customers}")
        found: dict[bool, list[float]] = {True: [], False: []}
        guessed: dict[bool, list[float]] = {True: [], False: []}
        for trial in range(trials):
            base = self._base(plan, population, trial)
            groups = [population.draw(customers, rng) for _ in range(self._exchange(plan, population).banks)]
            for protected, variant in ((False, bare_gradient(plan, customers)), (True, plan)):
                seen = self._exchange(variant, population).seen(base, groups, rng)
                finds = [read(variant, base, update, groups[0], trial) for update in seen.values()]
                found[protected].append(max(held(find, groups[0].matrix) for find in finds))
                for _ in range(UNRELATED):
                    strangers = population.draw(customers, rng).matrix
                    guessed[protected].append(max(held(find, strangers) for find in finds))
        luckier = max(guessed.values(), key=np.mean)
        margin = membership.SURE * max(float(np.std(values)) for values in guessed.values()) / math.sqrt(trials)
        return Finding(
            attack=attack, customers=customers, chance=_round(float(np.mean(luckier))), margin=_round(min(margin, 1.0)),
            without=_round(float(np.mean(found[False]))), protected=_round(float(np.mean(found[True]))),
        )

    # ------------------------------------------------------------------ who was in
    def _membership(self, plan: Plan, population: Population, customers: int) -> list[Finding]:
        plain, measures = self._exchange(unprotected(plan), population), (membership.auc_of, membership.found_at)
        found: dict[bool, list[NDArray[np.float64]]] = {True: [], False: []}
        for trial in range(MEMBERSHIP_TRIALS):
            for protected, exchange in ((False, plain), (True, self._exchange(plan, population))):
                scores = membership.membership_scores(exchange, plain, population, customers, self._rng(f"membership {trial}"))
                found[protected].append(np.array([[measure(*pair) for pair in zip(*scores, strict=True)] for measure in measures]))
        without, protected = (np.mean(found[which], axis=0).max(axis=1) for which in (False, True))
        members, others = customers * MEMBERSHIP_TRIALS, membership.OTHERS * MEMBERSHIP_TRIALS
        return [
            Finding(attack="membership", customers=customers, chance=0.5, margin=_round(membership.auc_margin(members, others)),
                    without=_round(without[0]), protected=_round(protected[0])),
            Finding(attack="few_false_alarms", customers=customers, chance=membership.FALSE_ALARMS,
                    margin=_round(membership.found_margin(members, others)), without=_round(without[1]),
                    protected=_round(protected[1])),
        ]  # fmt: skip

    def _audit(self, plan: Plan, population: Population, runs: int) -> list[Finding]:
        delta = self._exchange(plan, population).terms(audit.ROWS).delta if plan.privacy.record_dp else 0.0
        found = [
            audit.audit(self._exchange(variant, population, extra=1), population, runs=runs, delta=delta, rng=self._rng("audit"))
            for variant in (unprotected(plan), plan)
        ]
        return [Finding(
            attack="canary", customers=audit.ROWS + 1, chance=0.0, margin=0.0, without=_round(found[0].epsilon),
            protected=_round(found[1].epsilon), ceiling=_round(found[1].ceiling),
        )]  # fmt: skip

    # ---------------------------------------------------------------------- inside
    def _exchange(self, plan: Plan, population: Population, extra: int = 0) -> Exchange:
        return Exchange(plan, population.inputs + extra, len(population.widths))

    def _base(self, plan: Plan, population: Population, trial: int) -> Array:
        """Initial weights of another seed a trial."""
        seeded = plan.model_copy(update={"training": plan.training.model_copy(update={"seed": self.seed + trial})})
        return initial_weights(seeded, population.inputs)

    def _rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *name.encode()])


def require_torch() -> None:
    """Raises ``PlanUnsupported`` where the extra is not installed."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise PlanUnsupported(expected="torch: pip install 'fedagent[train]'", got="none installed")


def _round(value: float) -> float:
    return round(float(value), 4)
