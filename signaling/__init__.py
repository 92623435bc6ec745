"""Core-network codecs and clients: TPDUs, GSUP, OsmoHLR's CTRL, Diameter, and who serves a subscriber now.

In charge of nothing by itself: importing it starts nothing; the modules say what they do.
"""
