"""The models that this bank holds: which there are, and whether one is what the portal signed and the bank acknowledged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from clientagent.files import read_document
from clientagent.home import Home
from clientagent.preparation.preprocess import check_spec
from clientagent.results import PERSONAL
from clientagent.wire.canonical import digest_of, sha256_hex
from clientagent.wire.errors import DigestMismatch, ManifestMismatch, NotFound
from clientagent.wire.messages import Acknowledgement, PreprocessingSpec, RunManifest
from clientagent.wire.plan import Plan
from clientagent.wire.signing import Signed, open_signed
from clientagent.wire.tensors import Array, unpack
from clientagent.wire.weights import layout_of

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class StoredModel:
    """A version with all that scoring needs. ``flat``: (parameters,)."""

    run: str
    number: int
    digest: str
    plan: Plan
    spec: PreprocessingSpec
    flat: Array

    @property
    def name(self) -> str:
        return f"{self.run}-{self.number}"


def stored_models(home: Home) -> list[Acknowledgement]:
    """What this bank fetched and acknowledged, newest last. Raises ``SignatureInvalid`` for a paper that it did not sign."""
    found = []
    for path in (home.path / "models").glob("*/acknowledgement.json"):
        signed = read_document(path, Signed)
        if signed is not None:
            found.append(open_signed(signed, home.key.public, Acknowledgement))
    return sorted(found, key=lambda one: (one.at_utc, one.run, one.number))


def load_model(home: Home, wish: str = "", *, project: str = "", personal: bool = False) -> StoredModel:
    """The model whose name begins so, or the newest one (of a project). ``personal``: this bank's own beside that version.

    Raises ``NotFound``, ``DigestMismatch`` or ``ManifestMismatch`` naming the file that is not as it was signed.
    """
    known = stored_models(home)
    named = [one for one in known if f"{one.run}-{one.number}".startswith(wish)]
    if wish and len({one.run for one in named}) > 1:
        raise NotFound(expected="the name of one stored model", got=f"{wish}, which begins {len(named)} names")
    for one in reversed(named):
        model = _verified(home, one)
        if not project or model.plan.project == project:
            return _personal(home, model) if personal else model
    names = ", ".join(f"{one.run}-{one.number}" for one in known) or "none yet"
    raise NotFound(
        expected=f"a stored model {wish or project}".strip(), got=names,
        action="A finished run leaves its model here; 'fedagent status' shows how runs stand.",
    )  # fmt: skip


def _verified(home: Home, acknowledged: Acknowledgement) -> StoredModel:
    """The model, every file held against the manifest that the portal signed and the digest that the bank acknowledged."""
    folder = home.model_folder(acknowledged.run, acknowledged.number)
    manifest = open_signed(_document(folder / "manifest.json", Signed), home.require_identity().root, RunManifest)
    plan, spec = _document(folder / "plan.json", Plan), _document(folder / "preprocessing.json", PreprocessingSpec)
    for what, expected, got in (
        ("run", acknowledged.run, manifest.run),
        ("plan", manifest.plan_hash, plan.hash),
        ("preprocessing", manifest.preprocessing_digest, digest_of(spec)),
    ):
        if expected != got:
            raise ManifestMismatch(expected=f"{what}: {expected}", got=f"{got} in {folder}")
    check_spec(plan, spec)
    try:
        data = (folder / "weights.safetensors").read_bytes()
    except FileNotFoundError as error:
        raise NotFound(expected=f"the weights in {folder}", got="no such file") from error
    if sha256_hex(data) != acknowledged.version_digest:
        raise DigestMismatch(expected=acknowledged.version_digest, got=f"{sha256_hex(data)} in {folder}")
    flat = unpack(data, layout_of(plan, manifest.inputs))
    return StoredModel(acknowledged.run, acknowledged.number, acknowledged.version_digest, plan, spec, flat)


def _personal(home: Home, model: StoredModel) -> StoredModel:
    """The weights that this bank trained for itself, in place of the common ones."""
    path = home.model_folder(model.run, model.number) / PERSONAL
    if not path.exists():
        raise NotFound(
            expected=f"a personal model beside {model.name}", got=f"a run of {model.plan.strategy.name}",
            action="Only the strategy ditto makes one; leave --personal out.",
        )
    data = path.read_bytes()
    return replace(model, digest=sha256_hex(data), flat=unpack(data, layout_of(model.plan, len(model.spec.input_names))))


def _document(path: Path, model: type[M]) -> M:
    found = read_document(path, model)
    if found is None:
        raise NotFound(expected=str(path), got="no such file", action="Let the agent fetch the model again.")
    return found
