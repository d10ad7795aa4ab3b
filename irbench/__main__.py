"""The command `irbench`, also `python -m irbench`."""

import signal
import sys

from irbench.cli.interrupt import STATUS, stop


def main() -> None:
    """Run the command line; Ctrl-C ends it also while its libraries are imported."""
    try:
        signal.signal(signal.SIGINT, stop)
        from irbench.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(STATUS)


if __name__ == "__main__":
    main()
