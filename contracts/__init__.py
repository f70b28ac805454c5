"""Solidity sources, committed artifacts, typed bindings and the chain client."""
