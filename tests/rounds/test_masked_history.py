"""What an auditor can hold a masked run's history against: terms, keys, vectors and the banks' words on who is in the sum."""

from __future__ import annotations

import copy
import json
from datetime import timedelta
from typing import Any

import pytest

from clientagent.history.story import Story
from clientagent.history.verify import History, verify_history
from clientagent.wire.canonical import digest_of
from clientagent.wire.errors import LedgerBroken, Refusal
from clientagent.wire.messages import PlanDocument, RunManifest
from clientagent.wire.plan import parse_plan
from clientagent.wire.signing import parse
from rounds import services
from rounds.clock import now
from rounds.exports.downloads import history
from rounds.models import Cohort
from rounds.storage import blobs
from tests.rounds.masked import finish_masked, masked
from tests.rounds.scripted import make_federation


@pytest.fixture
def file(north, south, east, admin, nobody_lingers) -> dict[str, Any]:
    secure = {"secure_aggregation": {"threshold": 0.6, "min_cohort": 3}}
    federation = masked(make_federation([north, south, east], admin, privacy=secure, schedule={"rounds": 1}))
    federation.begin()
    finish_masked(federation)
    return history(federation.run)


def tell(file: dict[str, Any]) -> Story:
    """Read the entries as the auditor's program does once it has checked the chain."""
    told = parse(History, file)
    manifest = parse(RunManifest, told.manifest.document)
    plan = parse_plan(parse(PlanDocument, told.plan.document).plan)
    story = Story(manifest.run, plan, told.manifest, manifest, told.preprocessing)
    for sealed in told.entries:
        story.read(sealed.entry)
    story.end()
    return story


def of_stage(file: dict[str, Any], stage: str, number: int = 1) -> dict[str, Any]:
    """``number``: of a round; 0 is the cohort that summed statistics."""
    told = [item["entry"]["body"] for item in file["entries"] if item["entry"]["kind"] == "cohort_stage_closed"]
    return next(body for body in told if (body["stage"], body["round"]) == (stage, number))


def of_kind(file: dict[str, Any], kind: str, number: int = 1) -> dict[str, Any]:
    told = [item["entry"]["body"] for item in file["entries"] if item["entry"]["kind"] == kind]
    return next(body for body in told if body["round"] == number)


def test_the_history_of_a_masked_run_verifies_and_holds_no_secret(file):
    proof = verify_history(json.dumps(file).encode())
    assert (proof.rounds, proof.updates) == (1, 3)
    assert not {"self_shares", "boxes"} & set(json.dumps(file).replace('"', " ").split())


def test_the_opened_mean_is_kept_as_long_as_its_round(file):
    services.collect(moment=now() + timedelta(days=3))
    assert blobs.exists(Cohort.objects.exclude(round=None).get(round__only_counts=False).mean_id)


def other_terms(file: dict[str, Any], number: int = 1) -> None:
    of_kind(file, "cohort_formed", number)["terms"]["members"][0]["weight"] = 0.5 if number == 0 else 1.0


def swap_a_key(file: dict[str, Any], number: int = 1) -> None:
    said = of_stage(file, "keys", number)["said"]
    said["north"]["document"]["mask_key"] = said["south"]["document"]["mask_key"]


def swap_a_vector(file: dict[str, Any], number: int = 1) -> None:
    said = of_stage(file, "masked", number)["said"]
    said["north"]["document"]["digest"] = said["south"]["document"]["digest"]


def lie_about_survivors(file: dict[str, Any], number: int = 1) -> None:
    del of_stage(file, "masked", number)["said"]["south"]


def too_few_signers(file: dict[str, Any], number: int = 1) -> None:
    said = of_stage(file, "consistency", number)["said"]
    del said["north"], said["south"]


def skip_a_stage(file: dict[str, Any], number: int = 1) -> None:
    of_stage(file, "consistency", number)["stage"] = "unmask"


def another_weight(file: dict[str, Any]) -> None:
    entries = of_kind(file, "round_closed")["aggregation"]["entries"]
    entries[0]["weight"], entries[1]["weight"] = entries[1]["weight"], entries[0]["weight"]
    reseal(file)


def leave_a_survivor_out(file: dict[str, Any]) -> None:
    entries = of_kind(file, "round_closed")["aggregation"]["entries"]
    gone = entries.pop()
    entries[0]["weight"] += gone["weight"]
    reseal(file)


def reseal(file: dict[str, Any]) -> None:
    closed = of_kind(file, "round_closed")
    closed["digest"] = digest_of(closed["aggregation"])


@pytest.mark.parametrize("lie", [other_terms, swap_a_key, swap_a_vector, lie_about_survivors, too_few_signers, skip_a_stage])
def test_a_story_of_other_statistics_than_the_banks_signed_is_found_out(file, lie):
    lie(file, 0)
    with pytest.raises((LedgerBroken, Refusal)):
        tell(file)


@pytest.mark.parametrize("lie", [
    other_terms, swap_a_key, swap_a_vector, lie_about_survivors, too_few_signers, skip_a_stage, another_weight,
    leave_a_survivor_out,
])  # fmt: skip
def test_a_story_that_does_not_fit_what_the_banks_signed_is_found_out(file, lie):
    tell(copy.deepcopy(file))
    lie(file)
    with pytest.raises((LedgerBroken, Refusal)):
        tell(file)
