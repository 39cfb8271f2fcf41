"""What cleaning took: pages, lines, parts of lines and bytes of each rule, and some of it to look at."""

import json
from dataclasses import dataclass, field
from zlib import crc32

from bertsmith.text.clean import Drop
from bertsmith.text.gopher import BOUNDS

SAMPLED, SHOWN = 20, 500  # drops of each rule that are shown, and their characters
FIELDS = ("pages", "lines", "parts", "bytes")


@dataclass(frozen=True)
class Place:
    """Where a page stands: its number in the corpus, its source, and which document of that it is, from 1."""

    number: int
    source: str
    document: int


@dataclass(slots=True)
class Tally:
    """`dropped`: FIELDS of each rule.  `shown`: the drops with the smallest hashes of each, whatever the order they came in."""

    samples: bool = False
    read: list[int] = field(default_factory=lambda: [0] * 4)  # pages, lines, (parts,) bytes
    kept: list[int] = field(default_factory=lambda: [0] * 4)
    emptied: int = 0  # pages of which rules about lines left nothing
    dropped: dict[str, list[int]] = field(default_factory=dict)
    shown: dict[str, list[tuple]] = field(default_factory=dict)
    statistics: dict[str, list[int]] = field(
        default_factory=dict
    )  # millionths and pages, of those looked at and of those that stay

    def measured(self, found: dict[str, float], stays: bool) -> None:
        """Statistics of a page (gopher.py); whole numbers, so that sums do not depend on their order."""
        for name, value in found.items():
            sums = self.statistics.setdefault(name, [0] * 4)
            for i, more in enumerate((round(value * 1e6), 1) * (1 + stays)):
                sums[i] += more

    def add(self, drops: list[Drop], place: Place) -> None:
        for drop in drops:
            counts = self.dropped.setdefault(drop.rule, [0] * 4)
            for i, count in enumerate((drop.pages, drop.lines, drop.parts, drop.size)):
                counts[i] += count
            if self.samples:
                key = crc32(f"{drop.rule} {place.number} {drop.text[:SHOWN]}".encode("utf-8", "replace"))
                row = (key, place.number, place.source, place.document, drop.text[:SHOWN])
                self._show(drop.rule, [row])

    def _show(self, rule: str, rows: list[tuple]) -> None:
        mine = self.shown.setdefault(rule, [])
        mine += rows
        if len(mine) > 8 * SAMPLED:
            mine[:] = sorted(mine)[:SAMPLED]

    def merge(self, other: "Tally") -> None:
        for mine, its in ((self.read, other.read), (self.kept, other.kept)):
            mine[:] = [a + b for a, b in zip(mine, its, strict=True)]
        self.emptied += other.emptied
        for rule, counts in other.dropped.items():
            self.dropped[rule] = [a + b for a, b in zip(self.dropped.get(rule, [0] * 4), counts, strict=True)]
        for name, sums in other.statistics.items():
            self.statistics[name] = [a + b for a, b in zip(self.statistics.get(name, [0] * 4), sums, strict=True)]
        for rule, rows in other.shown.items():
            self._show(rule, rows)

    @property
    def size(self) -> int:
        """Bytes of all that was dropped."""
        return sum(counts[3] for counts in self.dropped.values())

    def account(self, names: tuple[str, ...]) -> dict:
        """read == kept + the sum of dropped, in lines and bytes; in pages with those that were emptied."""
        plain = lambda counts: {name: counts[FIELDS.index(name)] for name in ("pages", "lines", "bytes")}
        dropped = {name: dict(zip(FIELDS, self.dropped.get(name, [0] * 4), strict=True)) for name in names}
        said = {"read": plain(self.read), "kept": plain(self.kept), "emptied": self.emptied, "dropped": dropped}
        if self.statistics:
            names = [name for bounds in BOUNDS.values() for name in bounds if name in self.statistics]
            said["statistics"] = {
                name: dict(zip(("sum", "pages", "sum_kept", "pages_kept"), self.statistics[name], strict=True))
                for name in names
            }
        return said

    def sample(self, names: tuple[str, ...]) -> bytes:
        """JSON lines {rule, source, document, text}, by rule and place."""
        rows = []
        for rule in names:
            for _, _, source, document, text in sorted(
                sorted(self.shown.get(rule, []))[:SAMPLED], key=lambda row: row[1:]
            ):
                rows.append({"rule": rule, "source": source, "document": document, "text": text})
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace")
