"""Networks, training, quantisation and the pictures they read."""
