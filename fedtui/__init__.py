"""What a person runs: commands, the node, the terminal interface."""

__version__ = "0.1.0"
