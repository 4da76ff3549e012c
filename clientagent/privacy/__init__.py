"""Differential privacy at the bank: private training, protected statistics, and the ledger of what was spent.

What both sides share (events, accountant, noise, the budget's terms) is in ``clientagent.wire.privacy``.
"""
