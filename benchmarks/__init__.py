"""Our figures, and a peer's beside them where one is installed. ``python -m benchmarks [NAME ...]``; docs of each in its file."""
