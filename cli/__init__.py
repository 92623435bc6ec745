"""The command line, one file a command.

In charge of nothing by itself: importing it starts nothing; the modules say what they do.
"""
