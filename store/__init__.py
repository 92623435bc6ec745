"""Durable truth: tables, group commit, history, nodes, sweep, bus, clock.

In charge of nothing by itself: importing it starts nothing; the modules say what they do.
"""
