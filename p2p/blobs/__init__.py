"""Blobs: bytes named by their SHA-256, stored once, fetched in chunks from whoever has them."""
