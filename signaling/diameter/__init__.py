"""Diameter: the dictionary as data, the codec, one connection as a state machine, peers over TCP, short messages.

In charge of nothing by itself: importing it starts nothing; the modules say what they do.
"""
