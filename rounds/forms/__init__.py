"""What people fill in: the plan's form read off its schema, and what a plan will do in plain words."""
