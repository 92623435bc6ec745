"""Who may enter: ESMEs, operators, subscribers, their credentials, permissions and audit.

In charge of nothing by itself: importing it starts nothing; the modules say what they do.
"""
