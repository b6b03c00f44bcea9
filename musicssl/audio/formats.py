"""Extensions of music files, and the choice of a decoder by a file's first bytes."""

# Taken from folders. Containers that may hold no audio at all are passed over where they do not.
AUDIO_EXTENSIONS = frozenset(
    {
        # uncompressed, or compressed without loss
        *(".wav", ".wave", ".bwf", ".w64", ".rf64", ".aif", ".aiff", ".aifc", ".caf", ".au"),
        *(".snd", ".voc", ".flac", ".alac", ".ape", ".wv", ".tta", ".tak", ".dsf", ".dff", ".shn"),
        # MPEG and its kin
        *(".mp3", ".mp2", ".mp1", ".mpga", ".mpa", ".m4a", ".m4b", ".m4r", ".aac", ".adts", ".ac3"),
        *(".eac3", ".ec3", ".dts", ".mpc", ".mp+", ".amr", ".awb"),
        # Ogg, Matroska, Windows Media, RealAudio
        *(".ogg", ".oga", ".opus", ".spx", ".mka", ".weba", ".wma", ".asf", ".ra"),
        # films and clips, of which the sound is heard
        *(".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mkv", ".webm", ".ogv", ".ogx", ".avi", ".wmv"),
        *(".flv", ".mpg", ".mpeg", ".rm", ".rmvb"),
    }
)

# FFmpeg's name for what an extension promises; asked for only where the content alone says nothing.
FORMAT_HINTS = {
    **dict.fromkeys((".mp3", ".mp2", ".mp1", ".mpga", ".mpa"), "mp3"),
    **dict.fromkeys((".aac", ".adts"), "aac"),
    **dict.fromkeys((".m4a", ".m4b", ".m4r", ".mp4", ".m4v", ".mov", ".3gp", ".alac"), "mov"),
    **dict.fromkeys((".ogg", ".oga", ".opus", ".spx", ".ogv", ".ogx"), "ogg"),
    **dict.fromkeys((".mka", ".mkv", ".webm", ".weba"), "matroska"),
    **dict.fromkeys((".wma", ".wmv", ".asf"), "asf"),
    **dict.fromkeys((".amr", ".awb"), "amr"),
    **dict.fromkeys((".eac3", ".ec3"), "eac3"),
    **{f".{name}": name for name in ("ac3", "ape", "dsf", "dts", "flac", "tak", "tta", "wv")},
    ".dff": "iff",
}

# The same by a file's first bytes, where FFmpeg takes a damaged one for something else.
SIGNATURE_HINTS = {
    b"fLaC": "flac",
    b"OggS": "ogg",
    b"FRM8": "iff",
    b"DSD ": "dsf",
    b"MAC ": "ape",
    b"TTA1": "tta",
    b"tBaK": "tak",
    b"wvpk": "wv",
    b"MPCK": "mpc8",
    b"#!AM": "amr",
}

# What the first bytes of a file, or of another one joined to its end, look like.
_W64 = b"riff\x2e\x91\xcf\x11"
_SIGNATURES = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b"ID3", b"caff", b".snd", _W64)
_SOUND_FILE = (b"RIFX", b"RF64", b"caff", b".snd", b"dns.", b"Creative Voice File", _W64)
_IFF_KINDS = (b"AIFF", b"AIFC", b"8SVX", b"16SV")


def decoders_for(head: bytes) -> tuple[str, ...]:
    """Return which decoders may read a file that begins with `head` (64 bytes), the first first.

    Containers of plain samples are libsndfile's: it is exact and faster there. Of everything else
    it stops at what a header says, so FFmpeg goes first. MPEG audio it is not asked about at all:
    its library for that writes notes to the terminal.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        mpeg = head[12:16] == b"fmt " and head[20:22] in {b"\x50\0", b"\x55\0"}
        return ("FFmpeg",) if mpeg else ("libsndfile", "FFmpeg")
    if (head[:4] == b"FORM" and head[8:12] in _IFF_KINDS) or head.startswith(_SOUND_FILE):
        return ("libsndfile", "FFmpeg")
    if head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0"):
        return ("FFmpeg",)
    return ("FFmpeg", "libsndfile")


def begins(head: bytes) -> bool:
    """Tell whether `head` begins a file of a kind that has a signature."""
    return head.startswith(_SIGNATURES)
