"""A tree of audio files to a tree of embeddings: `musicssl.folder.api.embed_folder`."""
