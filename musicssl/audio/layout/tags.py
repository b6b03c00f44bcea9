"""Tags and padding behind a file's sound, and whether there is more than those."""

from musicssl.audio.headers import id3_size
from musicssl.audio.stream import ByteStream

TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN", b"3DI")  # that programs put behind a file


def is_padding(data: bytes) -> bool:
    """Tell whether `data` is one byte again and again."""
    return data.count(data[:1]) == len(data)


def behind_tags(stream: ByteStream, at: int) -> int:
    """Return where the tags end that say how long they are, if any begin at `at`."""
    for _ in range(64):
        head = stream.peek(at, 32)
        if head[:3] == b"ID3" and len(head) >= 10:
            at += id3_size(head)
        elif head[:8] == b"APETAGEX" and len(head) == 32 and head[23] & 0x20:  # its header
            at += 32 + int.from_bytes(head[12:16], "little")
        else:
            break
    return at


def leaves_something(stream: ByteStream, end: int, least: int) -> bool:
    """Tell whether `least` bytes or more, neither tags nor padding, follow offset `end`.

    Raises
    ------
    AudioError
        If the stream cannot be read.
    """
    size = stream.length()
    end = behind_tags(stream, end)
    if not 0 < end <= size - least:
        return False
    pieces = [stream.peek(end + (size - end) * i // 4, 512) for i in range(4)]
    tail = stream.peek(max(end, size - 512), 512)
    tagged = pieces[0].startswith(TAGS) or any(tag in tail for tag in (b"APETAGEX", b"LYRICS"))
    return not (tagged or all(is_padding(piece) for piece in pieces))
