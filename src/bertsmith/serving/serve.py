"""`serve`: models behind HTTP, until a signal ends it.  The port is taken first, the models are loaded and warm, and then requests are."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith.deploy import folder
from bertsmith.downstream.model import Loaded, check_model
from bertsmith.errors import InputError, ResourceError, printable
from bertsmith.serving.limits import limits as limits_of
from bertsmith.spelling import amount, option, typed

if TYPE_CHECKING:
    from bertsmith.serving.server import Server

TOKEN = "BERTSMITH_TOKEN"  # in the environment: a command line is seen by everybody on a machine
PORT = 8000


def serve(
    models: Any,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    names: Iterable[str] = (),
    token: str | Path | None = None,
    limits: Mapping[str, Any] | Iterable[str] = (),
    device: str | None = None,
    threads: int | None = None,
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Answers requests on `host`:`port` (0: any that is free) until SIGTERM or SIGINT, which lets it finish what it has taken.

    `models`: one or several; NAME=MODEL gives one another name than its folder's.  SIGHUP loads them again.  `names`: hosts that it answers
    as beside its address, behind a proxy.  `token`: a file that holds what requests must bring (else BERTSMITH_TOKEN, if that is set).
    `limits`: {"texts": 32} or ["texts=32"], serving/limits.py has all.  `threads`: of the CPU, of a pass.
    ResourceError where the port is taken; Interrupted where what was taken could not be answered in `limits.drain` seconds.
    """
    models = [models] if isinstance(models, (str, os.PathLike, Loaded)) else list(models)
    most, secret = limits_of(limits), token_of(token)
    names = [names] if isinstance(names, str) else [*names]
    local, places, open_to_all = _local(host), named(models), ""
    if not local and secret is None:
        way = f"{option('token', like='FILE')} or {TOKEN} keeps others out"
        open_to_all = f"whoever reaches this machine can ask; {way}"
    for place in places.values():
        if not isinstance(place, Loaded):
            check_model(place)
    if not all(map(find_spec, ("fastapi", "uvicorn"))):
        raise InputError("serve needs FastAPI and uvicorn; pip install 'bertsmith[serve]'")
    with _taken(host, port) as taken:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        from bertsmith.serving.ending import run
        from bertsmith.serving.server import Server
        from bertsmith.serving.shelf import Shelf

        shelf = Shelf(places, {"device": device, "members": members}, say)
        shelf.open()
        with typed(False):
            server = Server(shelf, most, say, secret)
            try:
                for served in shelf:
                    server.warm(served)
                run(server, taken, local, names, lambda: _told(server, taken, open_to_all, say))
            finally:
                server.close()


def _told(server: Server, taken: socket.socket, open_to_all: str, say: Callable[[str], None]) -> None:
    for served in server.shelf:
        say(f"{served.name}: {served.loaded.recipe.name}, {', '.join(served.does)}")
    if open_to_all:
        say(open_to_all)
    host, port, *_ = taken.getsockname()
    shown = f"[{host}]" if ":" in host else host
    say(f"serving {amount(len([*server.shelf]), 'model')} on http://{shown}:{port}/")


def named(models: Sequence[str | Path | Loaded]) -> dict[str, Any]:
    """{name: place}: by the last part of its path, or as NAME=place says.  InputError for two of one name."""
    found: dict[str, Any] = {}
    for model in models:
        name, place = "", model
        if isinstance(model, str) and "=" in model and not folder.located(model).exists():
            name, _, place = model.partition("=")
        elif isinstance(model, Loaded):
            name = model.named or model.run.name
        name = name or printable(Path(str(place).rstrip("/")).resolve().name, 80)
        if name in found:
            raise InputError(
                f"{name}: two models of that name; {option('model', like='NAME=MODEL')} names one otherwise"
            )
        found[name] = place
    if not found:
        raise InputError("serve: a MODEL is wanted, or several")
    return found


def token_of(token: str | Path | None) -> str | None:
    """InputError for a file that is not there, and for a token that could be guessed."""
    if token is None:
        found, name = os.environ.get(TOKEN), TOKEN
        if found is None:
            return None
    else:
        name = printable(token)
        try:
            found = Path(token).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "is not ASCII"
            raise InputError(f"{name}: {why}; {option('token')} is a file that holds one line, the token") from None
    found = found.strip()
    if len(found) < 16 or not found.isascii() or not found.isprintable() or " " in found:
        raise InputError(
            f"{name}: a token has 16 characters at least, of ASCII and no blanks; `openssl rand -hex 24` makes one"
        )
    return found


def _local(host: str) -> bool:
    """Whether nobody but this machine reaches it.  InputError for what is no address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        raise InputError(f"{option('host', host)}: an address is wanted: 127.0.0.1, 0.0.0.0 or ::1") from None


def _taken(host: str, port: int) -> socket.socket:
    """A socket that has the port, and listens when the models are warm."""
    if not 0 <= port < 65536:
        raise InputError(f"{option('port', port)}: from 1 to 65535, or 0 for any that is free")
    address = "127.0.0.1" if host == "localhost" else host.strip("[]")
    found = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((address, port))
    except OSError as error:
        found.close()
        raise ResourceError(f"{option('port', port)}: {error.strerror}; another number takes another") from None
    return found
