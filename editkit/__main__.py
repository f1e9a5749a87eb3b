"""Run the command line by ``python -m editkit``."""

from .cli import main

if __name__ == "__main__":
    main()
