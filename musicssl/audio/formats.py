"""Which files are music by their name, and which decoder a file's first bytes ask for."""

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

# What the first bytes of a file, or of another one joined to its end, look like.
_W64 = b"riff\x2e\x91\xcf\x11"
_SIGNATURES = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b"ID3", b"caff", b".snd", _W64)
_SOUND_FILE = (b"RIFX", b"RF64", b"caff", b".snd", b"dns.", b"Creative Voice File", _W64)
_IFF_KINDS = (b"AIFF", b"AIFC", b"8SVX", b"16SV")


def for_sound_file(head: bytes) -> bool:
    """Tell whether a file that begins with `head` (12 bytes or more) is libsndfile's to read first.

    These are containers of plain samples: exact and faster there. Of everything else libsndfile
    stops at what a header says, so FFmpeg goes first.
    """
    if head[:4] == b"RIFF":
        return head[8:12] == b"WAVE"
    if head[:4] == b"FORM":
        return head[8:12] in _IFF_KINDS
    return head.startswith(_SOUND_FILE)


def begins(head: bytes) -> bool:
    """Tell whether `head` begins a file of a kind that has a signature."""
    return head.startswith(_SIGNATURES)
