"""The demo's network: phones, a switch, ESMEs; it comes in by real doors only.

In charge of nothing by itself: importing it starts nothing; the modules say what they do.
"""
