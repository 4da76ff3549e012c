"""The contract between portal and agent. Imports neither Django nor torch, so that both sides and an auditor can use it."""

PROTOCOL = 1
"""Version of the wire protocol. A portal also speaks the version before it."""
