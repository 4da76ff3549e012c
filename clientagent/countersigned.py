"""What makes a receipt hold: it is the portal's word on this very statement of ours."""

from __future__ import annotations

from typing import Any

from clientagent.wire.errors import ManifestMismatch
from clientagent.wire.messages import Receipt
from clientagent.wire.signing import Signed


def check_receipt(receipt: Receipt, statement: Signed, institution: str) -> None:
    """That a receipt speaks of this very statement. Raises ``ManifestMismatch``."""
    facts: list[tuple[str, Any, Any]] = [
        ("institution", institution, receipt.institution),
        ("document digest", statement.digest, receipt.document_digest),
    ]
    if statement.document.get("type") == "update_manifest":
        facts.append(("update digest", statement.document["update_digest"], receipt.update_digest))
        facts.append(("update bytes", statement.document["update_bytes"], receipt.update_bytes))
    if statement.document.get("type") == "masked_input":
        facts.append(("masked statistics' digest", statement.document["digest"], receipt.update_digest))
    for name, expected, got in facts:
        if expected != got:
            raise ManifestMismatch(expected=f"a receipt for the {name} {expected}", got=str(got))
