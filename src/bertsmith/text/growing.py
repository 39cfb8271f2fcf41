"""`prepare --append`: more text behind that of a store.  Old shards stay the files that they were; the new store takes the place of the old at once.

Documents are numbered on from the old ones, so that those held out are those of one pass over all of it.
"""

from __future__ import annotations

import os
import re
import shutil
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.errors import InputError, printable
from bertsmith.spelling import flag, option
from bertsmith.text.clean import ASKED_APART
from bertsmith.text.said import layouts_said
from bertsmith.text.store import Store

HASHES = "hashes.npy"
KEPT = re.compile(
    r"tokenizer\.json|special_tokens_map\.json|(train|held-out)-(starts-|capitals-)?\d{5}\.npy"
)  # as it was
FREE = ("documents", "field", "encoding", "on_bad_line")  # how new sources are read is theirs
RULES = ("lowercase", "strip_accents", "normalise", "chinese")


@dataclass
class Grown:
    """The store that more text goes behind."""

    store: Store

    @classmethod
    def of(cls, out: str | os.PathLike) -> Grown:
        """InputError where there is none, and for one that cannot grow."""
        store = Store.open(out, verify=False)
        for what, option_of in (("annotations", "phrases and entities"), ("links", "links")):
            if what in store.manifest:
                raise InputError(
                    f"{flag('append')}: {printable(out)} has {option_of}, which are found in all of a text; prepare all of it anew"
                )
        return cls(store)

    @property
    def manifest(self) -> dict[str, Any]:
        return self.store.manifest

    @property
    def numbered(self) -> int:
        """Documents that the old text had."""
        account = self.manifest["account"]
        return account["documents"] + account["documents_without_tokens"]

    @property
    def hashes(self) -> Path | None:
        path = self.store.path / HASHES
        return path if HASHES in self.manifest["files"] else None

    def options(self, given: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
        """The options of a `prepare` that goes on: the store's, where what is `given` is the `usual`.  InputError naming one that is neither."""
        old = self.manifest["options"]
        made = {name: given[name] for name in FREE}
        for name in ("lines", "language", "holdout", "segmented", "capitals"):
            made[name] = self._same(name, given[name], usual[name], old.get(name, usual[name]))
        for name in RULES:
            self._same(name, given[name], usual[name], old[name])
        if given["tokenizer"] not in (usual["tokenizer"], old["tokenizer"]):
            self._same_tokenizer(given["tokenizer"])
        for name in ("new_words", "smoothing", "phrases", "entities", "links", "entity_vectors"):
            if given[name] is not None:
                raise InputError(f"{option(name)}: a store that grows stays as it is ({flag('append')})")
        if given["words"] is None and "words" in old:
            raise InputError(
                f"{flag('append')}: the store was made with words of one's own ({old['words']['words']:,}); {option('words', like='FILE')} names the same list"
            )
        return made | self._cleaning(given, old.get("clean"))

    def options_now(self, keep_hashes: bool) -> dict[str, Any]:
        """What the manifest says of them."""
        return self.manifest["options"] | ({"keep_hashes": True} if keep_hashes else {})

    def same_words(self, digest: str | None) -> None:
        old = self.manifest["options"].get("words", {}).get("sha256")
        if digest != old:
            raise InputError(
                f"{option('words')}: not the words that the store was made with; {flag('append')} keeps to them"
            )

    def same_cleaning(self, described: dict[str, Any] | None) -> None:
        """`described`: as a manifest says it."""
        old = self.manifest["options"].get("clean")
        plain = lambda clean: (
            clean
            and {
                "rules": clean["rules"],
                "bad_words": clean.get("bad_words", {}).get("sha256"),
                "language": clean.get("language", {}).get("code"),
            }
        )
        if plain(described) != plain(old):
            named = "nothing" if old is None else ", ".join(old["rules"])
            raise InputError(
                f"{option('clean')}: the store was cleaned of {named}, by its lists; {flag('append')} keeps to that"
            )

    def _cleaning(self, given: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
        names = ("clean", "clean_language", "bad_words")
        if old is None or any(given[name] is not None for name in names):
            return {name: given[name] for name in names}
        if "bad_words" in old:
            raise InputError(
                f"{flag('append')}: the store was cleaned of bad words; {option('bad_words', like='FILE')} names the same list, {option('clean', *old['rules'][:1])} … the same rules"
            )
        rules = [name for name in old["rules"] if name not in ASKED_APART]
        return {"clean": rules or None, "clean_language": old.get("language", {}).get("code"), "bad_words": None}

    def _same(self, name: str, given: Any, usual: Any, old: Any) -> Any:
        if given not in (usual, old):
            raise InputError(
                f"{option(name, given)}: the store was made with {option(name, old)}; {flag('append')} keeps to that"
            )
        return old

    def _same_tokenizer(self, path: str) -> None:
        from bertsmith.text.sample import loaded, trains

        kind = self.manifest["options"]["tokenizer"]
        if trains(path, {}) or loaded(path).digest != self.manifest["tokenizer"]["digest"]:
            raise InputError(
                f"{option('tokenizer', path)}: the store has a tokenizer ({kind}); {flag('append')} keeps to that"
            )

    def languages(self, found: tuple[str, ...]) -> None:
        """InputError where languages of new sources could not stand behind the old ones."""
        old = self.manifest.get("languages", {})
        if bool(old) != bool(found):
            what = f"its texts have languages ({', '.join(old)})" if old else "its texts have no languages"
            raise InputError(f"{flag('append')}: {printable(self.store.path)}: {what}, and so have new ones")
        if again := [name for name in found if name in old]:
            raise InputError(
                f"{flag('append')}: {again[0]} stands in {printable(self.store.path)} already, and languages stand one after the other; prepare all of it anew"
            )

    def lay(self, folder: Path) -> None:
        """What stays as it is, in the folder of the store that will take the place of this one: the same files, not copies, where that can be."""
        for name in filter(KEPT.fullmatch, sorted(self.manifest["files"])):
            with files.writing(folder):
                try:
                    os.link(self.store.path / name, folder / name)
                except OSError:  # a file system without links
                    shutil.copyfile(self.store.path / name, folder / name)

    def check(self, listed: dict[str, dict]) -> None:
        """InputError where an old file is not as its manifest said."""
        for name in filter(KEPT.fullmatch, sorted(self.manifest["files"])):
            if listed[name] != self.manifest["files"][name]:
                raise InputError(
                    f"{printable(self.store.path / name)}: damaged: its SHA-256 is not the one in {files.MANIFEST}"
                )

    def account(self, new: dict[str, Any]) -> dict[str, Any]:
        """That of old and new text together."""
        old = self.manifest["account"]
        made = _sum(deepcopy(old), new)
        made["sentences_per_document"] = made["sentences"] / made["documents"]
        made["tokens_per_sentence"] = made["tokens"] / made["sentences"]
        made["held_out"]["share"] = old["held_out"]["share"]
        made["unknown"]["share"] = made["unknown"]["tokens"] / max(1, made["tokens"])
        for part in (made["unknown"], made["characters"]):
            common = part["commonest"] or {}
            part["commonest"] = part["commonest"] and dict(
                sorted(common.items(), key=lambda item: (-item[1], item[0]))[:10]
            )
        train = made["documents"] - made["held_out"]["documents"]
        made["layouts"] = layouts_said(made["documents_of_several_sentences"], train)
        made["tokenizer_sample"] = old["tokenizer_sample"]
        size = {name: new[name] for name in ("files", "documents", "sentences", "tokens")} | {
            "read": new["bytes"]["read"]
        }
        made["appended"] = [*old.get("appended", []), size]
        return made


def _sum(old: Any, new: Any) -> Any:
    """Counts are added, dicts by name, lists (warnings) joined; of what is neither the old one stays."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {
            key: _sum(old[key], new[key]) if key in old and key in new else (old | new)[key] for key in {**old, **new}
        }
    if isinstance(old, bool) or isinstance(new, bool):
        return bool(old or new)
    if isinstance(old, (int, float)) and isinstance(new, (int, float)):
        return old + new
    if isinstance(old, list) and isinstance(new, list):
        return old + [one for one in new if one not in old]
    return new if old is None else old
