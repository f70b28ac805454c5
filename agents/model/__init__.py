"""The model owner: sells predictions on scans it cannot see."""
