"""The engine: events in, decisions by a pure machine, effects written down before they are done."""
