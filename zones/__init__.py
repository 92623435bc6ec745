"""Home zones: where a sender or recipient is, and whether a message may go there.

In charge of nothing by itself: importing it starts nothing; the modules say what they do.
"""
