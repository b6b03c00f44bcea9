"""When stems sound, by their levels, and which families then play."""

import numpy as np
import pytest

from musicssl_training.corpus.stems import (
    StemRule,
    family_activity,
    find_sounding,
    measure_levels,
)


def test_levels_decide_what_sounds() -> None:
    def at(*decibels: float) -> dict[str, list[list[float]]]:
        return find_sounding(10 ** (np.array(decibels) / 20))

    assert at(-20, -49, -51, -59, -61, -69, -71, -20) == {
        "plays": [[0.0, 0.2], [0.7, 0.8]],
        "unclear": [[0.2, 0.4]],  # below -60 dB nothing is heard
    }
    assert at(-6, -35, -37, -55, -57) == {"plays": [[0.0, 0.2]], "unclear": [[0.2, 0.4]]}
    assert at(-65, -70) == at() == {"plays": [], "unclear": []}
    assert at(-55) == {"plays": [], "unclear": [[0.0, 0.1]]}
    quieter = find_sounding(np.array([0.5, 0.004]), gain=0.5)  # as it is in the mix
    assert quieter == {"plays": [[0.0, 0.1]], "unclear": [[0.1, 0.2]]}


@pytest.mark.parametrize("rate", [8000, 11_025, 44_100])
def test_levels_are_those_of_tenths_of_a_second(rate: int) -> None:
    audio = np.concatenate([np.zeros(rate), np.full(rate // 2, 0.5), np.full(rate // 20, 0.25)])
    levels = measure_levels(audio.astype(np.float32), rate)
    np.testing.assert_allclose(levels, [0.0] * 10 + [0.5] * 5 + [0.25], atol=0.01)
    assert len(measure_levels(np.zeros(0, np.float32), rate)) == 0


def test_silence_is_known_only_where_nothing_unknown_sounds() -> None:
    rules = [
        StemRule(names=("bass*", "*VOX BASS*"), family="bass"),
        StemRule(names=("*VOX*",), family="voice"),
        StemRule(names=("synth",), never=("voice",)),
    ]
    stems = {
        "bass": {"plays": [[0.0, 1.0]], "unclear": [[1.0, 1.5]]},
        "synth": {"plays": [[2.0, 3.0]], "unclear": []},
        "LEAD VOX BASS": {"plays": [[5.0, 5.5]], "unclear": []},  # the first rule counts
        "else": {"plays": [[0.5, 0.8], [4.0, 4.5]], "unclear": [[4.5, 5.2]]},
    }
    assert family_activity(stems, rules) == {
        "bass": {
            "plays": [[0.0, 1.0], [5.0, 5.5]],
            "unclear": [[1.0, 1.5], [2.0, 3.0], [4.0, 5.0]],
        },
        "voice": {"plays": [], "unclear": [[0.5, 0.8], [4.0, 5.2]]},
    }
    silent = {"bass": {"plays": [], "unclear": []}}
    assert family_activity(silent, rules) == {
        name: {"plays": [], "unclear": []} for name in ("bass", "voice")
    }
