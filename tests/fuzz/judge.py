"""What was heard, what FFmpeg hears, and what that makes: findings and remarks.

Findings are faults of ours. Remarks are counted too, but are right: a loss that is said is said.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from compare import LONGEST, RATE, WINDOW, Samples, alike, found, last_silence, noisy, seconds

MEMORY_MB = 1024

FINDINGS = {
    "crash": "the process ended by a signal",
    "hang": "60 s of CPU without an answer",
    "memory": "more than 1 GB",
    "endless": "more than an hour of sound",
    "wrong exception": "anything but musicssl.AudioError",
    "not finite": "NaN or infinity came out",
    "silent loss": "FFmpeg hears 3 % and 0.25 s more, and nothing says so",
    "invented": "3 % and 0.1 s more than FFmpeg hears, and it is not the music that was put in",
    "wrong sound": "as long as FFmpeg's, but at least a second of the music is missing",
    "ways differ": "path and file object give different results, though the name decides nothing",
    "false alarm": "an unharmed file is called damaged or truncated, or refused",
    "command": "the folder command left a file out, named it twice, or judged it otherwise",
    "chatter": "a decoder printed to the terminal",
}
REMARKS = {
    "refused": "an AudioError, and FFmpeg hears at least 0.25 s",
    "loss said": "FFmpeg hears 3 % and 0.25 s more, and `truncated` or `damaged` says so",
    "noise left out": "FFmpeg hears more, but what is more is not the music that was put in",
    "damage heard": "damaged bytes are heard as other noise, or more of it, than FFmpeg makes",
    "more than FFmpeg": "3 % and 0.1 s more than FFmpeg, and it is the music that was put in",
    "by name": "path and file object differ as FFmpeg does with and without the file's name",
}


@dataclass
class Heard:
    """All that is known of a case."""

    path: dict[str, Any]  # the worker's answer
    object: dict[str, Any]
    ours: Samples  # from the path
    theirs: Samples  # FFmpeg's
    timed_out: bool
    truths: list[Samples]
    named_alike: bool  # FFmpeg hears the same without the file's name
    unharmed: bool  # nothing was done to the file


def judge(heard: Heard) -> list[tuple[str, str]]:
    """Return (kind, detail) for each finding and remark."""
    result: list[tuple[str, str]] = []
    for way, answer in (("path", heard.path), ("object", heard.object)):
        result += [f for f in _answered(way, answer) if f[0] not in {kind for kind, _ in result}]
    if heard.unharmed and (said(heard.path) or heard.path["outcome"] != "ok"):
        result.append(("false alarm", _short(heard.path)))
    result += _ways(heard)
    if not heard.timed_out:
        result += _sound(heard)
    return result


def _answered(way: str, answer: dict[str, Any]) -> list[tuple[str, str]]:
    result = []
    outcome, message = answer["outcome"], answer.get("message", "")
    if outcome == "raised":
        result.append(("wrong exception", f"{way}: {message}"))
    elif outcome not in ("ok", "refused"):
        result.append((outcome, f"{way}: {message}"))
    if answer.get("peak_mb", 0) > MEMORY_MB and outcome != "memory":
        result.append(("memory", f"{way}: {answer['peak_mb']:.0f} MB"))
    if not answer.get("finite", True):
        result.append(("not finite", way))
    if "chatter" in answer:
        result.append(("chatter", f"{way}: {answer['chatter'][:100]!r}"))
    return result


def _ways(heard: Heard) -> list[tuple[str, str]]:
    path, obj = heard.path, heard.object
    if {path["outcome"], obj["outcome"]} - {"ok", "refused"}:
        return []
    keys = ("outcome", "digest", "truncated", "damaged")
    if all(path.get(key) == obj.get(key) for key in keys):
        return []
    kind = "ways differ" if heard.named_alike else "by name"
    told = [_short(answer) for answer in (path, obj)]
    return [(kind, f"path: {told[0]}; object: {told[1]}")]


def _sound(heard: Heard) -> list[tuple[str, str]]:
    ours, theirs = seconds(heard.ours), seconds(heard.theirs)
    lengths = f"{ours:.2f} s of FFmpeg's {theirs:.2f} s; {_short(heard.path)}"
    if heard.path["outcome"] == "refused":
        music = _music(heard.theirs, heard.truths)
        return [("refused", f"{lengths}; music: {music:.1f} s")] if theirs >= 0.25 else []
    if heard.path["outcome"] != "ok":
        return []
    if theirs - ours > max(0.03 * theirs, 0.25):
        return [(_loss(heard), lengths)]
    if ours - theirs > 0.03 * theirs + 0.1:
        return [_surplus(heard, lengths)]
    if alike(heard.ours, heard.theirs) or said(heard.path):
        return []
    return _other_sound(heard, lengths)


def _surplus(heard: Heard, lengths: str) -> tuple[str, str]:
    """Whether what we give beyond FFmpeg is music, or what else it is."""
    ours, theirs = seconds(heard.ours), seconds(heard.theirs)
    strange = _strange(heard.ours, [heard.theirs, *heard.truths])
    detail = f"{lengths}; unknown: {strange:.1f} s, zeros: {last_silence(heard.ours):.1f} s"
    enough = min(30, max(0.5, 0.5 * (ours - theirs))) if theirs > 0.25 else min(0.1 + 0.3 * ours, 1)
    if strange < enough:
        return "more than FFmpeg", detail
    inside = ours <= 1.03 * sum(map(seconds, heard.truths)) + 0.1
    if said(heard.path) or (theirs > 0.25 and inside):
        return "damage heard", detail
    return "invented", detail


def _other_sound(heard: Heard, lengths: str) -> list[tuple[str, str]]:
    """Judge a difference at one length: of damage decoders make noises of their own."""
    lost = _lost_music(heard)
    if lost >= 1:
        return [("wrong sound", f"{lengths}; music that is not in ours: {lost:.1f} s")]
    strange = _strange(heard.theirs, [heard.ours])
    if strange > max(0.75, 0.3 * seconds(heard.theirs)):
        return [("damage heard", f"{lengths}; not in ours: {strange:.1f} s")]
    return []


def _loss(heard: Heard) -> str:
    """Whether what FFmpeg hears besides is music at all, and whether its loss is said."""
    music = _music(heard.theirs, heard.truths)
    more = music - _music(heard.ours, heard.truths)
    if all(found(truth, heard.ours).mean() > 0.95 for truth in heard.truths):
        return "noise left out"  # all is there: FFmpeg hears other things, or some of it twice
    if music and more <= 0.75 and not _lost_music(heard):
        return "noise left out"
    if not music and noisy(heard.theirs)[~found(heard.theirs, heard.ours)].mean() > 0.8:
        return "noise left out"
    return "loss said" if said(heard.path) else "silent loss"


def _lost_music(heard: Heard) -> float:
    """Return the seconds of what was put in that FFmpeg's decoding has and ours has not."""
    unheard = ~found(heard.theirs, heard.ours)
    return float((unheard & found(heard.theirs, *heard.truths)).sum() * WINDOW / RATE)


def _music(samples: Samples, truths: list[Samples]) -> float:
    """Return the seconds that are found in what was put in."""
    return float(found(samples, *truths).sum() * WINDOW / RATE)


def _strange(samples: Samples, known: list[Samples]) -> float:
    """Return the seconds found in none of `known`; of silence, what is longer than there."""
    sounding = found(samples, *known)
    windows = len(sounding)
    if not windows:
        return 0.0 if any(len(k) >= len(samples) for k in known) else seconds(samples)
    silent = _silent(samples)
    allowed = max((int(_silent(k).sum()) for k in known), default=0)
    strange = (~sounding & ~silent).sum() + max(0, int(silent.sum()) - allowed)
    return float(strange * WINDOW / RATE)


def _silent(samples: Samples) -> np.ndarray[Any, np.dtype[np.bool_]]:
    samples = samples[:LONGEST]
    windows = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
    return np.asarray(np.abs(windows).max(1, initial=0) < 1e-4)


def said(answer: dict[str, Any]) -> bool:
    """Whether an answer tells that the file is not whole, or longer than its header promises."""
    promised = answer.get("promised") or 1e9
    more = promised < 0.97 * answer.get("seconds", 0.0)
    return bool(answer.get("truncated") or answer.get("damaged") or more)


def _short(answer: dict[str, Any]) -> str:
    if answer["outcome"] != "ok":
        return f"{answer['outcome']} ({answer.get('message', '')[-160:]})"
    told = [f"{answer['seconds']:.2f} s at {answer['rate']} Hz"]
    told += ["truncated"] if answer["truncated"] else []
    told += [f"{answer['damaged']} damaged"] if answer["damaged"] else []
    told += [f"{answer['promised']} s promised"] if answer.get("promised") else []
    return ", ".join(told)
