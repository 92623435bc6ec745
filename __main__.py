"""Lets `python -m restante` do what the command `restante` does.

In charge of that only; the command line itself stands in `cli/main.py` and is imported when it is called.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from .cli.main import main as command_line

    command_line()


if __name__ == "__main__":
    main()
