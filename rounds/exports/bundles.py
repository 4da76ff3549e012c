"""A version with all that is needed to use and to judge it, as one file that an auditor can check by itself."""

from __future__ import annotations

import asyncio
import json
import tempfile
import zipfile
from collections.abc import AsyncIterator
from typing import IO, Any

from django.http import StreamingHttpResponse
from django.template.loader import render_to_string

from clientagent.wire.canonical import canonical, sha256_hex
from rounds.exports import downloads
from rounds.exports.model_card import Card, card_of
from rounds.models import ModelVersion
from rounds.selectors.scope import Audience
from rounds.storage import blobs

CHUNK = 1 << 20
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Files carry no time of their own: the same records give the same bytes."""


def write_bundle(version: ModelVersion, audience: Audience, into: IO[bytes]) -> None:
    """A zip of weights, plan, preprocessing, manifest, evaluation and model card; ``SHA256SUMS`` names each file's digest."""
    run, card = version.run, card_of(version, audience)
    papers: dict[str, bytes] = {
        "MODEL_CARD.md": markdown(card).encode(),
        "model_card.html": render_to_string("rounds/card/file.html", {"card": card}).encode(),
        "evaluation.json": _json(downloads.evaluation(version, audience)),
        "plan.json": canonical(run.plan.document),
        "plan.signed.json": _json(run.plan.signed),
        "preprocessing.json": canonical(run.preprocessing or {}),
        "manifest.signed.json": _json(run.manifest or {}),
    }
    sums = {name: sha256_hex(data) for name, data in papers.items()} | {"weights.safetensors": version.digest}
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in papers.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), data, zipfile.ZIP_DEFLATED)
        listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
        archive.writestr(zipfile.ZipInfo("SHA256SUMS", EPOCH), listing)
        with archive.open(zipfile.ZipInfo("weights.safetensors", EPOCH), "w", force_zip64=True) as file:
            for chunk in blobs.read(version.digest):
                file.write(chunk)


def stream_bundle(version: ModelVersion, audience: Audience) -> StreamingHttpResponse:
    """Written to a file of its own first, so that memory stays flat however large the weights are."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 -- closed when it has been sent
    try:
        write_bundle(version, audience, file)
        size = file.tell()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    response = StreamingHttpResponse(_chunks(file), content_type="application/zip")
    response["Content-Length"] = str(size)
    return response


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        while data := await asyncio.to_thread(file.read, CHUNK):
            yield data


def markdown(card: Card) -> str:
    """The card as Markdown, readable as plain text too."""
    lines = [f"# {_line(card.title)}", ""]
    for section in card.sections:
        lines += [f"## {section.title}", ""]
        if section.text:
            lines += [_line(section.text), ""]
        lines += [f"- **{name}**: {_line(value)}" for name, value in section.facts]
        lines += [""] if section.facts else []
        if section.rows:
            lines += [_row(section.head), _row(["---"] * len(section.head)), *(_row(row) for row in section.rows), ""]
        lines += [f"- {_line(point)}" for point in section.points]
        lines += [""] if section.points else []
    return "\n".join(lines)


def _line(text: str) -> str:
    """One line; what Markdown or a reader of HTML would take for markup is shown as it is."""
    plain = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>#|" else letter for letter in plain)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell if cell == "---" else _line(cell) for cell in cells) + " |"


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True).encode()
