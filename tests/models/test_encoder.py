"""The encoder: masks, causality, layers run one after the other. Equality with transformers: test_network.py."""

import pytest
import torch

from lft_ray.models.architecture import Architecture
from lft_ray.models.encoder import Transformer, run_layers


@pytest.fixture(params=[False, True], ids=["encoder", "decoder"])
def network(request) -> Transformer:
    torch.manual_seed(0)
    shape = Architecture("bert", 50, 16, 3, 2, 32, 20, causal=request.param)
    return Transformer(shape).eval()


IDS = torch.arange(12).reshape(2, 6)
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])


@torch.inference_mode()
def test_padding_does_not_change_states_of_real_tokens(network):
    padded = network(IDS, MASK)[1, :3]
    alone = network(IDS[1:, :3], MASK[1:, :3])[0]
    assert torch.allclose(padded, alone, atol=1e-5)


@torch.inference_mode()
def test_only_decoders_ignore_later_tokens(network):
    changed = IDS.clone()
    changed[0, 5] = 40
    same = torch.allclose(network(IDS, MASK)[0, :5], network(changed, MASK)[0, :5], atol=1e-6)
    assert same is network.shape.causal


@torch.inference_mode()
def test_lower_and_run_layers_give_the_whole_network(network):
    states = run_layers(network.layers[2:], network.lower(IDS, MASK, 2), MASK, causal=network.shape.causal)
    states = network.norm(states) if network.shape.causal else states
    assert torch.allclose(states, network(IDS, MASK), atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::torch")
def test_an_exported_graph_still_asks_for_the_mask(network):
    """Without padding the encoder adds no bias on a processor; a graph for all texts must not remember that."""
    exported = torch.export.export(network, (IDS[:1], MASK[:1]), strict=False).module()
    with torch.no_grad():
        for row in (0, 1):
            expected = network(IDS[row : row + 1], MASK[row : row + 1])
            real = MASK[row].bool()
            got = exported(IDS[row : row + 1], MASK[row : row + 1])
            assert torch.allclose(got[0, real], expected[0, real], atol=1e-5)
