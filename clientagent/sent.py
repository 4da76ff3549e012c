"""What left with one statement, as its signed words tell it and as only this bank knows it: bytes, norms, clipping, noise, epsilon."""

from __future__ import annotations

from dataclasses import dataclass

from clientagent.files import read_document
from clientagent.home import Home
from clientagent.privacy.desk import ledger_of
from clientagent.runs import OwnClipping
from clientagent.wire.messages import PrivacyStatement, UpdateManifest
from clientagent.wire.messages.privacy import PROJECT
from clientagent.wire.privacy.accounting import epsilon_of
from clientagent.wire.privacy.book import Book, RunBook, release_of
from clientagent.wire.privacy.events import together
from clientagent.wire.signing import Signed, parse


@dataclass(frozen=True)
class Sent:
    """The bytes: masked or not, their codec, what they take without it; the vector's L2 norm before it was cut and as it left.

    ``norm_before`` never leaves the bank, nor does ``norm`` under a mask; None where this bank's own note of it is gone.
    """

    masked: bool = False
    codec: str = ""
    plain_bytes: int = 0
    norm: float | None = None
    norm_before: float | None = None


@dataclass(frozen=True)
class Protection:
    """What protected the customers in a release and what it cost them.

    ``clip_share``, the drawn rows whose gradients were cut, and ``mean_norm``, those gradients' norm before, never leave the bank.
    """

    epsilon_of_this: float
    epsilon_of_run: float
    epsilon_allowed: float
    epsilon_of_lineage: float
    delta: float
    noise_multiplier: float
    clip: float
    sampling_rate: float
    steps: int
    lineage: str
    clip_share: float | None
    mean_norm: float | None


@dataclass(frozen=True)
class BankProtection:
    """What protects the bank as a whole in the versions that its update goes into. ``clipped``: whether it was cut."""

    epsilon_of_this: float
    epsilon_of_run: float
    epsilon_allowed: float
    epsilon_of_project: float
    delta: float
    noise_multiplier: float
    clip: float
    project: str
    clipped: bool | None


class Sending:
    """Reads a home's statements; the ledgers that it looks into are opened once."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._books: dict[str, Book] = {}

    def sent(self, statement: Signed) -> Sent:
        if statement.document.get("type") == "masked_input":
            return Sent(masked=True, codec="none", plain_bytes=4 * int(statement.document["words"]))
        if statement.document.get("type") != "update_manifest":
            return Sent()
        said = parse(UpdateManifest, statement.document)
        own = self._home.run(said.run).work(said.round, said.attempt).norms
        before, after = (own.before, own.after) if own else (None, None)
        return Sent(said.masked is not None, said.codec, said.plain_bytes, after if said.norm is None else said.norm, before)

    def customers(self, statement: Signed) -> Protection | None:
        """Under record_dp; None for a statement that has none to tell of."""
        if not statement.document.get("privacy"):
            return None
        said = parse(PrivacyStatement, statement.document["privacy"])
        event = said.event
        own = read_document(self._home.run(str(statement.document["run"])).privacy_path / f"{event.release}.json", OwnClipping)
        return Protection(
            said.run_epsilon - said.run_epsilon_before, said.run_epsilon, said.run_epsilon_allowed, said.subject_epsilon, event.delta,
            event.noise_multiplier, event.clip, event.sampling_rate, event.steps, said.subject, own.clip_share if own else None,
            own.mean_norm if own else None,
        )

    def bank(self, statement: Signed) -> BankProtection | None:
        """Under institution_dp, from this bank's own ledger of the project; None for anything but an update under it."""
        if statement.document.get("type") != "update_manifest":
            return None
        said = parse(UpdateManifest, statement.document)
        folder = self._home.run(said.run)
        plan = self._home.plan(folder.manifest.plan_hash) if folder.manifest else None
        if plan is None or plan.privacy.institution_dp is None:
            return None
        book = self._book(f"{PROJECT}{plan.project}")
        run = book.runs.get(said.run)
        release = release_of(run=said.run, institution=said.institution, base_digest=said.base_digest, cohort=said.cohort)
        if run is None or release not in run.releases:
            return None
        event, own = run.releases[release][0], folder.work(said.round, said.attempt).norms
        before, after = _up_to(run, release)
        clip = own.clip if own and own.clip is not None else event.clip
        return BankProtection(
            after - before, after, run.allotted.epsilon, book.epsilon(), event.delta, event.noise_multiplier, clip, plan.project,
            None if own is None else own.before > clip,
        )

    def _book(self, subject: str) -> Book:
        if subject not in self._books:
            self._books[subject] = ledger_of(self._home, subject).book
        return self._books[subject]


def _up_to(run: RunBook, release: str) -> tuple[float, float]:
    """Epsilon of a run before a release and with it, in the order in which they were booked."""
    names = list(run.releases)
    at = names.index(release)
    before, after = (together(run.releases[name][0] for name in names[:count]) for count in (at, at + 1))
    return epsilon_of(before, run.allotted.delta), epsilon_of(after, run.allotted.delta)
