"""Restante: a message center that keeps what it cannot deliver until the recipient asks for it.

In charge of the version. Not in charge of anything else: importing the package starts and reads nothing.
"""

__version__ = "0.1.0"
