"""A deterministic simulator of faults around the product's own round state machine.

One seed is one execution: ``python -m p2p.sim --seeds 100`` runs a hundred of them.
"""
