"""The local API of a node: one server, one client, a Unix socket between them."""
