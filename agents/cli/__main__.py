"""`python -m agents.cli` is `crypdoc`."""

from agents.cli.main import main

main()
