"""Who may take part and who may speak: institutions, people and their roles, agents and their keys."""
