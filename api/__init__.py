"""The REST interface: problems, paging, idempotency, health, and the resources.

In charge of nothing by itself: importing it starts nothing; the modules say what they do.
"""
