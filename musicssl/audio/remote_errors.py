"""Errors of file systems behind URLs in one form, and URLs without the secrets in them."""

import re
from urllib.parse import urlsplit

_LINK = re.compile(r"(?<!\[)::(?![^\[\]]*\])")  # between those of a chain; not in [fe80::1]
# What stands before an "@" is no password there, or there is no host at all.
_OPEN = {"abfs", "abfss", "az", "file", "github", "hf", "local", "memory", "tar", "zip"}
_GONE = (404, 410)
_REFUSED = (401, 403)
_S3 = (
    "for s3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws), or set FSSPEC_S3_ANON=true "
    "for a public bucket"
)
_GS = (
    "for gs: gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS), or set "
    "FSSPEC_{}_TOKEN=anon for a public bucket"
)
_AZ = (
    "for az: AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and "
    "AZURE_STORAGE_ACCOUNT_KEY)"
)
_HF = "for hf: hf auth login, or HF_TOKEN)"
_CREDENTIALS = {
    **dict.fromkeys(("s3", "s3a"), _S3),
    **{name: _GS.format(name.upper()) for name in ("gs", "gcs")},
    **dict.fromkeys(("az", "abfs", "abfss"), _AZ),
    "hf": _HF,
}
_WITHOUT = {"NoCredentialsError", "DefaultCredentialsError", "ClientAuthenticationError"}


def links(url: str) -> list[str]:
    """Return the links of a chain, such as ``zip://song.wav`` and ``s3://bucket/album.zip``."""
    return _LINK.split(url)


def protocols(url: str) -> list[str]:
    """Return the protocols of a URL's links, the outermost last.

    Examples
    --------
    >>> protocols("zip://song.wav::S3://bucket/album.zip")
    ['zip', 's3']
    """
    *inner, last = links(url)
    kinds = [link.partition("://")[0].lower() for link in inner]
    return [*kinds, last.partition("://")[0].lower() if "://" in last else "file"]


def shown_url(url: str) -> str:
    """Return a URL for messages: without a password, and without what is often a key.

    Examples
    --------
    >>> shown_url("https://me:secret@example.org/song.mp3?token=5")
    'https://example.org/song.mp3'
    >>> shown_url("zip://song.mp3::https://example.org/album.zip?token=5")
    'zip://song.mp3::https://example.org/album.zip'
    """
    return "::".join(map(_shown_link, links(url)))


def _shown_link(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # such as an unclosed "["
        return url.partition("://")[0] + "://..."
    if parts.scheme in _OPEN:
        return url
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme not in ("http", "https"):  # elsewhere "?" and "#" are letters of names
        return url.replace(parts.netloc, host, 1)
    return parts._replace(netloc=host, query="", fragment="").geturl()


def told(error: Exception, url: str) -> str:
    """Return what went wrong with a URL, in a line, with a remedy where one is known."""
    why = " ".join(str(error).split())
    for link in links(url):
        why = why.replace(link, shown_url(link))
    kinds = {kind.__name__ for kind in type(error).__mro__}
    given = next((_CREDENTIALS[kind] for kind in protocols(url) if kind in _CREDENTIALS), "")
    advice = ""
    if kinds & _WITHOUT or "connection_string" in why:  # so adlfs says that it has none
        advice = f"; give credentials as its own tools take them ({given or 'see its own docs)'}"
    elif "PermissionError" in kinds:
        advice = "; the credentials do not allow it" + (f" (give others {given}" if given else "")
    return f"{type(error).__name__}: {why[:200]}{advice}"


def status_of(error: Exception) -> int | None:
    """Return the HTTP status that an error of a store's client carries, wherever it has it."""
    for holder in (error, getattr(error, "response", None)):
        for name in ("status", "status_code", "code"):
            found = getattr(holder, name, None)
            if type(found) is int and 100 <= found < 600:
                return found
    return None


def plain(error: Exception) -> Exception:
    """Return an error in the form that all file systems should give it.

    Clients hide a server's failure behind a missing file (fsspec's http), or a missing file or a
    refusal behind an error of their own: adlfs, gcsfs, huggingface_hub.
    """
    cause = error.__cause__
    if isinstance(error, FileNotFoundError):
        if not isinstance(cause, Exception):
            return error
        status = status_of(cause)
        failed = isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError)
        if status is None:
            return cause if failed else error
        return error if status in _GONE else plain(cause)
    status = status_of(error)
    kind = type(error).__name__
    if status in _GONE:
        return _as(FileNotFoundError, error)
    if status in _REFUSED or (kind == "OSError" and str(error).startswith("Forbidden")):
        return error if isinstance(error, PermissionError) else _as(PermissionError, error)
    return error


def _as(kind: type[Exception], error: Exception) -> Exception:
    made = kind(" ".join(str(error).split()))
    made.__cause__ = error
    return made
