"""People's door to rounds: thin views, split by noun."""
