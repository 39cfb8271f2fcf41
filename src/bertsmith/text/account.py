"""How sources are read, and where every byte of them went."""

from dataclasses import dataclass, field
from typing import Literal

from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.text.encodings import checked

DROPPED = ("bad_encoding", "bad_record", "control", "zero_width")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How sources are read; the names of the command line."""

    documents: Literal["blank", "file"] = "blank"
    lines: Literal["paragraph", "sentence", "wrapped"] = "paragraph"
    field: str = "text"
    encoding: str = "utf-8"
    on_bad_line: Literal["error", "skip"] = "error"

    def __post_init__(self):
        allowed = {
            "documents": ("blank", "file"),
            "lines": ("paragraph", "sentence", "wrapped"),
            "on_bad_line": ("error", "skip"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise InputError(
                    f"{option(name)}: {printable(repr(getattr(self, name)))} is not one of {', '.join(values)}"
                )
        checked(self.encoding)
        if not isinstance(self.field, str) or not self.field:
            raise InputError(f"{option('field')}: expected the name of the field that holds the text")


@dataclass(slots=True)
class Account:
    """Where every byte went: read + recoded == text + markup + the sum of dropped, in bytes of UTF-8."""

    files: int = 0
    read: int = 0  # decompressed bytes of the sources
    recoded: int = 0  # what conversion to UTF-8 added, where --encoding is another, and spaces in the place of controls
    text: int = 0  # paragraphs handed on
    newlines: int = 0  # line ends, CR LF being two bytes
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DROPPED, 0))
    lines: int = 0  # as `grep -c ''` counts them
    blank_lines: int = 0
    bad_lines: int = 0
    cut_lines: int = 0
    crlf: int = 0
    cr: int = 0  # line ends of a file that has CR alone
    lone_cr: int = 0  # CR that ends no line
    byte_order_marks: int = 0
    records: int = 0
    separators: dict[str, int] = field(
        default_factory=dict
    )  # of tables, by what parts their columns where that is not the usual
    documents: int = 0
    sampled: int = 0  # lines looked at for hard wrapping
    long: int = 0  # of these, between 40 and 100 characters
    longer: int = 0  # longer than 100
    closed: int = 0  # ending like a sentence
    wrapped_files: int = 0

    @property
    def markup(self) -> int:
        """Line ends, outer white space, byte-order marks, everything of a record but its text."""
        return self.read + self.recoded - self.text - sum(self.dropped.values())

    @property
    def hard_wrapped(self) -> bool:
        """Whether lines pile up below a right margin and mostly do not end like sentences, in one of the files or in all together."""
        return self.wrapped_files > 0 or look_wrapped(self.sampled, self.long, self.longer, self.closed)


def look_wrapped(lines: int, long: int, longer: int, closed: int) -> bool:
    return lines >= 40 and longer <= 0.03 * lines and long >= 0.5 * lines and closed < 0.5 * lines
