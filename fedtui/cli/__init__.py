"""The commands, one file per group. Nothing heavy is imported before a command needs it."""
