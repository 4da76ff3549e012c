"""From a table to the model's inputs: what is counted, what was frozen, how far the table has moved."""
