"""``fedagent gains``: what a result is worth to this bank, on its own held-out customers. Nothing of it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from clientagent.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from clientagent.cli.output import care, facts, good, print_json, table

if TYPE_CHECKING:
    from clientagent.wire.messages import Estimate, ModelFigures

RunArgument = Annotated[str, typer.Argument(help="The run, or the beginning of its id; left out, the last one that has a result.")]


def gains(run: RunArgument = "", home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Compare a result with a model of this bank's own.

    Both score the bank's hold-out customers, whom neither was trained on. The bank's own model is trained now, on its rows
    alone, unless the run's plan had it trained already; what is found stays here.
    """
    from clientagent.gains import gain_here
    from clientagent.home import Home

    found = gain_here(Home(home), run)
    if as_json:
        print_json(found.as_json())
        return
    gain = found.gain
    facts([("Run", found.run), ("Version", str(found.number)), ("Hold-out customers", str(gain.rows))])
    table(["model", "AUC", "95 % interval", "log loss"], [
        _row(name, model) for name, model in (("local", gain.local), ("federated", gain.federated), ("personal", gain.personal)) if model
    ])  # fmt: skip
    _judge("federated", gain.federated_gain)
    if gain.personal is not None:
        _judge("personal", gain.personal_gain)


def _row(name: str, model: ModelFigures) -> tuple[Any, ...]:
    auc = model.auc
    return name, f"{auc.value:.4f}" if auc else "-", f"{auc.low:.3f} to {auc.high:.3f}" if auc else "-", f"{model.loss:.4f}"


def _judge(name: str, found: Estimate | None) -> None:
    if found is None:
        care("Too few hold-out customers of one class to compare.")
        return
    said = f"AUC {found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f}) against the local model"
    if found.low > 0:
        good(f"The {name} model is better here: {said}.")
    elif found.high < 0:
        care(f"The {name} model is worse here than the bank's own: {said}.")
    else:
        care(f"No difference is shown for the {name} model: {said}.")


