"""A passive model party that keeps what it draws and what is opened, for the tests of the CrypTen engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def attacked(
    rank: int, provider: str, shape: tuple[int, ...], kernel: tuple[int, ...]
) -> NDArray[np.float32] | None:
    """One convolution of the patient's image (rank 1) with the model's kernel (rank 0). The model's guess at the image,
    from what it holds; the patient's image itself. Rank 2 serves triples."""
    from models.engines.crypten_repairs import cfg, crypten

    tfp_provider, ttp_provider = crypten.mpc.provider.tfp_provider, crypten.mpc.provider.ttp_provider
    if provider == "TFP":
        crypten.mpc.__dict__["__SUPPORTED_PROVIDERS"]["TFP"] = tfp_provider.TrustedFirstParty()
        cfg.mpc.provider = "TFP"
    if rank == 2:
        ttp_provider.TTPServer()
        return None
    crypten.init()
    module = tfp_provider if provider == "TFP" else ttp_provider
    drawn = _keep(module, "generate_random_ring_element")
    opened = _keep(crypten.mpc.primitives.ArithmeticSharedTensor, "reveal_batch", static=True)
    image, weight = torch.rand(shape), torch.randn(kernel)
    crypten.cryptensor(image, src=1).conv2d(crypten.cryptensor(weight, src=0))
    if rank == 1:
        return image.numpy()
    masked = opened[0][0]  # image - a, where drawn[0] is `a`, or the model's share of it
    return ((masked + drawn[0]).double() / 2**16).float().numpy()


def _keep(owner: Any, name: str, *, static: bool = False) -> list[Any]:
    """Every value that this function gives from now on, copied."""
    kept: list[Any] = []
    function = getattr(owner, name)

    def keeping(*arguments: Any, **options: Any) -> Any:
        made = function(*arguments, **options)
        kept.append([part.clone() for part in made] if isinstance(made, list) else made.clone())
        return made

    setattr(owner, name, staticmethod(keeping) if static else keeping)
    return kept
