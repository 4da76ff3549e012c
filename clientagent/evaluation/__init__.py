"""How good a version is for this bank's customers, as counts and comparisons."""
