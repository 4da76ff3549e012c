"""One WorkOrder, from the portal's signature to the portal's receipt: what this agent does for a round, and that it does it once.

The order of events is the promise: the order and its seed are on disk before training, the finished update before its first
byte leaves, and what was once finished is sent again, never made again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from clientagent.approval import can_train
from clientagent.bases import Bases
from clientagent.cohorts import PHASES, Seat, order_of, trained_before, word_of
from clientagent.evaluation.appraisal import appraise, sends_gain, wants_appraisal
from clientagent.evaluation.scores import evaluate
from clientagent.faults import Faults
from clientagent.home import Home
from clientagent.orders import Terms, pin_work, terms_of
from clientagent.portal import Portal
from clientagent.preparation.books import Books
from clientagent.preparation.counting import public_reason
from clientagent.preparation.preprocess import Prepared
from clientagent.privacy.desk import PrivacyDesk
from clientagent.privacy.releases import Release, Releases
from clientagent.privacy.training import train_under_record_dp
from clientagent.progress import Reporter
from clientagent.results import collect, personal_of, report_appraisal, report_evaluation
from clientagent.runs import OwnNorms, WorkFolder
from clientagent.statements import manifest_of, ready_of
from clientagent.training.contribution import Contribution, Outgoing, contribute, outgoing
from clientagent.training.strategies import Given
from clientagent.training.warmup import Warmup
from clientagent.troubles import ON_THE_WAY, PASSING
from clientagent.wire.canonical import sha256_hex
from clientagent.wire.cohort_orders import CohortNotice
from clientagent.wire.errors import ManifestMismatch, PlanUnsupported, Refusal, StageClosed, UpdateConflict
from clientagent.wire.masking import is_counted
from clientagent.wire.messages import (
    Appraisal,
    EvaluationCounts,
    PrivacyStatement,
    Progress,
    ReceiptAnswer,
    StatisticsReport,
    UpdateManifest,
    WorkAnswer,
    WorkOrder,
    WorkRefusal,
)
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.institution import base_clip
from clientagent.wire.signing import Signed, parse, sign_document
from clientagent.wire.strategies import needs_torch
from clientagent.wire.tensors import Array

log = logging.getLogger("fedagent.work")


class Worker:
    """Does the orders of one agent, one at a time."""

    def __init__(
        self, home: Home, portal: Portal, books: Books, faults: Faults, reporter: Reporter, warmup: Warmup, desk: PrivacyDesk
    ) -> None:
        self._home, self._portal, self._books, self._faults, self._desk = home, portal, books, faults, desk
        self._reporter, self._warmup = reporter, warmup
        self._bases = Bases(portal)

    def do(self, signed: Signed, order: WorkOrder) -> ReceiptAnswer:
        """Do an order, or tell the portal why not and raise. Raises ``Dropped`` where a rehearsal asked for it."""
        with self._answerable(order) as passing:
            statement = self._prepare(signed, order)
            passing += ON_THE_WAY
            return self._send(order, statement) if isinstance(statement, WorkFolder) else self._state(order, statement)

    @contextmanager
    def _answerable(self, order: WorkOrder) -> Iterator[list[type[Refusal]]]:
        """The portal is told of every refusal within, but for the passing ones, to which the caller may add."""
        passing: list[type[Refusal]] = [*PASSING]
        try:
            yield passing
        except Refusal as error:
            if not isinstance(error, tuple(passing)):
                self.refuse(order, error)
            raise
        finally:
            self._reporter.clear()

    def _prepare(self, signed: Signed, order: WorkOrder) -> WorkFolder | Signed:
        """Everything that happens at the bank. What comes back is finished and on disk."""
        terms = terms_of(self._home, self._portal, order)
        if order.kind == "collect":
            return self._collect(terms, order)
        is_masked = terms.plan.privacy.secure_aggregation is not None
        if order.kind == "evaluate" and not is_masked:
            return report_evaluation(self._home, terms, order, lambda: self._count(terms, order, self._bases.weights(terms, order)))
        work, seed = pin_work(terms, signed, order)
        self._faults.reached("pinned")
        if is_masked:
            wait = self._count_to_be_masked if order.kind == "evaluate" else partial(self._wait_to_be_masked, seed=seed)
            return work.ready or wait(terms, order, work)
        manifest = work.manifest
        if manifest is None or not work.holds(parse(UpdateManifest, manifest.document)):
            self._finish(terms, order, work, seed)
        return work

    # ------------------------------------------------------------------ training
    def _finish(self, terms: Terms, order: WorkOrder, work: WorkFolder, seed: int) -> None:
        """Pull, train, pack, sign, store."""
        out, made, counts, privacy = self._make(terms, order, seed)
        earlier = work.manifest
        manifest = manifest_of(terms, order, self._portal.identity.agent_id, out, made, counts, privacy)
        if earlier is not None and parse(UpdateManifest, earlier.document).update_digest != manifest.update_digest:
            raise UpdateConflict(expected="the update that was signed before", got="another one after its bytes were lost")
        terms.memory.keep(manifest.update_digest, order.round, out.own)
        work.note_norms(_norms(out))
        work.finish(out.data, earlier or sign_document(manifest, self._home.key))

    def _count_to_be_masked(self, terms: Terms, order: WorkOrder, work: WorkFolder) -> Signed:
        """The closing evaluation under masks: our counts wait, and the signed word says so and no more."""
        work.keep_counts(self._count(terms, order, self._bases.weights(terms, order)))
        ready = sign_document(ready_of(terms, order, self._portal.identity.agent_id), self._home.key)
        work.wait_to_be_masked(b"", ready)
        return ready

    def _wait_to_be_masked(self, terms: Terms, order: WorkOrder, work: WorkFolder, seed: int) -> Signed:
        """Pull, train, pack, store; the signed word says that an update waits, and nothing of what it holds."""
        if before := trained_before(terms.folder.attempts(order.round), order):
            data, said, counts = before
            if counts is not None:
                work.keep_counts(counts)
            self._desk.reserve_bank(terms.plan, run=order.run, base_digest=order.base_digest)
            ready = sign_document(said, self._home.key)
            work.wait_to_be_masked(data, ready)
            log.info("round %d: the update of an earlier attempt waits to be masked", order.round)
            return ready
        out, made, counts, privacy = self._make(terms, order, seed)
        ready = sign_document(ready_of(terms, order, self._portal.identity.agent_id, out, made, privacy), self._home.key)
        terms.memory.keep(sha256_hex(out.data), order.round, out.own)
        if counts is not None:
            work.keep_counts(counts)
        work.note_norms(_norms(out))
        work.wait_to_be_masked(out.data, ready)
        return ready

    def _make(
        self, terms: Terms, order: WorkOrder, seed: int
    ) -> tuple[Outgoing, Contribution, EvaluationCounts | None, PrivacyStatement | None]:
        """One round's work: what may leave, what it is, the counts that were asked for, and what it costs in privacy."""
        self._tell(order, "pulled")
        with self._faults.phase(order.round, "pulled"):
            base = self._bases.weights(terms, order)
            given = self._given(terms, order, base)
        prepared = self._inputs(terms, order)
        counts = self._count(terms, order, base) if _counts(terms.plan, order) else None
        clip = base_clip(terms.plan, told=order.clip, base_number=order.base_number)
        self._desk.reserve_bank(terms.plan, run=order.run, base_digest=order.base_digest, clip=clip)
        private = self._desk.begin(
            terms.plan, run=order.run, rows=terms.own.rows, base_digest=order.base_digest, slot=order.attempt
        )
        if needs_torch(terms.plan):
            self._load_torch()
        self._tell(order, "training", epochs=terms.plan.training.epochs)
        with self._faults.phase(order.round, "training"):
            made = self._contribute(terms, order, given, prepared, seed, private).times(self._faults.factor(order.round))
        out = outgoing(_sent_as(terms.plan), given, made, terms.manifest.inputs, seed=seed, clip=clip)
        loss = "" if made.train_loss is None else f", loss {made.train_loss:.4f}"
        loss += "" if out.clip is None else f", norm {out.norm_before:.4g} before it was cut"
        log.info("round %d: %d steps in %.2f s%s, norm %.4g", order.round, made.steps, made.seconds, loss, out.norm)
        return out, made, counts, private[0].statement(private[1].name, self._home.key) if private else None

    def _given(self, terms: Terms, order: WorkOrder, base: Array) -> Given:
        """What this round starts from: the base, the server's vectors beside it, and what the bank kept with its last update."""
        return Given(
            base=base, share=terms.own.weight, participants=len(terms.manifest.roster),
            server=self._bases.server_vectors(terms, order), own=terms.memory.recall(order.aggregated),
        )

    def _contribute(
        self, terms: Terms, order: WorkOrder, given: Given, prepared: Prepared, seed: int, private: tuple[Releases, Release] | None
    ) -> Contribution:
        def tell(epoch: int, epochs: int, batch: int, batches: int) -> None:
            self._tell(order, "training", epoch=epoch, epochs=epochs, batch=batch, batches=batches)

        by = None
        if private is not None:
            by = partial(
                train_under_record_dp, terms.plan, terms.answer.preprocessing, given.base, prepared.training, *private, order.round
            )
        return contribute(
            terms.plan, given, prepared.training, round_number=order.round, seed=seed, progress=tell, trained_by=by
        )

    def _load_torch(self) -> None:
        if not can_train():
            raise PlanUnsupported(expected="torch, which training needs: pip install 'fedagent[train]'", got="no torch")
        self._warmup.finish()

    def _send(self, order: WorkOrder, work: WorkFolder) -> ReceiptAnswer:
        """Send the finished bytes, and only those, however often it takes."""
        manifest = work.manifest
        if manifest is None:
            raise RuntimeError(f"no finished update in {work.path}")

        def moved(sent: int, total: int) -> None:
            self._tell(order, "uploading", bytes_sent=sent, bytes_total=total)

        self._desk.update_leaving(manifest)
        if order.kind == "train" and (plan := self._plan_of(order)) is not None:
            cohort = parse(UpdateManifest, manifest.document).cohort
            clip = base_clip(plan, told=order.clip, base_number=order.base_number)
            self._desk.bank_leaving(plan, run=order.run, base_digest=order.base_digest, clip=clip, cohort=cohort)
        with self._faults.phase(order.round, "uploading"):
            answer = self._portal.update(manifest, work.update_path, moved)
        self._reporter.clear()
        self._desk.confront(answer.privacy)
        work.save_receipt(answer.receipt)
        self._home.run(order.run).forget_old_updates(order.round)
        log.info("round %d: update %s", order.round, answer.receipt.document.get("outcome"))
        return answer

    def _plan_of(self, order: WorkOrder) -> Plan | None:
        manifest = self._home.run(order.run).manifest
        return self._home.plan(manifest.plan_hash) if manifest else None

    # ------------------------------------------------------------------ in a cohort
    def mask(self, notice: CohortNotice) -> WorkAnswer | None:
        """Answer what a cohort asks, or tell the portal why not and raise. Raises ``Dropped`` where a rehearsal asked for it."""
        order, work = order_of(self._home, self._portal, notice)
        with self._answerable(order) as passing, self._faults.phase(order.round, PHASES[notice.stage]):
            asked = order.model_copy(update={"epoch": notice.epoch})  # a notice is of today, though its order may be older
            seat = Seat(self._home, terms_of(self._home, self._portal, asked), order, work)
            word = word_of(seat, notice)
            passing += [*ON_THE_WAY, StageClosed]
            if notice.stage == "masked":
                return self._send(order, work).next
            return self._portal.speak(order.run, notice.rid, word, round_number=order.round)

    # ------------------------------------------------------------------- closing
    def _state(self, order: WorkOrder, statement: Signed) -> ReceiptAnswer:
        if statement.document.get("type") == "update_ready":
            answer = self._portal.ready(order.run, statement)
            done = "trained" if order.kind == "train" else "counted"
            log.info("round %d: %s, and %s to be masked", order.round, done, answer.receipt.document.get("outcome"))
            return answer
        if order.kind == "collect":
            answer = self._portal.acknowledge(order.run, statement)
            self._desk.run_ended(order.run)
            self._books.forget(order.run)
            log.info("the run's result, version %d, is stored and acknowledged", order.base_number)
            return answer
        answer = self._portal.evaluation(order.run, statement)
        log.info("version %d evaluated", order.base_number)
        return answer

    def _collect(self, terms: Terms, order: WorkOrder) -> Signed:
        """Store the result, say what it is worth where the plan lets the bank, and only then acknowledge it."""
        weights = self._bases.weights(terms, order)
        signed = collect(self._home, self._portal, terms, order, weights)

        def made() -> Appraisal:
            if sends_gain(terms.plan) and needs_torch(terms.plan):
                self._load_torch()
            personal = personal_of(self._home.model_folder(order.run, order.base_number), terms.layout)
            return appraise(terms.plan, order, weights, self._inputs(terms, order), personal)

        if wants_appraisal(terms.plan):
            report_appraisal(self._home, self._portal, order, made)
        return signed

    def refuse(self, order: WorkOrder, error: Refusal) -> None:
        """The portal should not wait for a bank that said no. Not heard, it finds out at the deadline."""
        refusal = WorkRefusal(
            run=order.run, institution=self._portal.identity.institution, round=order.round, attempt=order.attempt,
            code=error.code, reason=public_reason(error),
        )
        with suppress(Refusal):
            self._portal.refuse(order.run, sign_document(refusal, self._home.key))

    # -------------------------------------------------------------------- inputs
    def _inputs(self, terms: Terms, order: WorkOrder) -> Prepared:
        reported = terms.folder.statistics
        if reported is None:
            raise ManifestMismatch(expected="statistics that we reported", got="none on this machine")
        return self._books.prepared(
            terms.plan, run=order.run, spec=terms.answer.preprocessing, salt=self._portal.identity.agent_id,
            data_digest=parse(StatisticsReport, reported.document).data_digest,
        )

    def _count(self, terms: Terms, order: WorkOrder, flat: Array) -> EvaluationCounts:
        prepared = self._inputs(terms, order)
        min_cell = 1 if terms.plan.privacy.secure_aggregation is not None else None  # the portal merges the sum's bins
        return evaluate(
            terms.plan, flat, prepared, number=order.base_number, version_digest=order.base_digest, min_cell=min_cell
        )

    def _tell(self, order: WorkOrder, phase: str, **where: int) -> None:
        fields = {"run": order.run, "round": order.round, "attempt": order.attempt, "phase": phase, **where}
        self._reporter.tell(parse(Progress, fields))


def _sent_as(plan: Plan) -> Plan:
    """Under secure aggregation an update waits as it is; the ring's words are its codec."""
    if plan.privacy.secure_aggregation is None:
        return plan
    return plan.model_copy(update={"compression": plan.compression.model_copy(update={"codec": "none"})})


def _norms(out: Outgoing) -> OwnNorms:
    return OwnNorms(before=out.norm_before, after=out.norm, clip=out.clip)


def _counts(plan: Plan, order: WorkOrder) -> bool:
    """Whether counts of the base go with this update: beside it as the order says, or within a cohort as the plan says."""
    if plan.privacy.secure_aggregation is None:
        return order.evaluate
    return is_counted(plan, order.base_number, order.attempt)
