"""`python -m tests.kill`: the kill matrix, from one command."""

from tests.kill.matrix import main

if __name__ == "__main__":
    main()
