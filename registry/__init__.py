"""Machinery of the objects that operators edit; it knows no kind of them.

In charge of nothing by itself: importing it starts nothing; the modules say what they do.
"""
