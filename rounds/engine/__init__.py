"""What moves runs along: steps, leases, masked stages, aggregation and its sharing among workers."""
