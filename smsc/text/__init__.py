"""Text as data: alphabets, user data headers, segments; a leaf without I/O.

In charge of nothing by itself: importing it starts nothing; the modules say what they do.
"""
