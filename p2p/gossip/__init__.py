"""Who is there right now: authenticated probes, and what members say about themselves."""
