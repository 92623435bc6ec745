"""What operators edit over REST, one file a resource.

In charge of nothing by itself: importing it starts nothing; the modules say what they do.
"""
