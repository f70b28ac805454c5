"""A whole network in one process: every agent, a real EVM, and time, network, crashes and chance from one seed."""
