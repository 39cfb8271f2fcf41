"""Studies to begin with: each a file that runs when its [data] and [[task]] name files of yours."""

from importlib import resources

from bertsmith.errors import InputError, nearest
from bertsmith.spelling import option


def names() -> list[str]:
    found = (entry.name for entry in resources.files(__package__).iterdir())
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml") and not name.startswith("_"))


def template(name: str) -> str:
    """What it is about, then what is yours to edit, then what is compared.  InputError for one that there is none of."""
    if name not in names():
        raise InputError(f"{option('template', name)}: unknown; {nearest(name, names())}")
    about, blank, rest = _read(name).partition("\n\n")
    return f"{about}{blank}{_read('_data')}\n{rest}"


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
