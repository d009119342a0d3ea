"""Networks built from a base folder, and a batch for them."""

from pathlib import Path

import torch
from torch import Tensor

from lft_ray.config import ModelSpec
from lft_ray.models.network import TextNetwork, build
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes


def network_of(folder: Path, layers: int | None = None, **options) -> TextNetwork:
    spec = ModelSpec(base=str(folder), layers=[layers] if layers else None)
    return build(find_base(spec), model_sizes([spec])[0], 3, **options).eval()


def batch(pad_id: int) -> tuple[Tensor, Tensor]:
    ids = torch.randint(5, 200, (4, 20), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, 7:] = 0
    mask[2, 1:] = 0
    return ids.masked_fill(mask == 0, pad_id), mask
