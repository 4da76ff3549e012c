"""The bank's side of fedportal: reads the bank's table, trains, and uploads a protected update."""

__version__ = "0.1.0"
