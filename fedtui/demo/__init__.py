"""``fedtui demo``: a whole room on this machine, of real nodes in their own processes."""
