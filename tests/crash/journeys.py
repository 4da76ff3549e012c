"""How each point is reached: one journey for every legal move and every named instant, and what must be true at its end."""

from __future__ import annotations

from collections.abc import Callable

from rounds.crashing import INSTANTS, POINTS
from rounds.lifecycle import COHORT_LIVE
from tests.crash.light import receipts_of
from tests.crash.scratch import IN_PARTS, MASKED, PLAIN, Scratch

Journey = Callable[[Scratch, str], None]
SMALL_PART = 1024
ONCE = [(1, 1, "published"), (2, 1, "published")]
"""The rounds of a run of two in which nothing was given up: whatever died, the same rounds went on."""


def is_state(state: str):  # type: ignore[no-untyped-def]
    return lambda now: now["state"] == state


def is_open(now: dict) -> bool:  # type: ignore[type-arg]
    return bool(now["rounds"]) and now["rounds"][-1][2] == "open"


def ordinary(scratch: Scratch, point: str) -> None:
    """Nobody does anything but work: the run ends with the model of the undisturbed run."""
    scratch.behave(phases=("pulled", "training", "uploading"))
    scratch.arm(point)
    ends_undisturbed(scratch, scratch.propose(scratch.plan()))


def in_parts(scratch: Scratch, point: str) -> None:
    """Updates of several parts."""
    scratch.behave(part_bytes=SMALL_PART)
    scratch.arm(point)
    ends_undisturbed(scratch, scratch.propose(scratch.plan(IN_PARTS)), "parts")


def masked(scratch: Scratch, point: str) -> None:
    """Updates that are summed under masks."""
    scratch.arm(point)
    ends_undisturbed(scratch, scratch.propose(scratch.plan(MASKED)), "masked")


def stopped_in_stage(stage: str) -> Journey:
    """The administrator stops the run while one bank is awaited in a stage of its cohort."""

    def journey(scratch: Scratch, point: str) -> None:
        scratch.gate(stage, "south")
        run = scratch.propose(scratch.plan(MASKED))
        scratch.wait(run, lambda now: now["stages"] == [stage])
        scratch.arm(point)
        is_stopped(scratch, run, scratch.click(run, "stop", until=is_state("stopped")))
        assert scratch.look(run)["stages"] == ["failed"]

    return journey


def ends_undisturbed(scratch: Scratch, run: str, kind: str = "plain", rounds: list[tuple[int, int, str]] = ONCE) -> None:
    now = scratch.finish(run)
    assert now["rounds"] == rounds
    assert now["selected"] == scratch.references[kind]
    scratch.check_run(run)


def claimed_again(scratch: Scratch, point: str) -> None:
    """Two deaths: the worker that computes, then the one that claims the lost round."""
    scratch.arm("version:kept", point)
    ends_undisturbed(scratch, scratch.propose(scratch.plan()))
    assert scratch.was_hit("version:kept")


def paused(scratch: Scratch, point: str) -> None:
    scratch.gate("send")
    run = scratch.propose(scratch.plan())
    scratch.wait(run, is_open)
    scratch.arm(point)
    scratch.click(run, "pause", until=is_state("paused"))
    scratch.click(run, "extend", until=is_open, seconds="60")
    scratch.click(run, "resume", until=is_state("running"))
    scratch.release()
    ends_undisturbed(scratch, run)


def stopped_from(state: str) -> Journey:
    """An administrator stops the run in this state; what was accepted until then stays on the ledger."""
    held_at = {"proposed": "decide", "preparing": "count", "running": "send", "paused": "send"}

    def journey(scratch: Scratch, point: str) -> None:
        plan = scratch.plan()
        if state == "draft":
            run = scratch.console("draft", plan)
        else:
            scratch.gate(held_at[state], "south")  # the others have done their part
            run = scratch.propose(plan)
            scratch.wait(run, is_state("running" if state == "paused" else state))
        if state == "paused":
            scratch.click(run, "pause", until=is_state("paused"))
        scratch.arm(point)
        is_stopped(scratch, run, scratch.click(run, "stop", until=is_state("stopped")))

    return journey


def is_stopped(scratch: Scratch, run: str, now: dict) -> None:  # type: ignore[type-arg]
    assert now["state"] == "stopped"
    assert all(state in ("published", "abandoned") for _, _, state in now["rounds"])
    assert scratch.console("kinds", run).count("run_stopped") == 1
    scratch.tolerated = {"illegal_move", "stage_closed"}  # a bank that was still at work is told that the run is over
    scratch.release()
    scratch.rest()
    scratch.check_run(run)


def fails(scratch: Scratch, point: str, **behaviour: object) -> None:
    """A bank's word ends the run before round 1."""
    scratch.tolerated = {"illegal_move"}  # another bank's word may come when the run has just failed
    for agent in scratch.agents[:1]:
        agent.behaviour = behaviour
    scratch.arm(point)
    run = scratch.propose(scratch.plan())
    now = scratch.wait(run, is_state("failed"))
    assert now["rounds"] == []
    assert now["reason"]
    assert scratch.console("kinds", run).count("run_failed") == 1


def not_approved(scratch: Scratch, point: str) -> None:
    fails(scratch, point, decision="refused")


def unfit(scratch: Scratch, point: str) -> None:
    fails(scratch, point, unfit=True)


def failed_under_way(scratch: Scratch, point: str) -> None:
    scratch.gate("send")
    run = scratch.propose(scratch.plan())
    scratch.wait(run, is_open)
    with scratch.dying_console(point) as console:
        dies(console, "fail_run", run, reason="rehearsal", code="rehearsed")
    assert scratch.look(run)["state"] == ("failed" if point.endswith("after") else "running")
    if point.endswith("before"):
        scratch.console("act", "fail_run", run, reason="rehearsal", code="rehearsed")
    assert scratch.console("kinds", run).count("run_failed") == 1


def dies(console, verb: str, run: str, **said: object) -> None:  # type: ignore[no-untyped-def]
    try:
        console("act", verb, run, **said)
    except (EOFError, ConnectionError):
        return
    raise AssertionError(f"{verb} outlived its point")


def dropped(scratch: Scratch, point: str) -> None:
    """Without a bank the round has too few: it is given up, its next attempt has all of them, and the model is the same."""
    scratch.gate("send")
    run = scratch.propose(scratch.plan())
    scratch.wait(run, is_open)
    scratch.arm(point)
    scratch.click(run, "drop", until=lambda now: now["rounds"][0][2] == "abandoned" or now["phases"]["south"] == "dropped",
                  institution="south")
    scratch.wait(run, lambda now: now["rounds"][0][2] == "abandoned")
    scratch.release()
    ends_undisturbed(scratch, run, rounds=[(1, 1, "abandoned"), (1, 2, "published"), (2, 1, "published")])


def stopped_with_round(state: str, last_words: str) -> Journey:
    """The engine died and is not back; the administrator stops the run while its round is in this state."""

    def journey(scratch: Scratch, point: str) -> None:
        scratch.engine.hold()
        scratch.arm(last_words)
        run = scratch.propose(scratch.plan()) if scratch.engine is not scratch.web else propose_to_the_dying(scratch)
        scratch.wait(run, lambda now: bool(now["rounds"]) and now["rounds"][-1][2] == state)
        with scratch.dying_console(point) as console:
            dies(console, "stop_run", run, reason="rehearsal")
        now = scratch.look(run)
        if point.endswith("before"):
            assert (now["state"], now["rounds"][-1][2]) == ("running", state)
            scratch.console("act", "stop_run", run, reason="rehearsal")
        scratch.engine.up()
        scratch.wait_until_up()
        is_stopped(scratch, run, scratch.wait(run, is_state("stopped")))

    return journey


def propose_to_the_dying(scratch: Scratch) -> str:
    """The web process dies of a point before long; its answer may be lost, the run is not."""
    plan = scratch.plan()
    scratch.console("propose", plan)
    return str(scratch.console("runs", plan)[0])


def rejected(scratch: Scratch, point: str) -> None:
    """A bank first sends numbers that are none: refused, on the ledger, and the good update is taken afterwards."""
    scratch.agent("north").behaviour = {"spoilt": True}
    scratch.arm(point)
    run = scratch.propose(scratch.plan())
    ends_undisturbed(scratch, run)
    assert "update_refused" in scratch.console("kinds", run)


def late(scratch: Scratch, point: str) -> None:
    """Two of three are enough; the third comes after closing and gets a receipt that says so."""
    scratch.gate("send", "south")
    run = scratch.propose(scratch.plan(PLAIN, quorum=0.6))
    scratch.wait(run, lambda now: len(now["rounds"]) > 1)
    scratch.arm(point)
    scratch.release()
    now = scratch.finish(run)
    assert now["rounds"] == ONCE
    assert "update_late" in scratch.console("kinds", run)
    assert any(receipt.outcome == "late" and receipt.run == run for receipt in receipts_of(scratch.home("south")))
    scratch.check_run(run)


_INSTANTS_OF: dict[str, Journey] = {"part": in_parts, "parts": in_parts, "cohort": masked, "sum": masked}
JOURNEYS: dict[str, Journey] = {
    "run:draft:propose": ordinary,
    "run:draft:stop": stopped_from("draft"),
    "run:proposed:prepare": ordinary,
    "run:proposed:stop": stopped_from("proposed"),
    "run:proposed:fail": not_approved,
    "run:preparing:begin": ordinary,
    "run:preparing:stop": stopped_from("preparing"),
    "run:preparing:fail": unfit,
    "run:running:pause": paused,
    "run:running:finish": ordinary,
    "run:running:stop": stopped_from("running"),
    "run:running:fail": failed_under_way,
    "run:paused:resume": paused,
    "run:paused:stop": stopped_from("paused"),
    "round:open:close": ordinary,
    "round:open:abandon": dropped,
    "round:closing:claim": ordinary,
    "round:closing:abandon": stopped_with_round("closing", "round:open:close:after"),
    "round:aggregating:claim": claimed_again,
    "round:aggregating:publish": ordinary,
    "round:aggregating:abandon": stopped_with_round("aggregating", "round:closing:claim:after"),
    "phase:pulled": ordinary,
    "phase:training": ordinary,
    "phase:uploading": ordinary,
    "phase:received": ordinary,
    "phase:accepted": ordinary,
    "phase:rejected": rejected,
    "phase:late": late,
    "phase:dropped": dropped,
    "phase:ready": masked,
    **{f"cohort:{stage}:close": masked for stage in COHORT_LIVE},
    **{f"cohort:{stage}:fail": stopped_in_stage(stage) for stage in COHORT_LIVE},
    **{name: _INSTANTS_OF.get(name.partition(":")[0], ordinary) for name in INSTANTS},
}
UNREACHED: dict[str, str] = {}
"""Legal moves that nothing makes yet, and why."""


def journey_of(point: str) -> Journey:
    return JOURNEYS[point if point in INSTANTS else point.rpartition(":")[0]]


REACHED = tuple(point for point in POINTS if point.rpartition(":")[0] not in UNREACHED)
