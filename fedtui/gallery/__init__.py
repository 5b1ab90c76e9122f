"""A page of the room's pictures for people without the program: read-only, served on demand."""
