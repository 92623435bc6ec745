"""Durable truth: what is here has happened, what is not has not.

In charge of: tables of the message path, the group-commit writer, the two databases, nodes and their epochs, time.
Not in charge of: what a message means or where it goes (`smsc/`); rooms above keep their own tables beside their code.
"""
