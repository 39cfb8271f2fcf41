"""What nn/beside.py builds.  n tokens, m <= n of them read, d what all bodies say of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Stream

if TYPE_CHECKING:
    from bertsmith.nn.beside import Beside


class SideBySide(nn.Module):
    """Keys `body0.…`, `body1.…`: each is whole, and no list, so that slices of a run are cut within them."""

    def __init__(self, config: Beside):
        super().__init__()
        self.config = config
        for number, body in enumerate(config.each):
            self.add_module(f"body{number}", body.build())

    @property
    def bodies(self) -> list[Any]:
        return [self.get_submodule(f"body{number}") for number in range(len(self.config.bodies))]

    @property
    def tokens(self) -> Any:
        """The first body's table."""
        return self.bodies[0].tokens

    def depth_of(self, name: str) -> int:
        body, _, rest = name.partition(".")
        if not body.startswith("body") or not hasattr(self, body):
            raise ValueError(f"{name}: not a parameter of this body")
        return self.get_submodule(body).depth_of(rest)

    def forward(self, stream: Stream, read: Tensor | None = None) -> Tensor:
        """(n, d), or (m, d) for the flat indices `read` (m,)."""
        return torch.cat([body(stream, read) for body in self.bodies], 1)

    def states(self, stream: Stream, layers: int | None = None) -> list[Tensor]:
        """Of each depth what all bodies say there; embeddings may be of another width than what follows."""
        each = zip(*(body.states(stream, layers) for body in self.bodies), strict=True)
        return [torch.cat(states, 1) for states in each]
