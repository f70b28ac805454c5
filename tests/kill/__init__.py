"""The kill matrix: every agent, killed with `kill -9` at every step of a real case, and what became of the case."""
