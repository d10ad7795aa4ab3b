"""The command `irbench`, also `python -m irbench`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it also while its libraries are imported."""
    try:
        from irbench.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
