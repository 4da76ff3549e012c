"""The bank's own table, read for a plan and prepared for a run. Read once; what training sees is what the bank declared."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from clientagent.data import Room, Split, Table, check_table, split_rows
from clientagent.home import Home
from clientagent.policy import Policy, load_policy
from clientagent.preparation.preprocess import Prepared, prepare
from clientagent.wire.errors import DataUnfit
from clientagent.wire.messages import PreprocessingSpec
from clientagent.wire.plan import Plan

log = logging.getLogger("fedagent.data")


@dataclass(frozen=True)
class Opened:
    """A table that fits a plan, and how its rows are split."""

    table: Table
    split: Split


def room_for(home: Home, policy: Policy, plan: Plan) -> Room:
    """What the table of a plan's project may take of this machine."""
    entry = policy.data.get(plan.project)
    return Room(home.path / "working", entry.memory_mb if entry else None)


class Books:
    """Holds the last table that was read, and the last run's inputs."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._opened: tuple[tuple[object, ...], Opened] | None = None
        self._prepared: tuple[str, Prepared] | None = None

    def open(self, plan: Plan) -> Opened:
        """Raises ``TableUnfit``, ``DataUnfit`` (no table for this project) or ``PolicyInvalid``."""
        policy = load_policy(self._home.policy_path)
        path = policy.table_of(plan.project, folder=self._home.path)
        state = path.stat() if path.exists() else None
        key = (plan.hash, path, state and (state.st_mtime_ns, state.st_size, state.st_ino))
        if self._opened is None or self._opened[0] != key:
            self._opened = None
            table = check_table(plan, path, room=room_for(self._home, policy, plan)).require()
            if table.store is not None:
                log.info("the table of %s is larger than memory: it is worked on from disk", plan.project)
            self._opened = key, Opened(table, split_rows(plan, table))
        return self._opened[1]

    def forget(self, run: str) -> None:
        """Of a run that has ended; what lay on disk goes with it."""
        if self._prepared is not None and self._prepared[0] == run:
            self._prepared = None

    def prepared(self, plan: Plan, *, run: str, spec: PreprocessingSpec, data_digest: str, salt: str) -> Prepared:
        """The inputs of a run. Raises ``DataUnfit`` when the table is not the one that the statistics were counted from."""
        if self._prepared is None or self._prepared[0] != run:
            self._prepared = None
            opened = self.open(plan)
            if opened.split.digest(salt) != data_digest:
                raise DataUnfit(
                    expected="the table that the statistics of this run were counted from", got="a table that changed since",
                    action="Put the table back as it was, or ask the administrator for a new run.",
                )
            self._prepared = run, prepare(spec, opened.table, opened.split)
            self._opened = None
        return self._prepared[1]
