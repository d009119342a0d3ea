import torch

from lft_ray.config import ModelSpec
from lft_ray.models.heads import READINGS, pooled, reading_of
from lft_ray.models.network import build
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes


def test_what_the_head_reads():
    states = torch.arange(12.0).reshape(1, 3, 4)
    mask = torch.tensor([[1, 1, 0]])
    assert pooled(states, mask, "cls").tolist() == [[0, 1, 2, 3]]
    assert pooled(states, mask, "last").tolist() == [[4, 5, 6, 7]]
    assert pooled(states, mask, "mean").tolist() == [[2, 3, 4, 5]]
    assert pooled(states, mask, "tokens").shape == (1, 3, 4)
    assert set(READINGS) == {"cls", "last", "mean", "tokens"}


def test_a_head_on_tokens_gives_each_its_outputs_and_padding_none(tiny_bert):
    spec = ModelSpec(base=str(tiny_bert))
    size = model_sizes([spec])[0]
    network = build(find_base(spec), size, 2, head="tokens").eval()
    assert (network.pooling, reading_of(size, "vector")) == ("tokens", size.pooling)
    ids = torch.arange(5, 17).reshape(2, 6)
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    with torch.inference_mode():
        logits = network(ids, mask)
        alone = network(ids[1:, :4], mask[1:, :4])
    assert logits.shape == (2, 6, 2)
    assert torch.allclose(logits[1:, :4], alone, atol=1e-5)
    assert logits[1, 4:].max() < -1000 < logits[1, :4].min()
