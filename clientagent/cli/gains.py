"""``fedagent gains``: what a result is worth to this bank, on its own held-out customers. Nothing of it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from clientagent.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from clientagent.cli.output import care, facts, good, print_json, table
from clientagent.words import _, mark, spoken

if TYPE_CHECKING:
    from clientagent.wire.messages import Estimate, ModelFigures

RunArgument = Annotated[str, typer.Argument(help=_("The run, or the beginning of its id; left out, the last one that has a result."))]


@spoken
def gains(run: RunArgument = "", home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Compare a result with a model of this bank's own.

    Both score the bank's hold-out customers, whom neither was trained on. The bank's own model is trained now, on its rows
    alone, unless the run's plan had it trained already; what is found stays here.
    """
    from clientagent.evaluation.gains import gain_here
    from clientagent.home import Home

    found = gain_here(Home(home), run)
    if as_json:
        print_json(found.as_json())
        return
    gain = found.gain
    facts([(_("Run"), found.run), (_("Version"), str(found.number)), (_("Hold-out customers"), str(gain.rows))])
    models = ((mark("local"), gain.local), (mark("federated"), gain.federated), (mark("personal"), gain.personal))
    table([_("model"), "AUC", _("95-percent interval"), _("log loss")], [
        _row(name, model) for name, model in models if model
    ])  # fmt: skip
    _judge("federated", gain.federated_gain)
    if gain.personal is not None:
        _judge("personal", gain.personal_gain)


def _row(name: str, model: ModelFigures) -> tuple[Any, ...]:
    auc = model.auc
    return _(name), f"{auc.value:.4f}" if auc else "-", f"{auc.low:.3f} – {auc.high:.3f}" if auc else "-", f"{model.loss:.4f}"


def _judge(name: str, found: Estimate | None) -> None:
    if found is None:
        care(_("Too few hold-out customers of one class to compare."))
        return
    said = _("AUC {value:+.4f} ({low:+.4f} to {high:+.4f}) against the local model", value=found.value, low=found.low, high=found.high)
    name = _(name)
    if found.low > 0:
        good(_("The {name} model is better here: {said}.", name=name, said=said))
    elif found.high < 0:
        care(_("The {name} model is worse here than the bank's own: {said}.", name=name, said=said))
    else:
        care(_("No difference is shown for the {name} model: {said}.", name=name, said=said))


