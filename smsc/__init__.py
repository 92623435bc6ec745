"""Store and forward: intake, screening, routing, delivery, receipts.

In charge of nothing by itself: importing it starts nothing; the modules say what they do.
"""
