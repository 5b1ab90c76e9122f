"""One small consensus instance per round: propose, prepare, lock, commit."""
