"""Reads the bank's table for a plan and decides whether it fits: every problem is found in one pass, not one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from clientagent.data.columns import CategoryReader, NumberReader
from clientagent.data.findings import Finding, Report, Unreadable
from clientagent.data.source import Source, column_name, open_source
from clientagent.data.store import Room, Store
from clientagent.data.table import Categories, Labels, Table
from clientagent.wire.messages import MOST_GROUPS
from clientagent.wire.plan import Feature, Plan, as_text

MIN_ROWS = 10
"""Fewer labelled rows than this cannot be split into training, validation and hold-out."""
MANY_VALUES = 1000


def read_table(plan: Plan, path: str | Path) -> Table:
    """The table of a plan. Raises ``TableUnfit`` (a ``DataUnfit``) naming every problem."""
    return check_table(plan, path).require()


def check_table(plan: Plan, path: str | Path, *, labelled: bool = True, room: Room | None = None) -> Report:
    """Read the plan's columns and report all problems and warnings. ``labelled=False`` reads rows to be scored.

    ``room``: what a table may take; one that needs more memory goes to disk. Raises ``DataUnfit`` where that has no room either.
    """
    path = Path(path)
    try:
        source = open_source(path)
        return _Check(plan, path, labelled, room.store_for(plan, source) if room else None).run(source)
    except Unreadable as error:
        return Report(path, problems=[error.finding])


@dataclass
class _Check:
    plan: Plan
    path: Path
    labelled: bool
    store: Store | None = None
    problems: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    unlabelled: int = 0

    def run(self, source: Source) -> Report:
        readers = self._readers(source)
        segment = self._segment_reader(source)
        rows = 0
        wanted = [*readers.values(), *([segment] if segment else [])]
        names = list(dict.fromkeys(column_name(reader.name) for reader in wanted))
        for i, some in enumerate(self._passes(names)):
            for block_rows, block in source.blocks(some, self.store.block_bytes if self.store else 0):
                rows += block_rows if i == 0 else 0
                for reader in wanted:
                    if (name := column_name(reader.name)) in block:
                        reader.add(block[name])
        self.problems += source.findings()
        for reader in readers.values():
            self.problems += reader.findings()
        if not rows:
            self.problems.append(Finding("", f"{self.path.name} has a header but no rows", "the file has no rows"))
            return self._report(None)
        table = self._table(rows, readers, segment.categories() if segment else None)
        return self._report(table)

    def _passes(self, names: list[str]) -> list[list[str]]:
        """Columns that are read together: all of them, or one by one where memory is short, which a Parquet file makes easy."""
        return [[name] for name in names] if self.store and names else [names]

    def _report(self, table: Table | None) -> Report:
        rows, positives = (table.rows, table.positives) if table else (0, 0)
        return Report(
            self.path, rows, positives, self.unlabelled, self.problems, self.warnings, None if self.problems else table
        )

    def _readers(self, source: Source) -> dict[str, NumberReader | CategoryReader]:
        """A reader for each needed column that is there, by its name in the plan; a finding for each that is not."""
        wanted: dict[str, NumberReader | CategoryReader] = {}
        for feature in self.plan.features:
            wanted[feature.name] = (NumberReader if feature.kind == "numeric" else CategoryReader)(feature.name, self.store)
        if self.labelled:
            wanted[self.plan.label.name] = CategoryReader(self.plan.label.name)
        for name in list(wanted):
            if problem := header_problem(name, source.names):
                self.problems.append(problem)
                del wanted[name]
        return wanted

    def _segment_reader(self, source: Source) -> CategoryReader | None:
        """For the column whose groups the plan compares; it may be a feature as well. Rows to be scored need none."""
        name = self.plan.evaluation.segment
        if name is None or not self.labelled:
            return None
        if problem := header_problem(name, source.names):
            self.problems.append(problem)
            return None
        return CategoryReader(name)

    def _table(
        self, rows: int, readers: dict[str, NumberReader | CategoryReader], segment: Categories | None = None
    ) -> Table:
        numeric = {name: reader.numbers() for name, reader in readers.items() if isinstance(reader, NumberReader)}
        texts = {name: reader.categories() for name, reader in readers.items() if isinstance(reader, CategoryReader)}
        label = texts.pop(self.plan.label.name, None)
        table = Table(rows, numeric, texts, self._labels(label) if label else np.empty(0, np.int8), segment, self.store)
        if label and self.unlabelled:
            table = table.take(np.flatnonzero(label.codes >= 0))
        if self.labelled and table.rows < MIN_ROWS:
            reason = f"only {table.rows} rows with a label, at least {MIN_ROWS} are needed"
            self.problems.append(Finding("", reason, "too few rows"))
        self._look_at_columns(table)
        if segment and len(segment.values) > MOST_GROUPS:
            reason = f"{len(segment.values)} groups to compare; beyond the {MOST_GROUPS} largest they count together"
            self.warnings.append(Finding(self.plan.evaluation.segment or "", reason))
        return table

    def _labels(self, label: Categories) -> Labels:
        name, positive = self.plan.label.name, as_text(self.plan.label.positive)
        counts = label.counts()
        self.unlabelled = int(np.count_nonzero(label.codes < 0))
        code = label.values.index(positive) if positive in label.values else len(label.values)
        labels = (label.codes == code).astype(np.int8)
        seen = ", ".join(repr(label.values[i])[:40] for i in np.argsort(-counts, kind="stable")[:5])
        if not label.values:
            self.problems.append(Finding(name, "the label is missing in every row"))
        elif positive == "1" and label.values == ["0"]:
            reason = "every row is 0: a bank of good customers alone may take part, but has no AUC of its own"
            self.warnings.append(Finding(name, reason))
        elif not labels.any():
            reason = f"no row has the positive value {positive!r}; the column holds {seen}"
            self.problems.append(Finding(name, reason, f"no row has the positive value {positive!r}"))
        elif len(label.values) == 1:
            self.problems.append(Finding(name, f"every row has the positive value {positive!r}; one class alone teaches nothing"))
        elif len(label.values) > 2:
            self.warnings.append(Finding(name, f"{len(label.values)} values; all but {positive!r} count as good ({seen})"))
        if self.unlabelled and label.values:
            self.warnings.append(Finding(name, f"{self.unlabelled} rows without a label are left out"))
        return labels

    def _look_at_columns(self, table: Table) -> None:
        for feature in self.plan.features:
            numbers = table.numeric.get(feature.name)
            if numbers is not None:
                present = numbers[~np.isnan(numbers)]
                self._look_at_values(feature.name, 0 if not len(present) else 1 if present.min() == present.max() else 2)
            elif feature.name in table.categorical:
                self._look_at_categories(feature, table.categorical[feature.name])

    def _look_at_values(self, name: str, distinct: int) -> None:
        if distinct == 0:
            self.warnings.append(Finding(name, "every value is missing"))
        elif distinct == 1:
            self.warnings.append(Finding(name, "every row has the same value"))

    def _look_at_categories(self, feature: Feature, column: Categories) -> None:
        counts = column.counts()
        self._look_at_values(feature.name, int(np.count_nonzero(counts)))
        if feature.categories is None:
            if len(column.values) > MANY_VALUES:
                self.warnings.append(Finding(feature.name, f"{len(column.values)} distinct values; is this an identifier?"))
            return
        listed = {as_text(value) for value in feature.categories}
        outside = [i for i, value in enumerate(column.values) if value not in listed and counts[i]]
        if outside:
            most = max(outside, key=lambda i: int(counts[i]))
            rows = int(counts[outside].sum())
            reason = f"{rows} rows hold values outside the plan's categories, such as {column.values[most][:40]!r}"
            self.problems.append(Finding(feature.name, reason, "holds values outside the plan's categories"))


def header_problem(name: str, header: list[str]) -> Finding | None:
    found = header.count(column_name(name))
    if found == 1:
        return None
    if found:
        return Finding(name, f"the header names this column {found} times")
    folded = {other.casefold(): other for other in header}
    close = get_close_matches(name.casefold(), folded, n=1, cutoff=0.8)
    hint = f"; did you mean {folded[close[0]]!r}?" if close else ""
    return Finding(name, f"there is no such column{hint}", "there is no such column")
