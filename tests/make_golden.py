"""Renew the golden embeddings of the bundled models, printing the largest change."""

import numpy as np
from test_bundled import GOLDEN, RATE, sound

import musicssl
from musicssl.checkpoint.bundled import bundled_models

if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in bundled_models():
        new = musicssl.load_model(name, device="cpu").embed(sound(), RATE)
        path = GOLDEN / f"{name}.npy"
        if path.exists() and (old := np.load(path, allow_pickle=False)).shape == new.shape:
            print(f"{name}: changed by {np.abs(new - old).max():.2g} at most")
        np.save(path, new)
