"""Measure the memory of training a network, in two steps on synthetic tokens. In: a model size. Out: a `Footprint`.

Runs on a worker, as a trial would. Weights are random (memory use does not depend on them), so only the base model's
config is read. Never reads data.
"""

from lft_ray.config import ModelSpec, TrainingSpec
from lft_ray.models.sizes import find_size
from lft_ray.records import Record
from lft_ray.system import limits
from lft_ray.train.device.memory import is_out_of_memory
from lft_ray.train.device.meter import Meter

__all__ = ["Footprint", "measure"]


class Footprint(Record):
    """Memory needed by a worker that trains a whole network, and the memory it has.

    Attributes:
        model_size: name of the model size measured.
        state_bytes: computed size of weights, gradients and moments, which FSDP2 divides among workers.
        peak_bytes: measured peak of allocated memory; None if training did not fit.
        memory_bytes: memory of the GPU, or of the whole machine if there is none.
        on_gpu: whether a GPU was measured.
    """

    model_size: str
    state_bytes: int
    peak_bytes: int | None
    memory_bytes: int
    on_gpu: bool


def measure(models: list[ModelSpec], name: str, training: TrainingSpec, outputs: int) -> Footprint:
    """Train a network for two steps with passes of ``training.micro_batch_tokens`` tokens and record peak memory.

    Args:
        models: the ``models`` section of the experiment.
        name: name of the model size.
        training: supplies sequence length, tokens per pass and precision.
        outputs: number of outputs of the head.
    """
    import torch

    from lft_ray.models.network import build
    from lft_ray.models.resolve import find_base
    from lft_ray.train.device.parallel import STATE_BYTES

    spec, size = find_size(models, name)
    on_gpu = torch.cuda.is_available() and training.resources.gpu != 0
    device = "cuda:0" if on_gpu else "cpu"
    memory = torch.cuda.get_device_properties(device).total_memory if on_gpu else limits.memory_bytes()
    meter = Meter(device)
    network = build(find_base(spec), size, outputs, random=True)
    state = STATE_BYTES * sum(parameter.numel() for parameter in network.parameters())
    peak: int | None = None
    try:
        _train(network.to(device), training, device)
        peak = meter.own().peak_bytes
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    return Footprint(model_size=name, state_bytes=state, peak_bytes=peak, memory_bytes=memory, on_gpu=on_gpu)


def _train(network: "object", training: TrainingSpec, device: str) -> None:
    import torch

    from lft_ray.models.network import TextNetwork
    from lft_ray.train.device.precision import autocast, training_precision
    from lft_ray.train.loop.optim import build_optimizer

    assert isinstance(network, TextNetwork)
    length = min(training.max_length, network.shape.max_tokens or training.max_length)
    shape = (max(1, training.micro_batch_tokens // length), length)
    # Any token except padding will do.
    ids = torch.full(shape, network.pad_id + 1, device=device)
    optimizer = build_optimizer(network, 0.0, training.weight_decay)
    dtype = training_precision(training.precision, device)
    # The first step allocates the moments, so only the second runs with all of the memory a step needs.
    for _ in range(2):
        with autocast(device, dtype):
            loss = network(ids, torch.ones_like(ids)).float().square().mean()
        torch.autograd.backward(loss)
        optimizer.step()
