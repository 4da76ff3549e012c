"""The registry's verbs: a version is registered, promoted, retired, reinstated, or the champion is rolled back.

Each takes the project's row first, so that of two people who click at once one is told that the other was first.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction

from audit.services import append
from clientagent.wire.errors import IllegalMove, Malformed, NotFound
from rounds.clock import now
from rounds.lifecycle import Status, StatusEvent, next_status
from rounds.models import ModelVersion, Project, Registration, Reign
from rounds.selectors.registry import earlier_champion
from rounds.services.moves import actor_of


def register(*, version: ModelVersion) -> Registration:
    """Make a version a candidate of its project, in the caller's transaction; one that is registered stays as it is."""
    project_id = version.run.plan.project_id
    row, _made = Registration.objects.get_or_create(
        version=version, defaults={"project_id": project_id, "registered_at": now()}
    )
    return row


@transaction.atomic(durable=True)
def register_version(*, version: ModelVersion, user: Any, reason: str) -> Registration:
    """Consider a version that no run chose. Raises ``IllegalMove`` where it is registered already."""
    _require_reason(reason)
    project = _lock(version.run.plan.project)
    if Registration.objects.filter(version=version).exists():
        raise IllegalMove(expected="a version that is not registered", got=f"version {version.number}")
    row = register(version=version)
    Registration.objects.filter(pk=row.pk).update(reason=reason)
    _record(project, "version_registered", version, user, reason)
    return row


@transaction.atomic(durable=True)
def promote_version(*, version: ModelVersion, user: Any, reason: str, instead_of: ModelVersion | None) -> Reign:
    """Make a candidate the champion; the one before retires.

    ``instead_of`` is the champion that the person saw (None: there was none); another one by now is an ``IllegalMove``.
    """
    _require_reason(reason)
    project = _lock(version.run.plan.project)
    before = _champion(project, expected=instead_of)
    return _crown(project, version, before, StatusEvent.PROMOTE, user, reason)


@transaction.atomic(durable=True)
def roll_back(*, project: Project, user: Any, reason: str, instead_of: ModelVersion | None) -> Reign:
    """Make the champion before the last one champion again. Raises ``NotFound`` where there was none."""
    _require_reason(reason)
    project = _lock(project)
    before = _champion(project, expected=instead_of)
    earlier = earlier_champion(project)
    if earlier is None:
        raise NotFound(expected="a champion before this one", got="none")
    return _crown(project, earlier, before, StatusEvent.ROLL_BACK, user, reason)


@transaction.atomic(durable=True)
def retire_version(*, version: ModelVersion, user: Any, reason: str) -> Registration:
    """Consider a version no more. A champion that retires leaves the project without one."""
    _require_reason(reason)
    project = _lock(version.run.plan.project)
    row = _registered(version)
    was_champion = row.status == Status.CHAMPION
    _move(row, StatusEvent.RETIRE, reason)
    if was_champion:
        Reign.objects.filter(project=project, until_at=None).update(until_at=now(), end_reason=reason)
    _record(project, "version_retired", version, user, reason, was_champion=was_champion)
    return row


@transaction.atomic(durable=True)
def reinstate_version(*, version: ModelVersion, user: Any, reason: str) -> Registration:
    """Make a retired version a candidate again."""
    _require_reason(reason)
    project = _lock(version.run.plan.project)
    row = _registered(version)
    _move(row, StatusEvent.REINSTATE, reason)
    _record(project, "version_reinstated", version, user, reason)
    return row


def _crown(
    project: Project, version: ModelVersion, before: Registration | None, event: StatusEvent, user: Any, reason: str
) -> Reign:
    row = _registered(version)
    if before is not None:
        if before.version_id == version.pk:
            raise IllegalMove(expected="another version than the champion", got=f"version {version.number}")
        next_status(Status(row.status), event)  # refused before anything moves
        _move(before, StatusEvent.SUPERSEDE, "")  # the reign that begins says why
    _move(row, event, reason)
    moment = now()
    Reign.objects.filter(project=project, until_at=None).update(until_at=moment, end_reason=reason)
    rollback = event == StatusEvent.ROLL_BACK
    reign = Reign.objects.create(
        project=project, version=version, since_at=moment, is_rollback=rollback, reason=reason, by=user
    )
    _record(
        project, "champion_rolled_back" if rollback else "version_promoted", version, user, reason,
        before=_identity(before.version) if before else None,
    )
    return reign


def _champion(project: Project, *, expected: ModelVersion | None) -> Registration | None:
    row = Registration.objects.select_related("version__run").filter(project=project, status=Status.CHAMPION).first()
    found = row.version_id if row else None
    if found != (expected.pk if expected else None):
        raise IllegalMove(
            expected="the champion that you saw", got="another one: somebody was first",
            action="Look at the registry again and decide anew.",
        )
    return row


def _registered(version: ModelVersion) -> Registration:
    row = Registration.objects.filter(version=version).first()
    if row is None:
        raise NotFound(expected="a registered version", got=f"version {version.number}")
    return row


def _move(row: Registration, event: StatusEvent, reason: str) -> None:
    was = Status(row.status)
    to = next_status(was, event)
    moved = Registration.objects.filter(pk=row.pk, status=was).update(status=to, moved_at=now(), reason=reason)
    if moved != 1:
        raise IllegalMove(expected=f"a version in status {was}", got="one that somebody moved first")
    row.status = to


def _lock(project: Project) -> Project:
    return Project.objects.select_for_update(no_key=True).get(pk=project.pk)


def _identity(version: ModelVersion) -> dict[str, Any]:
    return {"run": str(version.run_id), "run_number": version.run.number, "number": version.number, "digest": version.digest}


def _record(project: Project, kind: str, version: ModelVersion, user: Any, reason: str, **more: Any) -> None:
    append(chain=project.chain, kind=kind, actor=actor_of(user), body={**_identity(version), "reason": reason, **more})


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise Malformed(expected="a reason for the ledger", got="none")
