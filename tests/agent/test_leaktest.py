"""The leakage self-test: attacks work on bare updates and not on protected ones, and the audit's arithmetic is sound."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.leakage import audit, membership, recovery
from clientagent.leakage.customers import population_of
from clientagent.leakage.example import example_plan
from clientagent.leakage.leaving import Exchange
from clientagent.leakage.masked import masked_and_opened, opened_mean
from clientagent.leakage.selftest import SelfTest
from clientagent.leakage.variants import bare_gradient, unprotected
from clientagent.wire.errors import PlanUnsupported
from clientagent.wire.leakage import Finding, LeakTest
from clientagent.wire.weights import initial_weights, layout_of
from tests.agent.given import one_bank_plan
from tests.agent.private import private_plan
from tests.agent.test_cli import fedagent, process

RNG = np.random.default_rng


def logistic(**privacy):
    return private_plan(
        {"epsilon": 1.0}, participants=["east", "north", "south"],
        privacy={"min_banks": 3, **privacy}, training__epochs=1, training__optimiser="sgd",
    )  # fmt: skip


@pytest.fixture(scope="module")
def attacked():
    """A small self-test of a plan with noise, all attacks once."""
    return SelfTest(logistic(), rows=60, runs=40).run()


def of(test, attack, customers=None):
    return next(one for one in test.findings if one.attack == attack and customers in (None, one.customers))


def test_one_customers_inputs_are_read_off_a_bare_gradient_and_not_under_noise(attacked):
    found = of(attacked, "recovery", 1)
    assert found.without > 0.999
    assert found.verdict() in ("hidden", "less")
    assert found.leaks_without


def test_the_canary_is_seen_without_noise_and_less_than_stated_with_it(attacked):
    found = of(attacked, "canary")
    assert found.without == found.ceiling > 1.5
    assert found.protected <= attacked.stated_epsilon == 1.0
    assert found.verdict(attacked.stated_epsilon) in ("hidden", "less")


class Faulty(Exchange):
    """An agent whose noise was forgotten, nearly."""

    def terms(self, rows):
        return replace(super().terms(rows), noise_multiplier=1e-3)


def test_the_audit_proves_that_noise_is_missing():
    plan = logistic()
    population = population_of(plan, RNG(0))
    found = audit.audit(Faulty(plan, population.inputs + 1, 2), population, runs=60, delta=1e-6, rng=RNG(1))
    one = Finding(attack="canary", customers=65, chance=0, margin=0, without=found.ceiling, protected=found.epsilon)
    assert found.epsilon > 1.5 > plan.privacy.record_dp.epsilon
    assert one.verdict(plan.privacy.record_dp.epsilon) == "broken"


def test_a_test_says_what_it_was_made_of_and_reads_back(attacked):
    assert attacked.plan_hash == logistic().hash
    assert LeakTest.model_validate_json(attacked.model_dump_json()) == attacked
    assert {one.attack for one in attacked.findings} == {"recovery", "inversion", "membership", "few_false_alarms", "canary"}


def test_members_of_an_overfitted_network_are_told_and_those_under_noise_are_not():
    plan = example_plan()
    plan = plan.model_copy(update={
        "training": plan.training.model_copy(update={"epochs": 60, "learning_rate": 0.02, "batch_size": 20}),
        "model": plan.model.model_copy(update={"hidden": [64], "dropout": 0.0}),
        "privacy": plan.privacy.model_copy(update={"secure_aggregation": None}),
    })  # fmt: skip
    population = population_of(plan, RNG(0))
    plain, own = (Exchange(one, population.inputs, 11) for one in (unprotected(plan), plan))
    plain, own = (short(one) for one in (plain, own))
    members, others = membership.membership_scores(plain, plain, population, 60, RNG(1))
    assert max(map(membership.auc_of, members, others)) > 0.65
    members, others = membership.membership_scores(own, plain, population, 60, RNG(1))
    assert max(map(membership.auc_of, members, others)) < 0.5 + membership.auc_margin(60, membership.OTHERS)


def short(exchange):
    schedule = exchange.plan.schedule.model_copy(update={"rounds": 1})
    return Exchange(exchange.plan.model_copy(update={"schedule": schedule}), exchange.inputs, exchange.features)


def test_masked_words_tell_nothing_and_their_sum_is_the_mean():
    plan = unprotected(example_plan())
    masked_plan = example_plan().model_copy(update={"privacy": example_plan().privacy.model_copy(update={"record_dp": None})})
    population, rng = population_of(plan, RNG(0)), RNG(3)
    bare = Exchange(bare_gradient(plan, 1), population.inputs, 11)
    base, rows = initial_weights(plan, population.inputs), population.draw(1, rng)
    update = bare.update(base, rows, rng)
    others = [bare.update(base, population.draw(64, rng), rng) for _ in range(2)]
    masked, mean = masked_and_opened(masked_plan, [update, *others], rng)
    assert np.array_equal(mean, opened_mean(masked_plan, [update, *others], rng))
    assert np.allclose(mean, np.mean([update, *others], axis=0), atol=1e-5)
    in_clear = recovery.best_of(recovery.read_off(plan, update, population.inputs), rows.matrix)
    under_masks = recovery.best_of(recovery.read_off(plan, masked, population.inputs), rows.matrix)
    assert in_clear > 0.999
    assert under_masks < 0.8


def test_inversion_finds_a_pair_of_customers_in_a_bare_gradient():
    plan = unprotected(example_plan())
    population, rng = population_of(plan, RNG(0)), RNG(5)
    base, rows = initial_weights(plan, population.inputs), population.draw(2, rng)
    update = Exchange(bare_gradient(plan, 2), population.inputs, 11).update(base, rows, rng)
    found = recovery.best_match(recovery.inverted(plan, base, update, rows.labels, population.inputs, 0), rows.matrix)
    noise = rng.normal(size=layout_of(plan, population.inputs).parameters).astype(np.float32)
    blind = recovery.best_match(recovery.inverted(plan, base, noise, rows.labels, population.inputs, 0), rows.matrix)
    assert found > 0.7 > blind + 0.1


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 100), st.data())
def test_clopper_pearson_holds_its_tails(trials, data):
    stats = pytest.importorskip("scipy.stats")
    successes = data.draw(st.integers(0, trials))
    low, high = audit.clopper_pearson(successes, trials)
    exact = stats.binomtest(successes, trials).proportion_ci(0.95, "exact")
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 100), st.data())
def test_no_bound_beats_a_perfect_test(runs, data):
    hits, alarms = data.draw(st.integers(0, runs)), data.draw(st.integers(0, runs))
    assert 0 <= audit.lower_bound(hits, alarms, runs, 1e-6) <= audit.lower_bound(runs, 0, runs, 0.0)


def test_the_bound_of_randomised_response_is_below_its_epsilon():
    """Warner 1965: a coin with chance e / (1 + e) has epsilon 1, and a sound audit stays below it."""
    rng = RNG(0)
    bounds = []
    for _ in range(5):
        yes = (rng.random((1000, 1)) < math.e / (1 + math.e)).astype(float)
        no = (rng.random((1000, 1)) < 1 / (1 + math.e)).astype(float)
        bounds.append(audit.bound_from(yes, no, 0.0))
    assert 0.6 < np.mean(bounds) < 1.0


def test_a_plan_that_trains_nothing_is_refused():
    with pytest.raises(PlanUnsupported, match="epochs"):
        SelfTest(one_bank_plan()).run()


def test_verdicts_follow_chance_and_the_stated_epsilon():
    one = Finding(attack="canary", customers=65, chance=0, margin=0, without=3.6, protected=2.0, ceiling=3.6)
    assert one.verdict(3.0) == "leaks"
    assert one.verdict(1.0) == "broken"
    assert one.model_copy(update={"protected": 0.5}).verdict(3.0) == "less"
    assert one.model_copy(update={"protected": 0.0}).verdict(3.0) == "hidden"
    assert one.model_copy(update={"protected": 0.0, "without": 0.0}).verdict(None) == "nothing"


def test_the_command_prints_both_sides_and_json(tmp_path):
    plan = one_bank_plan(training__epochs=1, schedule__select="last", compression={"codec": "int8"})
    path = tmp_path / "plan.json"
    path.write_text(plan.canonical_text)
    argv = ("leaktest", "--plan", str(path), "--rows", "20", "--runs", "20", "--home", str(tmp_path))
    done = process(*argv, "--json")
    assert done.returncode == 0, done.stderr
    test = LeakTest.model_validate(json.loads(done.stdout))
    assert test.plan_hash == plan.hash
    assert test.stated_epsilon is None
    printed = fedagent(*argv).stdout
    assert "compression by int8" in printed
    assert "never their absence" in printed
    assert fedagent("leaktest", "--plan", "nowhere.json", "--home", str(tmp_path)).returncode == 1
