"""Servers of an exported model, to test and to measure against: the real one, or a stand-in."""
