"""The mathematics of rounds: arrays in, arrays out. Nothing here knows Django, HTTP or torch."""
