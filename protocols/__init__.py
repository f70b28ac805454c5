"""Pure decisions and maths: no asyncio, socket, clock, disk, chain or global randomness."""
