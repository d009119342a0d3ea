"""Train the upper part of a network on the activations of its frozen part. In: a loop job. Out: as for `loop.train`.

freeze: the embeddings and the first k layers are frozen; the loop trains the layers above, on activations that are
computed once. linear_probe: all layers are frozen; the loop trains the head on pooled vectors. Validation passes start
from the same activations, except for the last pass if training or serving is not in float32: then it runs the whole
network. Never changes a frozen weight.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from torch import Tensor, nn

from lft_ray.data.batches import Inputs
from lft_ray.errors import ConfigError
from lft_ray.models.encoder import Transformer, run_layers
from lft_ray.models.heads import pooled
from lft_ray.models.network import HeadedNetwork, TextNetwork
from lft_ray.records import CurvePoint
from lft_ray.train.device.process_group import current_group
from lft_ray.train.loop.activations import Splits, text_features
from lft_ray.train.loop.evaluate import Batching
from lft_ray.train.loop.job import LoopJob, LoopResult
from lft_ray.train.loop.loop import train

__all__ = ["HeadOnly", "UpperLayers", "freeze", "train_frozen", "train_linear_probe"]


class UpperLayers(HeadedNetwork):
    """The layers of a network above its frozen ones, and its head. The modules are shared, so they train in place.

    Args:
        network: network whose backbone is our own `Transformer`.
        first: number of frozen layers.
    """

    def __init__(self, network: TextNetwork, first: int) -> None:
        super().__init__()
        backbone = network.backbone
        assert isinstance(backbone, Transformer)
        self.pooling = network.pooling
        self.causal = backbone.shape.causal
        self.layers = nn.ModuleList(list(backbone.layers)[first:])
        self.norm = backbone.norm if self.causal else nn.Identity()
        self.head = network.head

    def features(self, inputs: Tensor, attention_mask: Tensor) -> Tensor:
        """One vector per text, float32 [n, hidden], from the frozen layers' activations [n, t, hidden]."""
        # In float32, like the residual stream between two layers of the whole network.
        states = self.norm(run_layers(self.layers, inputs.float(), attention_mask, causal=self.causal))
        return pooled(states, attention_mask, self.pooling)


class HeadOnly(HeadedNetwork):
    """The head of a network, trained in place on vectors [n, hidden]."""

    def __init__(self, network: TextNetwork) -> None:
        super().__init__()
        self.pooling = network.pooling
        self.head = network.head

    def features(self, inputs: Tensor, attention_mask: Tensor) -> Tensor:
        """The vectors themselves, float32 [n, hidden]."""
        del attention_mask
        return inputs.float()


def freeze(network: TextNetwork, layers: int) -> None:
    """Freeze the embeddings and the first ``layers`` layers.

    Raises:
        ConfigError: no layer is left to train.
        ModelError: the layers of the architecture cannot be separated.
    """
    if not 0 <= layers < network.shape.layers:
        raise ConfigError(
            f"frozen_layers is {layers} for a network of {network.shape.layers} layers: expected fewer",
            fix="list a smaller number in training.frozen_layers, or use method linear_probe",
        )
    backbone = network.backbone
    if isinstance(backbone, Transformer):
        above = {f"layers.{number}" for number in range(layers, backbone.shape.layers)}
        above |= {"norm"} if backbone.shape.causal else set()
        below = [name for name, _ in backbone.named_parameters() if not name.startswith(tuple(f"{a}." for a in above))]
    else:
        below = backbone.names_below(layers)
    for name in below:
        backbone.get_parameter(name).requires_grad_(False)


def train_frozen(job: LoopJob, report: Callable[[CurvePoint], None], should_stop: Callable[[], bool]) -> LoopResult:
    """`loop.train` with the embeddings and the first ``job.config.frozen_layers`` layers frozen.

    If their activations cannot be cached (no store, too large, an architecture from transformers), each pass runs the
    frozen layers again; either way no gradient reaches them.
    """
    network = _whole(job)
    splits = _tokens(job)
    layers = job.config.frozen_layers
    if layers is None:
        raise ConfigError(f"{job.config.model_size} with method freeze requires frozen_layers")
    freeze(network, layers)
    found = None
    if job.activations is not None and isinstance(network.backbone, Transformer):
        with job.meter.training():
            found = job.activations.token_states(network.backbone, layers, splits, _batching(job))
    # If the cache is missing on one process, none may use it: they exchange gradients of the same parameters.
    lacking = current_group().all_sum([found is None])[0]
    if found is None or lacking:
        return train(job, report, should_stop)
    return train(_above(job, UpperLayers(network, layers), found, layers), report, should_stop)


def train_linear_probe(
    job: LoopJob, report: Callable[[CurvePoint], None], should_stop: Callable[[], bool]
) -> LoopResult:
    """`loop.train` of the head only, on pooled vectors that are computed once."""
    network = _whole(job)
    network.backbone.requires_grad_(False)
    with job.meter.training():
        found = text_features(job.activations, network, network.shape.layers, _tokens(job), _batching(job))
    return train(_above(job, HeadOnly(network), found, network.shape.layers), report, should_stop)


def _above(job: LoopJob, network: HeadedNetwork, splits: tuple[Inputs, Inputs], layers: int) -> LoopJob:
    # bf16 activations are stored rounded, so their probe differs from that of the whole network.
    key = None if job.probe_key is None else (job.probe_key, "above", layers)
    if job.states is not None:
        # The state contains only the upper layers; a later attempt that runs the whole network must not resume it.
        job.states.key = f"{job.states.key}-above-{layers}"
    # In float32 a last pass from the activations equals one through the whole network, up to the order of sums.
    is_exact = (job.dtype, job.final_precision) == ("fp32", "fp32")
    served = None if is_exact else lambda: (job.network, job.validation)
    return replace(job, network=network, train=splits[0], validation=splits[1], probe_key=key, served=served)


def _batching(job: LoopJob) -> Batching:
    return Batching(job.config.max_length, job.training.micro_batch_tokens, job.pad_id, job.device, job.dtype)


def _whole(job: LoopJob) -> TextNetwork:
    assert isinstance(job.network, TextNetwork)
    return job.network


def _tokens(job: LoopJob) -> Splits:
    return cast("Splits", (job.train, job.validation))
