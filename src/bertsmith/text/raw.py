"""Bytes of a source to clean lines: decoding, line ends, byte-order marks, control characters, lines that are too long."""

import re
from collections.abc import Iterator
from itertools import chain

from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.text.account import Account, Options
from bertsmith.text.encodings import Recoder, is_utf8
from bertsmith.text.recognise import COMPRESSIONS, STREAMS, ZIP, document
from bertsmith.text.sources import Source
from bertsmith.text.unpacking import read

BLOCK = 1 << 20  # bytes read at once; a longer line is cut
_CR = re.compile(rb"\r(?!\n)")
CONTROL = bytes(range(9)) + bytes(range(14, 28)) + b"\x7f"
CONTROL_CHARACTERS = dict.fromkeys(CONTROL)
CONTROL_PATTERN = re.compile("[" + "".join(f"\\x{c:02x}" for c in CONTROL) + "]")


def blocks(
    source: Source, options: Options, account: Account, longest: int, whole: bool = False
) -> Iterator[tuple[str, int, bool]]:
    """(decoded lines, number of the first, whether this is a part of one line above `longest` bytes), clean of CR LF, marks, controls.

    `whole`: a line that long is an InputError, not cut.
    """
    for raw, first, partial in _bytes(source, options, account, longest, whole):
        for data, number in _valid(raw, first, source, options, account):
            if b"\r" in data:
                pairs = data.count(b"\r\n")
                account.crlf += pairs
                account.newlines += pairs
                account.lone_cr += data.count(b"\r") - pairs
                data = data.replace(b"\r\n", b"\n") if pairs else data
            account.newlines += data.count(b"\n")
            clean = data.translate(None, CONTROL)
            account.dropped["control"] += len(data) - len(clean)
            yield clean.decode(), number, partial


def _valid(data: bytes, number: int, source: Source, options: Options, account: Account) -> Iterator[tuple[bytes, int]]:
    """The block if it is UTF-8; else the runs of lines between bad ones, each counted, or an InputError for the first."""
    try:
        data.decode()  # faster than a check without a copy; control bytes are still in it, so that dropping one cannot mend a sequence
        yield data, number
        return
    except UnicodeDecodeError:
        pass
    run, first = [], number
    for here, line in enumerate(_split_lines(data), first):
        try:
            line.decode()
            run.append(line)
            continue
        except UnicodeDecodeError as error:
            if options.on_bad_line == "error":
                where = f"{printable(source.name)}:{here}: byte {error.start + 1}"
                allowed = f"{option('encoding')} names another, {option('on_bad_line', 'skip')} counts and skips"
                raise InputError(f"{where}: not UTF-8 (0x{line[error.start]:02x}); {allowed}") from None
        ends = line.endswith(b"\n")
        account.bad_lines += 1
        account.newlines += ends
        account.dropped["bad_encoding"] += len(line) - ends
        if run:
            yield b"".join(run), first
        run, first = [], here + 1
    if run:
        yield b"".join(run), first


def _split_lines(data: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        yield data[start:end]
        start = end


def _bytes(
    source: Source, options: Options, account: Account, longest: int, whole: bool
) -> Iterator[tuple[bytes, int, bool]]:
    """(whole lines, number of the first, False), or the pieces of a line above `longest` bytes one by one with True."""
    carry, number, inside = b"", 1, False  # inside: the carry goes on a line of which pieces were given away
    for data in chain(_line_feeds(_recoded(source, options, account), account), (b"",)):
        final = not data
        data = carry + data
        if inside:
            end = data.find(b"\n") + 1 or (len(data) if final else 0)
            if end and end <= longest:
                yield data[:end], number, True
                account.lines += 1
                number, inside, data = number + 1, False, data[end:]
        if not inside:
            end = len(data) if final else data.rfind(b"\n") + 1
            if end:
                lines = data.count(b"\n", 0, end) + (data[end - 1 : end] != b"\n")
                account.lines += lines
                yield data[:end], number, False
                number, data = number + lines, data[end:]
        while len(data) > longest:
            if whole:
                raise InputError(
                    f"{printable(source.name)}:{number}: a record of more than {amount(longest, 'byte')}; split it into smaller ones"
                )
            cut = _cut(data, longest)
            if not inside:
                account.cut_lines += 1
            yield data[:cut], number, True
            inside, data = True, data[cut:]
        carry = data


def _line_feeds(blocks: Iterator[bytes], account: Account) -> Iterator[bytes]:
    """The blocks; those of a file whose first BLOCK bytes have CR and no LF with LF for each CR that has none behind it."""
    head, waiting = b"", []
    for data in blocks:
        waiting.append(data)
        head += data
        if b"\n" in data or len(head) >= BLOCK:
            break
    if b"\r" not in head or b"\n" in head:
        yield from chain(waiting, blocks)
        return
    held = b""
    for data in chain((head,), blocks, (b"",)):
        final, data = not data, held + data
        held = b"\r" if data.endswith(b"\r") and not final else b""  # an LF may follow in the next block
        data = data.removesuffix(held)
        data, ends = _CR.subn(b"\n", data)
        account.cr += ends
        if data:
            yield data


def _cut(data: bytes, longest: int) -> int:
    """Where to cut a long line: after white space in the last part of it, else between two characters of UTF-8."""
    space = data.rfind(b" ", longest - longest // 8, longest)
    if space >= 0:
        return space + 1
    cut = longest
    while cut > longest - 4 and data[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut


def _recoded(source: Source, options: Options, account: Account) -> Iterator[bytes]:
    """Blocks of UTF-8 as far as it is valid, none empty: as read, or converted from `options.encoding`; without the mark at the start."""
    recoder = None if is_utf8(options.encoding) else Recoder(printable(source.name), options.encoding)
    first = True
    for data in chain(read(source, BLOCK), (b"",)):
        account.read += len(data)
        if first:
            _sniff(data, source, options)
        if recoder:
            converted = recoder(data)
            account.recoded += len(converted) - len(data)
            data = converted
        if first and data.startswith(b"\xef\xbb\xbf"):
            data = data[3:]
            account.byte_order_marks += 1
        first = first and not data
        if data:
            yield data


def _sniff(data: bytes, source: Source, options: Options) -> None:
    where = printable(source.name)
    if what := document(data, source.name):
        raise InputError(f"{where}: its content is {what}")
    for magic, what in _MAGIC.items():
        if data.startswith(magic):
            raise InputError(f"{where}: its content is {what}; {_MEND.get(what, 'unpack it first')}")
    head = data[:4096]
    if is_utf8(options.encoding):
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise InputError(
                f"{where}:1: byte 1: not UTF-8 (UTF-16 byte-order mark); {option('encoding', 'utf-16')} reads it"
            )
        if len(head) >= 4 and head.count(0) * 4 >= len(head):
            guess = "utf-16-be" if head[0::2].count(0) > head[1::2].count(0) else "utf-16-le"
            raise InputError(
                f"{where}:1: {head.count(0)} of the first {amount(len(head), 'byte')} are NUL: not text in UTF-8; {option('encoding', guess)} may read it"
            )


_MAGIC = {**STREAMS, ZIP: "a zip archive", b"PAR1": "parquet"}
_MEND = {what: f"name it {ending}" for ending, what in {**COMPRESSIONS, ".parquet": "parquet"}.items()}
