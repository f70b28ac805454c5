"""The agent framework: open-aea's parts, wired in code."""
