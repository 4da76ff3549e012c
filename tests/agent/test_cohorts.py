"""A bank's side of a cohort on its own disk: every step by a new process, and a portal that lies."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clientagent.cohorts import Seat, trained_before, word_of
from clientagent.files import write_atomic
from clientagent.home import Home
from clientagent.orders import Terms
from clientagent.wire import messages as m
from clientagent.wire.canonical import digest_of, sha256_hex
from clientagent.wire.cohort_orders import CohortNotice, UpdateReady
from clientagent.wire.errors import CohortMismatch, ConsistencyBroken, Refusal, RoundUnknown, SignatureInvalid, UnmaskRefused
from clientagent.wire.masking import (
    UPDATE,
    Base,
    Collector,
    Stage,
    array_reader,
    cohort_segments,
    cohort_terms,
    count_segments,
    dequantise,
    open_sum,
    pooled_evaluation,
    quantise,
    remaining_masks,
    require_single_opening,
    update_segments,
)
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.institution import institution_terms
from clientagent.wire.secure_messages import Opened
from clientagent.wire.signing import Signed, parse, sign_document
from clientagent.wire.tensors import pack
from clientagent.wire.weights import layout_of
from tests.agent.test_cli import fedagent
from tests.wire.cohorts import RUN, identity_of
from tests.wire.given import a_plan

BANKS = ["east", "north", "south", "west"]
PLAN = a_plan(privacy__secure_aggregation={"threshold": 0.6}, model={"family": "logistic", "hidden": []})
LAYOUT = layout_of(PLAN, 3)
MANIFEST = m.RunManifest(
    run=RUN, project="retail-credit", plan_hash=PLAN.hash, preprocessing_digest="b" * 64, inputs=3, parameters=LAYOUT.parameters,
    initial_digest="c" * 64, created_utc="2026-01-01T00:00:00Z",
    roster=[
        m.RosterEntry(
            institution=name, agent_id=RUN, public_key=identity_of(name).public.text,
            key_fingerprint=identity_of(name).fingerprint, rows=rows, validation_rows=10, holdout_rows=20, weight=rows / 1000,
        )
        for name, rows in zip(BANKS, (100, 400, 200, 300), strict=True)
    ],
)  # fmt: skip
DIGEST = digest_of(MANIFEST)
BASE = Base(0, "c" * 64)
ENVIRONMENT = m.Environment(agent_version="1", python="3.11", numpy="2")


@dataclass
class Room:
    """Four banks with an update each, and a portal that is a ``Collector``."""

    folder: Path
    attempt: int = 1
    seed: int = 0
    plan: Plan = PLAN
    manifest: m.RunManifest = MANIFEST
    noise: float | None = None
    base_number: int = 0
    plain: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.collector = Collector(cohort_terms(
            plan=self.plan, manifest=self.manifest, manifest_digest=DIGEST, round_number=self.base_number + 1, attempt=self.attempt,
            bases=dict.fromkeys(BANKS, Base(self.base_number, BASE.digest)), noise_multiplier=self.noise,
            segments=cohort_segments(
                self.plan, self.manifest, BANKS, purpose="update", base_number=self.base_number, attempt=self.attempt,
                noise_multiplier=self.noise,
            ),
        ))
        for i, bank in enumerate(BANKS):
            self._prepare(bank, np.random.default_rng(self.seed + i).normal(size=LAYOUT.parameters).astype(np.float32))

    def _prepare(self, bank: str, update: Any) -> None:
        home, key = Home(self.folder / bank), identity_of(bank)
        write_atomic(home.key_path, key.to_pem())
        self.plain[bank] = update
        ready = UpdateReady(
            run=RUN, manifest_digest=DIGEST, round=self.base_number + 1, attempt=self.attempt, base_number=self.base_number,
            base_digest="c" * 64, institution=bank,
            agent_id=RUN, rows=100, steps=1, training_s=0.1, plain_bytes=LAYOUT.file_bytes, environment=ENVIRONMENT,
        )
        self.seat(bank).work.wait_to_be_masked(pack(update, LAYOUT), sign_document(ready, key))

    def seat(self, bank: str) -> Seat:
        """What a process that has just started finds on this bank's disk."""
        home = Home(self.folder / bank)
        own = next(entry for entry in self.manifest.roster if entry.institution == bank)
        folder = home.run(RUN)
        order = m.WorkOrder(
            kind="train", run=RUN, institution=bank, manifest_digest=DIGEST, round=self.base_number + 1, attempt=self.attempt,
            base_number=self.base_number, base_digest="c" * 64, base_bytes=LAYOUT.file_bytes, evaluate=False,
            deadline_utc="2099-01-01T00:00:00Z",
        )
        work = folder.work(self.base_number + 1, self.attempt)
        return Seat(home, Terms(self.plan, None, self.manifest, own, LAYOUT, folder), order, work)

    def notice(self, bank: str, **changes: Any) -> CohortNotice:
        said = CohortNotice(
            run=RUN, manifest_digest=DIGEST, round=self.base_number + 1, attempt=self.attempt, cohort=1, rid=self.collector.cohort.rid,
            institution=bank, stage=str(self.collector.stage), content=self.collector.notice(bank),
            deadline_utc="2099-01-01T00:00:00Z",
        )
        return said.model_copy(update=changes)

    def word(self, bank: str, **changes: Any) -> Signed:
        said = word_of(self.seat(bank), self.notice(bank, **changes))
        return parse(m.UpdateManifest, said.document).masked if self.collector.stage == Stage.MASKED else said

    def until(self, stage: Stage, *, silent: tuple[str, ...] = ()) -> Room:
        while self.collector.stage != stage:
            for bank in self.collector.awaited:
                if bank not in silent:
                    self.collector = self.collector.accept(self.word(bank))
            self.collector = self.collector.close()
        return self

    def vector(self, bank: str) -> Any:
        return np.frombuffer(self.seat(bank).work.update_path.read_bytes(), "<u4")


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_the_opened_sum_is_that_of_the_quantised_updates_bit_for_bit(room: Room) -> None:
    cohort = room.until(Stage.DONE).collector.cohort
    segment = cohort.ring.places[0].segment
    plain = [quantise(room.plain[bank], segment, factor=cohort.factor_of(bank)).integers.astype(np.int64) for bank in BANKS]
    readers = [array_reader(room.vector(bank)) for bank in BANKS]
    blocks = list(open_sum(cohort.ring, readers, remaining_masks(room.collector)))
    assert np.array_equal(np.concatenate([block.integers for block in blocks]), np.sum(plain, axis=0))


@pytest.mark.parametrize("stage", list(Stage)[:-1])
def test_a_restart_says_the_same_words_again(room: Room, stage: Stage) -> None:
    room.until(stage)
    first, second = room.word("north"), room.word("north")
    assert first == second
    if stage == Stage.MASKED:
        words = parse(m.UpdateManifest, room.seat("north").work.manifest.document)
        assert sha256_hex(room.seat("north").work.update_path.read_bytes()) == words.update_digest


def test_secrets_lie_on_disk_before_anything_follows_from_them_and_only_their_owner_reads_them(room: Room) -> None:
    room.word("north")
    path = room.folder / "north" / "runs" / RUN / "work" / "1-1" / "cohort-1.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_leaves_is_not_the_update(room: Room) -> None:
    room.until(Stage.CONSISTENCY)
    ring = room.collector.cohort.ring
    for bank in BANKS:
        found = quantise(room.plain[bank], ring.places[0].segment, factor=room.collector.cohort.factor_of(bank))
        assert not np.any(room.vector(bank) == ring.encode({UPDATE: found.integers}))
        manifest = parse(m.UpdateManifest, room.seat(bank).work.manifest.document)
        assert (manifest.norm, manifest.train_loss, manifest.counts) == (None, None, None)


# ------------------------------------------------------------------- a portal that lies
def refused(room: Room, bank: str, error: type[Refusal] | tuple[type[Refusal], ...], **changes: Any) -> None:
    """The bank says nothing, and what it knows is as it was."""
    before = room.seat(bank).work.party(1)
    with pytest.raises(error):
        word_of(room.seat(bank), room.notice(bank, **changes))
    assert room.seat(bank).work.party(1) == before


@pytest.mark.parametrize("change", [
    {"threshold": 4}, {"round": 2}, {"manifest_digest": "d" * 64}, {"min_cohort": 4}, {"weighting": "equal"}, {"run": RUN[::-1]},
    {"segments": update_segments(PLAN, LAYOUT.parameters, 64)}, {"members": "stranger"}, {"members": "base"}, {"members": "weight"},
])  # fmt: skip
def test_terms_that_are_not_those_of_plan_and_manifest_are_refused(room: Room, change: dict[str, Any]) -> None:
    terms = room.collector.terms
    swaps = {
        "stranger": {"public_key": identity_of("mallory").public.text}, "base": {"base_digest": "e" * 64}, "weight": {"weight": 1.0},
    }
    if name := change.get("members"):
        change = {"members": [terms.members[0].model_copy(update=swaps[name]), *terms.members[1:]]}
    offered = terms.model_copy(update=change)
    refused(room, "north", CohortMismatch, content=offered, rid=digest_of(offered))


def test_a_portal_in_the_middle_cannot_slip_in_its_own_key(room: Room) -> None:
    room.until(Stage.SHARES)
    content = room.collector.notice("north")
    forged = sign_document(
        room.collector.advertisements["south"].model_copy(update={"cipher_key": "a" * 64}), identity_of("mallory")
    )
    others = [one for one in content.advertisements if one.document["institution"] != "south"]
    refused(room, "north", SignatureInvalid, content=content.model_copy(update={"advertisements": [*others, forged]}))


def test_another_key_list_for_the_same_cohort_is_refused(room: Room) -> None:
    room.until(Stage.SHARES)
    content = room.collector.notice("north")
    room.word("north")
    refused(room, "north", ConsistencyBroken, content=content.model_copy(update={"advertisements": content.advertisements[:3]}))


def test_both_secrets_of_one_bank_are_never_given(room: Room) -> None:
    room.until(Stage.UNMASK, silent=())
    content = room.collector.notice("north")
    for sets in (
        {"pair_of": ["south"]}, {"self_of": ["east", "north", "west"], "pair_of": ["south"]}, {"self_of": ["east", "north", "west"]},
        {"consistency": content.consistency[:2]},
    ):
        refused(room, "north", UnmaskRefused, content=content.model_copy(update=sets))
    assert room.seat("north").home.opened() == []


def test_after_an_answer_the_other_secret_is_asked_in_vain(room: Room) -> None:
    """The bank that has answered repeats its answer, whatever it is asked; it never makes a second one."""
    room.until(Stage.UNMASK)
    said = room.word("north")
    content = room.collector.notice("north").model_copy(update={"self_of": ["east", "north", "west"], "pair_of": ["south"]})
    again = word_of(room.seat("north"), room.notice("north", content=content))
    assert again == said
    assert len(room.seat("north").home.opened()) == 1


# ------------------------------------------------------------------------ another attempt
def test_an_update_of_an_earlier_attempt_from_the_same_base_is_not_trained_again(room: Room) -> None:
    seat = room.seat("north")
    order = seat.order.model_copy(update={"attempt": 2})
    data, said, _ = trained_before(seat.terms.folder.attempts(1), order)
    assert (data, said.attempt) == (pack(room.plain["north"], LAYOUT), 2)
    assert trained_before(seat.terms.folder.attempts(1), order.model_copy(update={"base_digest": "e" * 64})) is None
    seat.work.plain_path.write_bytes(data[:-1])
    assert trained_before(seat.terms.folder.attempts(1), order) is None


# ------------------------------------------------------------------- one sum of each base
def another_attempt(room: Room) -> Room:
    """The first attempt failed after banks had answered; the next one has other survivors."""
    room.until(Stage.UNMASK)
    for bank in BANKS:
        room.word(bank)
    return Room(room.folder, attempt=2).until(Stage.UNMASK, silent=("west",))


def test_a_second_sum_of_a_base_over_other_banks_is_refused(room: Room) -> None:
    second = another_attempt(room)
    refused(second, "north", UnmaskRefused)


OTHER_RUN = "00000000-0000-4000-8000-000000000009"


@pytest.mark.parametrize(("plan_hash", "survivors", "refuses"), [
    (PLAN.hash, ["east", "north", "south"], True), (PLAN.hash, BANKS, False), ("f" * 64, ["east", "north", "south"], False),
])  # fmt: skip
def test_runs_of_one_plan_that_start_from_equal_weights_are_held_against_each_other(
    room: Room, plan_hash: str, survivors: list[str], refuses: bool
) -> None:
    room.until(Stage.UNMASK)
    home = room.seat("north").home
    manifest = MANIFEST.model_copy(update={"run": OTHER_RUN, "plan_hash": plan_hash})
    home.run(OTHER_RUN).pin(m.ManifestAnswer(
        manifest=sign_document(manifest, identity_of("portal")),
        preprocessing=m.PreprocessingSpec(plan_hash=plan_hash, numeric=[], categorical=[]),
    ))
    home.note_opened(Opened(
        rid="1" * 64, purpose="update", run=OTHER_RUN, base_number=0, base_digest=BASE.digest, survivors=survivors,
        plain_digest="2" * 64,
    ))
    if refuses:
        refused(room, "north", UnmaskRefused)
    else:
        room.word("north")


def test_the_operator_may_consent_to_one_second_sum(room: Room) -> None:
    second = another_attempt(room)
    home = second.seat("north").home
    assert fedagent("plans", "reopen", RUN, 0, home=home).returncode == 1  # no run that this bank knows
    home.run(RUN).pin(m.ManifestAnswer(
        manifest=sign_document(MANIFEST, identity_of("portal")),
        preprocessing=m.PreprocessingSpec(plan_hash=PLAN.hash, numeric=[], categorical=[]),
    ))
    assert fedagent("plans", "reopen", RUN, 0, home=home).returncode == 0
    said = second.word("north")
    assert said == second.word("north")
    assert not home.run(RUN).may_reopen(0)
    assert len(home.opened()) == 2


def test_an_update_that_is_gone_is_said_to_be_gone(room: Room) -> None:
    room.until(Stage.MASKED)
    room.seat("north").work.plain_path.unlink()
    with pytest.raises(RoundUnknown):
        word_of(room.seat("north"), room.notice("north"))


def test_a_torn_last_line_of_opened_sums_is_no_opening(room: Room) -> None:
    room.until(Stage.UNMASK)
    room.word("north")
    home = room.seat("north").home
    path = home.path / "opened.jsonl"
    with path.open("ab") as file:
        file.write(b'{"rid": "half')
    assert len(home.opened()) == 1


# ------------------------------------------------------------------ noise in shares
NOISED = a_plan(
    participants=BANKS, privacy={"secure_aggregation": {"threshold": 0.6}, "institution_dp": {"epsilon": 8.0, "clip": 0.5}},
    strategy={"weighting": "equal"}, model={"family": "logistic", "hidden": []},
)
EQUAL = MANIFEST.model_copy(update={"roster": [entry.model_copy(update={"weight": 0.25}) for entry in MANIFEST.roster]})
ENOUGH = institution_terms(NOISED).noise_multiplier


def noised_room(folder: Path, **changes: Any) -> Room:
    return Room(folder, **{"plan": NOISED, "manifest": EQUAL, "noise": ENOUGH, **changes})


def opened_values(room: Room, banks: list[str]) -> Any:
    readers = [array_reader(room.vector(bank)) for bank in banks]
    cohort = room.collector.cohort
    total = np.concatenate([block.integers for block in open_sum(cohort.ring, readers, remaining_masks(room.collector))])
    return dequantise(total, cohort.ring.places[0].segment)


def test_each_bank_cuts_its_update_and_adds_its_share_of_noise_before_anything_leaves(tmp_path: Path) -> None:
    room = noised_room(tmp_path).until(Stage.DONE)
    clipped = sum(0.5 * room.plain[bank] / np.linalg.norm(room.plain[bank].astype(np.float64)) for bank in BANKS)
    noise = opened_values(room, BANKS) - clipped
    stated = ENOUGH * 0.5
    assert 0.2 * stated < np.sqrt(np.mean(noise**2)) < 4 * stated
    keys = [room.seat(bank).work.noise_key(1) for bank in BANKS]
    assert len(set(keys)) == len(BANKS)
    path = room.seat("north").work.path / "cohort-1.noise"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_after_a_restart_the_same_noise_is_in_the_same_words(tmp_path: Path) -> None:
    room = noised_room(tmp_path).until(Stage.MASKED)
    first = room.word("north")
    words = room.vector("north").copy()
    assert room.word("north") == first
    assert np.array_equal(room.vector("north"), words)


def test_another_sum_of_the_same_base_has_fresh_noise_and_needs_no_consent(tmp_path: Path) -> None:
    room = noised_room(tmp_path).until(Stage.UNMASK)
    for bank in BANKS:
        room.word(bank)
    second = noised_room(tmp_path, attempt=2).until(Stage.DONE, silent=("west",))
    assert room.seat("north").work.noise_key(1) != second.seat("north").work.noise_key(1)
    assert len(second.seat("north").home.opened()) == 2


@pytest.mark.parametrize("change", [
    {"noise_multiplier": 0.5 * ENOUGH}, {"noise_multiplier": None}, {"clip": 5.0}, {"clip": None},
    {"segments": update_segments(PLAN, LAYOUT.parameters, len(BANKS))},
    {"segments": update_segments(NOISED, LAYOUT.parameters, len(BANKS), noise_multiplier=0.5 * ENOUGH)},
])  # fmt: skip
def test_terms_with_less_noise_than_the_plan_promises_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    room = noised_room(tmp_path)
    offered = room.collector.terms.model_copy(update=change)
    refused(room, "north", CohortMismatch, content=offered, rid=digest_of(offered))


# ------------------------------------------------------------------ counts under masks
def split_of(bank: str) -> m.SplitCounts:
    rows = 5 + BANKS.index(bank)
    return m.SplitCounts(rows=rows, loss_sum=2.5, bins=[(10, rows - 3, 0), (700, 1, 2)])


def counting_room(folder: Path, **changes: Any) -> Room:
    """Round 2: version 1 is counted by the banks whose updates start from it."""
    room = Room(folder, **{"base_number": 1, **changes})
    for bank in BANKS:
        counts = m.EvaluationCounts(number=1, version_digest="c" * 64, validation=split_of(bank), holdout=split_of(bank))
        room.seat(bank).work.keep_counts(counts)
    return room


def test_counts_of_the_base_leave_beside_the_update_and_only_their_sum_is_opened(tmp_path: Path) -> None:
    room = counting_room(tmp_path).until(Stage.DONE)
    cohort = room.collector.cohort
    readers = [array_reader(room.vector(bank)) for bank in BANKS]
    sums: dict[str, Any] = {segment.name: [] for segment in cohort.terms.segments}
    for block in open_sum(cohort.ring, readers, remaining_masks(room.collector)):
        sums[block.segment.name].extend(block.integers.tolist())
    pooled = pooled_evaluation({name: np.array(values) for name, values in sums.items()}, count_segments(cohort.terms.segments))
    assert pooled["holdout"].rows == 5 + 6 + 7 + 8
    assert pooled["holdout"].bins == [(10, 14, 0), (700, 4, 8)]
    plain = sum(quantise(room.plain[bank], cohort.terms.segments[0], factor=cohort.factor_of(bank)).integers for bank in BANKS)
    assert sums["update"] == plain.tolist()
    opened = room.seat("north").home.opened()[0]
    assert set(opened.parts) == {"update", "counts"}


@pytest.mark.parametrize("change", ["no counts", "other bins", "small"])
def test_terms_that_would_have_us_count_otherwise_are_refused(tmp_path: Path, change: str) -> None:
    room = counting_room(tmp_path)
    terms = room.collector.terms
    narrow = [segment.model_copy(update={"bound": 1.0}) if segment.name == "holdout.bins" else segment for segment in terms.segments]
    few = [segment.model_copy(update={"values": 2}) if segment.name.endswith("bins") else segment for segment in terms.segments]
    offered = terms.model_copy(update={"segments": {"no counts": terms.segments[:1], "other bins": few, "small": narrow}[change]})
    refused(room, "north", CohortMismatch, content=offered, rid=digest_of(offered))


def opened_of(parts: dict[str, str], survivors: list[str], purpose: str = "update") -> Opened:
    return Opened(
        rid="1" * 64, purpose=purpose, run=RUN, base_number=1, base_digest="c" * 64, survivors=survivors,
        plain_digest=parts.get("update"), counts_digest=parts.get("counts"),
    )


@pytest.mark.parametrize(("before", "now", "refuses"), [
    (opened_of({"update": "a" * 64}, BANKS), opened_of({"counts": "b" * 64}, BANKS[:3], "evaluation"), False),
    (opened_of({"update": "a" * 64, "counts": "b" * 64}, BANKS), opened_of({"counts": "b" * 64}, BANKS[:3], "evaluation"), True),
    (opened_of({"update": "a" * 64, "counts": "b" * 64}, BANKS), opened_of({"counts": "b" * 64}, BANKS, "evaluation"), False),
    (opened_of({"counts": "b" * 64}, BANKS, "evaluation"), opened_of({"counts": "d" * 64}, BANKS, "evaluation"), True),
    (opened_of({"update": "a" * 64}, BANKS), opened_of({"update": "a" * 64, "counts": "b" * 64}, BANKS), False),
])  # fmt: skip
def test_counts_of_a_base_are_opened_once_beside_updates_or_alone(before: Opened, now: Opened, refuses: bool) -> None:
    if refuses:
        with pytest.raises(UnmaskRefused):
            require_single_opening([before], now, may_reopen=False)
    require_single_opening([before], now, may_reopen=refuses)


def test_a_bank_that_has_lost_its_counts_says_so(tmp_path: Path) -> None:
    room = counting_room(tmp_path).until(Stage.MASKED)
    (room.seat("north").work.path / "counts.json").unlink()
    with pytest.raises(RoundUnknown, match="counts of version 1"):
        word_of(room.seat("north"), room.notice("north"))


def test_fresh_noise_opens_updates_again_but_never_counts(tmp_path: Path) -> None:
    room = counting_room(tmp_path, plan=NOISED, manifest=EQUAL, noise=ENOUGH).until(Stage.UNMASK)
    for bank in BANKS:
        room.word(bank)
    repeated = counting_room(tmp_path, attempt=2, plan=NOISED, manifest=EQUAL, noise=ENOUGH)
    assert [segment.name for segment in repeated.collector.terms.segments] == ["update"]
    repeated.until(Stage.DONE, silent=("west",))
    parts = [sorted(opened.parts) for opened in room.seat("north").home.opened()]
    assert parts == [["counts", "update"], ["update"]]
