"""A tree of audio files to a tree of embeddings: `musicssl.folder.command.embed_folder`."""
