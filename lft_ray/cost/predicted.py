"""Guess what a text costs to serve, before it is measured. In: FLOPs and a rate. Out: core seconds. Pure.

Whatever comes out of here is shown as ``predicted``, never beside a measured number without that word.
"""

__all__ = ["DEFAULT_MATMUL_FLOPS_PER_S", "REQUEST_CORE_S", "predicted_core_s_per_text"]

DEFAULT_MATMUL_FLOPS_PER_S = 5e10
"""One core of a present server in fp32, where nothing better is known."""
REQUEST_CORE_S = 5e-4
"""Core seconds of a request before any model is asked: 0.49 ms were measured on an EPYC core."""
SERVED_SHARE = 0.75
"""Share of the matrix rate that a replica reaches. With the overhead below it gives the fp32 profiles of MiniLM with 1,
3 and 6 layers at 22 tokens a text within 6% (measured 1.23, 3.53 and 6.74 ms; matrix rate 95 GFLOP/s)."""
TEXT_OVERHEAD_S = 2e-4
"""Tokenising a text, batching it and answering."""
PRECISION_GAIN = {"fp32": 1.0, "bf16": 1.5, "int8": 2.4}
"""How much less a text costs than in fp32: 1, 3 and 6 layers of MiniLM in int8 were measured at 0.73, 1.43 and 2.91 ms;
in bf16 6 layers took 4.9 ms where fp32 took 7.4."""
LINEAR_OVERHEAD_S = 5e-5
LINEAR_FLOPS_PER_S = 1e8
"""TF-IDF counts words rather than multiplies: with the overhead 0.07 ms for 22 tokens, as measured."""


def predicted_core_s_per_text(
    flops_per_text: float, matmul_flops_per_s: float, *, is_linear: bool, precision: str = "fp32"
) -> float:
    """Core seconds of one text in a busy replica.

    Args:
        flops_per_text: of one forward pass over a text of mean length.
        matmul_flops_per_s: of one core, such as `lft_ray.search.speed.matmul_flops_per_core_s` measures.
        is_linear: whether it is a linear model over counts.
        precision: of a network.
    """
    if is_linear:
        return LINEAR_OVERHEAD_S + flops_per_text / LINEAR_FLOPS_PER_S
    flops_per_s = SERVED_SHARE * PRECISION_GAIN.get(precision, 1.0) * matmul_flops_per_s
    return TEXT_OVERHEAD_S + flops_per_text / flops_per_s
