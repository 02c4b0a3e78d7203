"""``python -m deeplinear`` and the ``deeplinear`` command."""

import os
import signal


def main() -> None:
    """Run the command line. Until it has loaded, Ctrl-C just ends the process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _too_early)
    from .cli import main as run

    run()


def _too_early(*_: object) -> None:
    os.write(2, b"Interrupted: nothing was written.\n")
    os._exit(130)


if __name__ == "__main__":
    main()
