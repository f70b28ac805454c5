"""Local pages: each participant's own browser talks to that participant's own agent, and to nobody else."""
