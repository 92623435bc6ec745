"""SMPP as data: fields, PDUs, TLVs, statuses and the session; a leaf without I/O.

In charge of nothing by itself: importing it starts nothing; the modules say what they do.
"""
