"""A bank as a whole: its updates are cut before they leave, and its own books know what a project has cost it."""

from __future__ import annotations

import numpy as np

from clientagent.privacy.desk import ledger_of
from clientagent.wire.messages import Unfit
from clientagent.wire.signing import open_signed
from clientagent.wire.tensors import unpack
from tests.agent.given import POLICY, run_agent

NOISED = {
    "training__epochs": 1, "strategy__weighting": "equal",
    "privacy": {"min_banks": 1, "min_banks_reason": "a test", "institution_dp": {"epsilon": 8.0, "clip": 0.01}},
}  # fmt: skip


def test_updates_are_cut_and_booked(serve, bank):
    portal = serve(**NOISED)
    home = bank(portal)
    run_agent(home)
    assert portal.stage == "done"
    norms = [float(np.linalg.norm(unpack(data, portal.layout).astype(np.float64))) for data in portal.updates]
    assert all(0.0099 < norm <= 0.01 for norm in norms)
    book = ledger_of(home, "project:retail-credit").book
    assert book.run(portal.run).updates == 2
    assert book.run(portal.run).closed
    assert 0 < book.epsilon() <= 8.0


def test_a_bank_whose_own_bound_is_too_small_declines(serve, bank):
    portal = serve(**NOISED)
    home = bank(portal)
    home.policy_path.write_text(POLICY.replace("[data.", "max_institution_epsilon = 2.0\n[data."))
    run_agent(home)
    assert portal.updates == []
    refusal = next(one for one in portal.statements if one.document["type"] == "unfit")
    assert "max_institution_epsilon" in open_signed(refusal, portal.agent, Unfit).reason
