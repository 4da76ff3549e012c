"""What differential privacy means on both sides: events, their accountant, noise, and how a plan's budget becomes noise.

Neighbours are two tables that differ in one record (or two consortia in one bank) whose contribution is replaced by nothing.
Row counts are declared in the RunManifest and so are public; they are no part of the promise.
"""
