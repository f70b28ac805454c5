"""The doctor: reads scans blind, commits, reveals, and signs what the panel agreed on."""
