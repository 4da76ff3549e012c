"""What the agent says while it runs, on standard error: for people, or as JSON lines for a log collector."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys


class _Json(logging.Formatter):
    def __init__(self, institution: str) -> None:
        super().__init__()
        self._institution = institution

    def format(self, record: logging.LogRecord) -> str:
        at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        line = {
            "at_utc": at.replace("+00:00", "Z"), "level": record.levelname.lower(), "logger": record.name,
            "institution": self._institution, "message": record.getMessage(),
        }
        return json.dumps(line, ensure_ascii=False)


def set_up_logs(*, as_json: bool, verbose: bool, institution: str) -> logging.Logger:
    log = logging.getLogger("fedagent")
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    log.propagate = False
    log.handlers = [_json_handler(institution) if as_json else _handler_for_people()]
    return log


def _json_handler(institution: str) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(institution))
    return handler


def _handler_for_people() -> logging.Handler:
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        return RichHandler(console=Console(stderr=True), show_path=False, rich_tracebacks=False, omit_repeated_times=False)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-8s %(message)s"))
    return handler
