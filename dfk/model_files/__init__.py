"""Reads models from disk, whoever made them: nothing in a file runs code, or names other files.

What a format's own library does not promise is checked before it sees the file.
"""
