"""The way to an EVM chain: client, embedded chain, deployment, address book."""
