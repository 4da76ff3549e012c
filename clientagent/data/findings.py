"""What is wrong, or odd, about a bank's table, said twice: once for the bank, once for the world outside.

A cell of the table is a customer's. The sentence for the bank may quote it; the sentence that may leave the bank never does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from clientagent.data.table import Table
from clientagent.wire.errors import DataUnfit

PUBLIC_LIMIT = 2000
"""Longest reason that a bank sends (``messages.Text``)."""


@dataclass(frozen=True)
class Finding:
    """``column`` is empty where the whole file is meant. ``public`` quotes no cell, no row number and no small count."""

    column: str
    reason: str
    public: str = ""

    @property
    def sentence(self) -> str:
        return f"{self.column}: {self.reason}" if self.column else self.reason

    @property
    def public_sentence(self) -> str:
        reason = self.public or self.reason
        return f"{self.column}: {reason}" if self.column else reason


class Unreadable(Exception):
    """The file as a whole cannot be read. Carries the one finding that says why."""

    def __init__(self, reason: str, public: str = "") -> None:
        super().__init__(reason)
        self.finding = Finding("", reason, public)


@dataclass(frozen=True)
class Report:
    """The outcome of checking a table against a plan. ``table`` is there exactly when there is no problem."""

    path: Path
    rows: int = 0
    positives: int = 0
    unlabelled: int = 0
    problems: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    table: Table | None = None

    @property
    def fits(self) -> bool:
        return self.table is not None

    @property
    def column(self) -> str:
        """The column of the first problem; empty where it is the file."""
        return self.problems[0].column if self.problems else ""

    @property
    def public_reason(self) -> str:
        """All problems in words that may leave the bank."""
        text = "; ".join(finding.public_sentence for finding in self.problems)
        return text if len(text) <= PUBLIC_LIMIT else text[: PUBLIC_LIMIT - 1] + "…"

    def require(self) -> Table:
        """The table. Raises ``TableUnfit`` naming every problem."""
        if self.table is None:
            raise TableUnfit(self)
        return self.table


class TableUnfit(DataUnfit):
    """Raised at the bank. What may be sent to the portal is ``report.column`` and ``report.public_reason``, not ``got``."""

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(
            expected=f"{report.path.name} to fit the plan",
            got="; ".join(finding.sentence for finding in report.problems),
        )
