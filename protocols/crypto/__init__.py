"""Keys, signatures, commitments and sealing. Pure: clock and randomness come in as arguments."""
