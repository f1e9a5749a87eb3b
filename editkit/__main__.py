"""Run the command line, by ``editkit`` or ``python -m editkit``."""

import sys


def run() -> None:
    """Run the command line; an interrupt while its modules are imported ends like a later one."""
    try:
        from .cli import main
    except KeyboardInterrupt:
        sys.stderr.write("Error: cancelled\n")
        sys.exit(130)
    main()


if __name__ == "__main__":
    run()
