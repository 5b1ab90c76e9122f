"""The papers' experiments, repeated on one machine: federated against centralised training."""
