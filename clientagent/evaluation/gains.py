"""What a stored result is worth to this bank: read from its appraisal, or found anew from the bank's own table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clientagent.approval import can_train
from clientagent.evaluation.appraisal import gain_of
from clientagent.files import read_document
from clientagent.home import Home
from clientagent.preparation.books import Books
from clientagent.results import personal_of
from clientagent.wire.canonical import parse_json, sha256_hex
from clientagent.wire.errors import DigestMismatch, NotFound, PlanUnsupported
from clientagent.wire.messages import Acknowledgement, Appraisal, Gain, PreprocessingSpec, StatisticsReport
from clientagent.wire.plan import Plan, parse_plan
from clientagent.wire.signing import Signed, parse
from clientagent.wire.strategies import needs_torch
from clientagent.wire.tensors import unpack
from clientagent.wire.weights import layout_of


@dataclass(frozen=True)
class Found:
    """``run`` and ``number`` of the version, and what it gains."""

    run: str
    number: int
    gain: Gain

    def as_json(self) -> dict[str, Any]:
        return {"run": self.run, "number": self.number, **self.gain.model_dump(mode="json")}


def gain_here(home: Home, run: str = "") -> Found:
    """Raises ``NotFound`` without such a result, ``DataUnfit`` where the table is another one, ``PlanUnsupported`` without torch."""
    folder, word = _result(home, run)
    stored = read_document(folder / "appraisal.json", Signed)
    if stored is not None and (gain := parse(Appraisal, stored.document).gain) is not None:
        return Found(word.run, word.number, gain)
    plan = parse_plan(parse_json((folder / "plan.json").read_bytes()))
    return Found(word.run, word.number, _gain(home, folder, word, plan))


def _gain(home: Home, folder: Path, word: Acknowledgement, plan: Plan) -> Gain:
    if needs_torch(plan) and not can_train():
        raise PlanUnsupported(expected="torch, which training needs: pip install 'fedagent[train]'", got="no torch")
    spec = parse(PreprocessingSpec, parse_json((folder / "preprocessing.json").read_bytes()))
    data = (folder / "weights.safetensors").read_bytes()
    if sha256_hex(data) != word.version_digest:
        raise DigestMismatch(expected=word.version_digest, got=sha256_hex(data), action="Let the agent fetch the result again.")
    reported = home.run(word.run).statistics
    if reported is None:
        raise NotFound(expected=f"what this bank reported for run {word.run}", got="none on this machine")
    prepared = Books(home).prepared(
        plan, run=word.run, spec=spec, salt=home.require_identity().agent_id,
        data_digest=parse(StatisticsReport, reported.document).data_digest,
    )
    layout = layout_of(plan, len(spec.input_names))
    return gain_of(plan, unpack(data, layout), prepared, personal_of(folder, layout))


def _result(home: Home, run: str) -> tuple[Path, Acknowledgement]:
    """The newest stored result of a run that begins so."""
    found = []
    for path in (home.path / "models").glob("*/acknowledgement.json"):
        signed = read_document(path, Signed)
        if signed is not None and (word := parse(Acknowledgement, signed.document)).run.startswith(run):
            found.append((word.at_utc, path.parent, word))
    if not found:
        raise NotFound(expected=f"a result of run {run}" if run else "a result", got="none stored on this machine",
                       action="Results come when a run of yours has finished and 'fedagent run' has fetched it.")  # fmt: skip
    _at, folder, word = max(found, key=lambda one: one[0])
    return folder, word
