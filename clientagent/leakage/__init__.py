"""The leakage self-test: attacks on what our own agent would send under a plan, on customers that are made up here.

``customers`` makes the rows, ``leaving`` the updates as the portal holds them, by the agent's own training and protection. Each
attack is a file; ``selftest`` puts them side by side. Attacks are no security primitive: a weak result proves nothing.
"""
