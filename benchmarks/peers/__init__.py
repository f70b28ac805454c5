"""Other people's engines on the benchmark networks, each in a process of its own that prints one line of JSON."""
