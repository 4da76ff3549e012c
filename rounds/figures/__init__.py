"""Charts, each with its table twin: what a page plots, decided without a browser."""
