"""The contract between portal and agent. No Django and no torch, so that both sides and an auditor can use it."""

PROTOCOL = 1
"""Version of the wire protocol. A portal also speaks the version before it."""
