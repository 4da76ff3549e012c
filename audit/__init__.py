"""What happened, provably: the ledger's table, how entries are appended, and how a chain is read back."""
