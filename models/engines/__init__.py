"""Engines: ways to evaluate one network, behind one call. `base.py` is the interface."""

from models.engines.base import ENGINES, Engine, LayerCost, Prediction, make_engine

__all__ = ["ENGINES", "Engine", "LayerCost", "Prediction", "make_engine"]
