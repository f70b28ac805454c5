"""How agents find, reach and trust one another: libp2p node, directory, AEA connection, channels.

Identity is the wallet everywhere: the libp2p node key is the wallet key, so Noise proves it, and a TLS
channel opens with a wallet signature over the negotiated session. `docs/wire.md` has the framing and limits.
"""
