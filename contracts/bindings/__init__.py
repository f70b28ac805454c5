"""Typed bindings of the contracts: pure encoding and decoding, and the readers that use it."""
