"""Anti-spoofing: the switch that a message really came through against the one that serves its claimed sender.

In charge of nothing by itself: importing it starts nothing; the modules say what they do.
"""
