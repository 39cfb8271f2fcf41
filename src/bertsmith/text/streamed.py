"""Data sets of the hub, or folders of that form, row by row through the `datasets` library: nothing is downloaded whole.

hf:NAME[:CONFIG[:SPLIT]] (split train).  Of columnar files the column of the text alone is read.  A stream that breaks is opened again and goes on
behind the rows that were read, a few times.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bertsmith.errors import InputError, ResourceError, printable
from bertsmith.spelling import option
from bertsmith.text import remote
from bertsmith.text.account import Account, Options
from bertsmith.text.hub import HUB, alone

if TYPE_CHECKING:
    from bertsmith.text.sources import Source


def rows_of(source: Source, options: Options, account: Account) -> Iterator[tuple[object, str]]:
    """(text, where it stands) of each row.  InputError for a data set that there is not, or a row without the field."""
    name = printable(source.name)
    data = _opened(source.name, name)
    columns = getattr(data, "column_names", None)
    if columns and options.field not in columns:
        raise InputError(_without(name, options.field, columns))
    if columns and len(columns) > 1:
        data = data.select_columns([options.field])
    for number, row in enumerate(_tried(data, name), 1):
        where = f"{name}: row {number}"
        if not isinstance(row, dict) or options.field not in row:
            raise InputError(_without(where, options.field, row))
        yield row[options.field], where


def _without(where: str, field: str, known: Any) -> str:
    return f"{where}: no field {field!r}; {option('field')} names one of: {printable(', '.join(map(str, known)), 80)}"


def _opened(source: str, name: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise InputError(f"{name}: needs the datasets library; pip install 'bertsmith[hub]'") from None
    dataset, config, split = [*source.removeprefix(HUB).split(":"), "", ""][:3]
    try:
        with alone():
            return datasets.load_dataset(dataset, config or None, split=split or "train", streaming=True)
    except Exception as error:  # the hub's errors have no common class
        raise InputError(f"{name}: cannot be loaded: {_reason(error)}") from None


def _tried(data: Any, name: str) -> Iterator[Any]:
    """Its rows, each once."""
    read = failed = 0
    while True:
        try:
            for row in data.skip(read) if read else data:
                read, failed = read + 1, 0
                yield row
            return
        except GeneratorExit:
            raise
        except Exception as error:
            failed += 1
            if failed == remote.TRIES or not hasattr(data, "skip"):
                raise ResourceError(
                    f"{name}: row {read + 1}: cannot be read: {_reason(error)}; {failed} tries; run again when the network does"
                ) from None
        time.sleep(remote.WAIT * 2 ** (failed - 1))


def _reason(error: Exception) -> str:
    return printable(remote.shown(str(error).split("\n")[0]) or type(error).__name__, 120)
