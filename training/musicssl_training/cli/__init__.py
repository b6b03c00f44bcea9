"""The command `musicssl-train`."""
