"""A way to the portal on which everything said is heard again, later and in another order."""

from __future__ import annotations

from typing import Any

import numpy as np

from clientagent.home import Home
from clientagent.portal import Portal
from clientagent.transport import Transport
from clientagent.wire.errors import Refusal
from clientagent.wire.messages import Progress, ReceiptAnswer


class Echoing(Portal):
    """After each statement, two earlier ones are sent once more: each must get the receipt that it got."""

    def __init__(self, transport: Transport, home: Home, *, seed: int) -> None:
        super().__init__(transport, home)
        self._rng = np.random.default_rng(seed)
        self._earlier: list[tuple[tuple[Any, ...], str]] = []
        self.echoes = 0

    def _post_statement(self, *said: Any) -> ReceiptAnswer:
        answer = super()._post_statement(*said)
        self._earlier.append((said, str(answer.receipt.document["id"])))
        for place in self._rng.integers(len(self._earlier), size=2):
            again, receipt = self._earlier[place]
            got = super()._post_statement(*again).receipt.document["id"]
            if got != receipt:
                raise Refusal(expected=f"the receipt {receipt}", got=str(got))
            self.echoes += 1
        self._tell_old_news(answer)
        return answer

    def _tell_old_news(self, answer: ReceiptAnswer) -> None:
        """Progress that was overtaken by the update itself must not take the bank back."""
        told = answer.receipt.document
        if told["subject"] == "update":
            self.progress(Progress(run=told["run"], round=told["round"], attempt=told["attempt"], phase="training"))
