"""Folders of pictures into adapters, adapters into pictures, contributions into a result.

Runs in a process of its own (``python -m trainer``) and knows nothing of peers, rooms or screens.
Only :mod:`trainer.protocol` is meant to be imported from outside.
"""
