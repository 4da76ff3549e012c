"""What happens between a plan and a model version."""
