"""Combining contributions so that every member's machine gets the same bytes."""
