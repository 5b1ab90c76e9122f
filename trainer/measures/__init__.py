"""How good sets of pictures and adapters are: distances, attributes, leaks."""
