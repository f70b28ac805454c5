"""Blind inference: a patient's image through a model's network, with a dealer, each blind to the rest.

Read `network.py` (what is computed), `masking.py` (the equations), `parties` (the three state machines),
`local.py` (all three in one process). The page is `docs/blind-inference.md`.
"""
