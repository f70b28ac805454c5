"""A whole case on one machine: the network, its agents and the screen that shows them."""
