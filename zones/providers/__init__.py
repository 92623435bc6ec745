"""Where locations come from: one module per kind of source, behind the protocol of `zones/locations.py`.

In charge of nothing by itself: importing it starts nothing; the modules say what they do.
"""
