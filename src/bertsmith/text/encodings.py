"""Other encodings than UTF-8: which there are, and bytes of one as UTF-8."""

from __future__ import annotations

import codecs

from bertsmith.errors import InputError, printable
from bertsmith.spelling import option

UTF8 = "utf-8"


def checked(encoding: str) -> str:
    """InputError for a name that Python does not know."""
    try:
        if not codecs.lookup(encoding)._is_text_encoding:
            raise LookupError
        codecs.getincrementaldecoder(encoding)
    except (LookupError, TypeError, ValueError):
        raise InputError(
            f"{option('encoding')}: {printable(repr(encoding))} is not one that Python knows; for example utf-8, latin-1, gb18030"
        ) from None
    return encoding


def is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("_", "-") in (UTF8, "utf8")


class Recoder:
    """Blocks of a file in `encoding`, one after another, as UTF-8.  InputError naming line and bytes of what is not in it."""

    def __init__(self, name: str, encoding: str):
        self.name, self.encoding = name, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._line, self._before = 1, 0

    def __call__(self, data: bytes) -> bytes:
        """No bytes: the file ends."""
        try:
            converted = self._decoder.decode(data, final=not data).encode()
        except (UnicodeError, ValueError) as error:
            reason = printable(getattr(error, "reason", error), 60)
            inside = f"in bytes {self._before + 1} to {self._before + len(data)}"
            raise InputError(
                f"{self.name}: after line {self._line}, {inside}: not {self.encoding} ({reason}); {option('encoding')} names another"
            ) from None
        self._before += len(data)
        self._line += converted.count(b"\n")
        return converted
