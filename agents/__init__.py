"""Duties: what each participant's process does, over the wire and on the chain."""
