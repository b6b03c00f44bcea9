"""The command `musicssl-embed`."""
