"""The dealer: hands out correlated randomness and sees nothing."""
