"""GPUs by name, for what a run would cost on one that is not here."""

from bertsmith.errors import InputError, nearest
from bertsmith.spelling import option

# Published bfloat16 peak without sparsity in TFLOP/s, and memory in GB.
GPUS = {
    "v100": (125, 32),
    "l4": (121, 24),
    "rtx4090": (165, 24),
    "a100": (312, 80),
    "h100": (989, 80),
    "h200": (989, 141),
}


def check_gpu(name: str | None) -> None:
    """InputError for a GPU that is not known."""
    if name is not None and name not in GPUS:
        raise InputError(f"{option('on', name)}: unknown; {nearest(name, GPUS)}")
