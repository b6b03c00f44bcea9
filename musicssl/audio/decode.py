"""Choose the decoders of a file, and let one take over where another breaks off."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from musicssl.audio.decoder import Decoder, falls_short
from musicssl.audio.ffmpeg import NOT_A_REST, FFmpegDecoder
from musicssl.audio.formats import FORMAT_HINTS, SIGNATURE_HINTS, decoders_for
from musicssl.audio.layout import SEARCHED, Layout, find_beginning, find_layout, is_padding
from musicssl.audio.remote import fetched, is_url
from musicssl.audio.sndfile import SoundFileDecoder
from musicssl.audio.stream import ByteStream, open_path
from musicssl.errors import AudioError, NoAudioError

Opener = Callable[[], Decoder]
MOST_LINKS = 10_000
BEHIND = 2**15  # bytes behind a FLAC's last frame that may be tags; more is music


def open_file(audio: Any) -> Decoder:
    """Open a path, a URL or a binary file object.

    Plain samples (WAV, AIFF, CAF, AU...) are read by libsndfile first, everything else by FFmpeg
    first; where the first cannot read, or breaks off before the end, the other one goes on.

    Raises
    ------
    AudioError
        Without the file's name: the caller knows it.
    """
    with ExitStack() as opened:
        if is_url(audio):
            stream = ByteStream(opened.enter_context(fetched(audio)))
            suffix = PurePosixPath(urlsplit(audio).path).suffix.lower()
        elif isinstance(audio, (str, os.PathLike)):
            path = Path(os.fsdecode(audio))
            stream = ByteStream(opened.enter_context(open_path(path)))
            suffix = path.suffix.lower()
        else:
            stream = ByteStream(audio)
            name = getattr(audio, "name", None)
            suffix = Path(name).suffix.lower() if isinstance(name, str) else ""
        if not stream.length():
            raise AudioError("holds 0 bytes from where it stands; does it need seek(0) first?")
        decoder = FileDecoder(stream, FORMAT_HINTS.get(suffix))
        files = opened.pop_all()  # to be closed after what reads from them
        files.push(decoder.closing.pop_all())
        decoder.closing = files
        return decoder


@dataclass
class Link:
    """One of the files that are joined to one; usually the only one."""

    stream: ByteStream
    decoder: Decoder
    others: list[Opener]  # of decoders that may know more
    unheard: bool  # something stands behind it that cannot be decoded

    @property
    def end(self) -> int | None:
        """Beginning of the next link, as far as was seen; None for the last."""
        return self.stream.stop


class FileDecoder(Decoder):
    """A file's samples, by whichever decoders it takes, with all that is joined to it.

    `promised` and `frames` are those of the first link; so is what the header says.
    """

    def __init__(self, stream: ByteStream, hint: str | None) -> None:
        super().__init__()
        self._stream, self._hint = stream, hint
        self._link = self._open(stream.start)
        first = self._link.decoder
        self.rate, self.channels = first.rate, first.channels
        self.frames, self.promised, self.counted = first.frames, first.promised, first.counted
        if self._link.end is not None:  # the first link's length is not the file's
            self.frames = self.promised = None
            self.counted = False
        self.closing.callback(lambda: self._link.decoder.close())
        self._skipped = Fraction(0)  # seconds

    def skip(self, samples: int) -> bool:
        """Pass over samples of the first link, with libsndfile: a seek of FFmpeg is not exact."""
        link = self._link
        if link.decoder.skip(samples):
            self._skipped = Fraction(samples, self.rate)
            return True
        if link.stream.peek(0, 4) != b"fLaC":
            return False
        link.stream.seek(0)
        while link.stream.read(2**20):  # finds where another file is joined to this one
            pass
        link.stream.check()
        try:
            exact = SoundFileDecoder(link.stream)
        except AudioError:
            link.stream.check()
        else:
            same = (exact.rate, exact.channels) == (self.rate, self.channels)
            if same and _is_last(exact, link.stream) and exact.skip(samples):
                link.decoder.close()
                link.decoder, link.others = exact, [partial(FFmpegDecoder, link.stream)]
                self._skipped = Fraction(samples, self.rate)
                return True
            exact.close()
        link.decoder.close()  # others have read from its stream
        self._link = self._open(self._stream.start)
        return False

    def _open(self, start: int) -> Link:
        """Open what begins at `start`, an offset in the file."""
        whole = self._stream.part(start - self._stream.start)
        layout = find_layout(whole)
        if layout == Layout():
            stream = whole
        else:
            stream = whole.part(0, layout.stop, layout.patches, layout.mark, layout.after)
        hint = self._hint if start == self._stream.start else None
        decoder, others = _open_first(stream, hint)
        if decoder.promised is not None:
            decoder.promised = round(decoder.promised * layout.stated)
        return Link(stream, decoder, others, layout.unheard)

    def read(self) -> Iterator[NDArray[np.float32]]:
        """Yield the blocks of one link after the other."""
        for _ in range(MOST_LINKS):
            yield from self._relay()
            following = self._link.end
            if following is None:
                return
            self.promised = None
            try:
                self._link = self._open(following)
            except AudioError:
                self._stream.check()
                self.damaged += 1
                return

    def _relay(self) -> Iterator[NDArray[np.float32]]:
        """Yield a link's blocks, of the other decoder where the first breaks off."""
        heard, self._skipped = self._skipped, Fraction(0)  # seconds
        decoder = self._link.decoder
        for block in decoder.read():
            self.rate, self.channels = decoder.rate, decoder.channels
            heard += Fraction(len(block), self.rate)
            yield block
        decoder.close()
        self.damaged += decoder.damaged + self._link.unheard
        self.reached = max(decoder.reached, float(heard))
        short = falls_short(round(self.reached * self.rate), decoder.promised, self.rate)
        if decoder.broken is not None or short:
            decoder.broken = yield from self._take_over(heard, decoder.broken)
        self.broken, self.cut = decoder.broken, decoder.cut

    def _take_over(
        self, heard: Fraction, broken: str | None
    ) -> Generator[NDArray[np.float32], None, str | None]:
        """Yield what other decoders give beyond `heard` seconds; return why it ends early."""
        for opener in self._link.others:
            try:
                other = opener()
            except AudioError:
                self._stream.check()
                continue
            at = Fraction(0)
            further = False
            with ExitStack() as closing:
                closing.callback(other.close)
                for block in other.read():
                    skip = min(len(block), max(0, round((heard - at) * other.rate)))
                    at += Fraction(len(block), other.rate)
                    if skip == len(block):
                        continue
                    self.rate, self.channels = other.rate, other.channels
                    further = True
                    yield block[skip:]
            if further:
                self.damaged += 1
                self.reached = float(at)
                return other.broken
        return broken


def _is_last(decoder: SoundFileDecoder, stream: ByteStream) -> bool:
    """Tell whether the last sample that a FLAC's header promises is where the file ends.

    libsndfile stops there, FFmpeg goes on. Afterwards, `decoder` stands elsewhere.
    """
    last = (decoder.frames or 0) - 1
    return decoder.skip(last) and stream.length() - stream.tell() < BEHIND


def _open_behind(stream: ByteStream, start: int) -> Decoder:
    """Open what begins at `start`; what stands before it is damage, unless it is a tag."""
    decoder = FFmpegDecoder(stream.part(start))
    head = stream.peek(0, min(start, SEARCHED))
    decoder.damaged += not (start < NOT_A_REST or head[:3] == b"ID3" or is_padding(head))
    return decoder


def _open_first(stream: ByteStream, hint: str | None) -> tuple[Decoder, list[Opener]]:
    """Open `stream` with the first decoder that can, and return the other ones too.

    Raises
    ------
    AudioError
        If none can; says what each said.
    NoAudioError
        If it is a film without sound or the like.
    """
    every: dict[str, Opener] = {
        "libsndfile": partial(SoundFileDecoder, stream),
        "FFmpeg": partial(FFmpegDecoder, stream),
    }
    openers = {name: every[name] for name in decoders_for(stream.peek(0, 64))}
    reasons: dict[str, AudioError] = {}
    late: Decoder | None = None
    for name, opener in openers.items():
        try:
            decoder = opener()
        except AudioError as error:
            stream.check()
            reasons[name] = error
            continue
        if late is not None:
            late.close()
        if late is not None or not decoder.late:
            return decoder, [other for other in openers.values() if other is not opener]
        late = decoder  # another one may be less strict
    if late is not None:
        late.close()
        return openers["FFmpeg"](), []  # anew: the stream was read by others since
    later: dict[str, Opener] = {}
    signature = SIGNATURE_HINTS.get(stream.peek(0, 4))
    if signature is not None:
        later[f"FFmpeg as {signature}"] = partial(FFmpegDecoder, stream, signature)
    if (start := find_beginning(stream)) is not None:
        later["FFmpeg from its signature on"] = partial(_open_behind, stream, start)
    if hint is not None:
        later[f"FFmpeg as {hint}"] = partial(FFmpegDecoder, stream, hint)
    for name, opener in later.items():
        try:
            return opener(), []
        except AudioError as error:
            stream.check()
            reasons[name] = error
    if isinstance(reasons["FFmpeg"], NoAudioError):  # not where it was told what to see
        raise NoAudioError("holds no audio: a film without sound, or a picture?")
    said = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise AudioError(f"cannot be decoded ({said}).")
