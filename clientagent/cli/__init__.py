"""``fedagent``: the bank's command line. Each command is a file; what it needs is imported when it runs, not for ``--help``."""

from __future__ import annotations

import os
import sys

import typer

from clientagent.cli import check, doctor, enrol, gains, keys, leaktest, plans, predict, privacy, receipts, run, status, verify
from clientagent.cli.output import complain, wants_json
from clientagent.cli.usage import call
from clientagent.wire.errors import Problem, Refusal
from clientagent.words import _

app = typer.Typer(
    name="fedagent", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help=_("The bank's side of fedportal: train together with other banks; no customer row leaves yours."),
)  # fmt: skip
app.command("enrol")(enrol.enrol)
app.command("check")(check.check)
app.command("run")(run.run)
app.command("status")(status.status)
app.command("doctor")(doctor.doctor)
app.add_typer(plans.app, name="plans")
app.command("keys")(keys.keys)
app.add_typer(privacy.app, name="privacy")
app.command("receipts")(receipts.receipts)
app.command("gains")(gains.gains)
app.command("predict")(predict.predict)
app.command("leaktest")(leaktest.leaktest)
app.command("verify")(verify.verify)


def main() -> None:
    """Run a command. What is foreseeable ends with a sentence and exit code 1, never with a stack trace."""
    try:
        call(app)
    except Refusal as refusal:
        complain(refusal.problem(), as_json=wants_json())
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        complain(_of_the_machine(error), as_json=wants_json())
    else:
        return
    sys.exit(1)


def _of_the_machine(error: OSError) -> Problem:
    where = f" {error.filename}" if error.filename else ""
    return {
        "code": "machine_error", "expected": "a disk and a network that work", "got": f"{error.strerror or error}{where}",
        "action": "Check permissions, free space and 'fedagent doctor'.",
    }
