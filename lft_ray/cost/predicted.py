"""Core seconds of serving one text, predicted from FLOPs: the same on every machine and in every run. Pure.

In: FLOPs of a text, a rate. Out: core seconds. Never measures: `lft plan` brings a measured rate, and a search that
must repeat itself exactly uses the default one.
"""

__all__ = ["DEFAULT_MATMUL_FLOPS_PER_S", "REQUEST_CORE_S", "predicted_core_s_per_text"]

DEFAULT_MATMUL_FLOPS_PER_S = 5e10
"""FLOP/s of one core of a current server in fp32, used if nothing was measured."""
REQUEST_CORE_S = 5e-4
"""Core seconds of a request before the model is called: 0.49 ms were measured on an EPYC core."""
SERVED_SHARE = 0.75
"""Fraction of the matrix rate that a replica reaches. With the overhead below, it predicts the fp32 profiles of MiniLM
with 1, 3 and 6 layers at 22 tokens per text within 6% (measured 1.23, 3.53 and 6.74 ms; matrix rate 95 GFLOP/s)."""
TEXT_OVERHEAD_S = 2e-4
"""Core seconds per text for tokenising, batching and building the response."""
PRECISION_GAIN = {"fp32": 1.0, "bf16": 1.5, "int8": 2.4}
"""Speed-up over fp32: 1, 3 and 6 layers of MiniLM in int8 were measured at 0.73, 1.43 and 2.91 ms per text; in bf16,
6 layers took 4.9 ms where fp32 took 7.4."""
LINEAR_OVERHEAD_S = 5e-5
"""Core seconds per text of a TF-IDF model before any term is counted."""
LINEAR_FLOPS_PER_S = 3e7
"""TF-IDF mostly counts terms: with the overhead, 0.12 ms for 22 tokens. With words alone 0.07 ms were measured; with
character n-grams a text takes 1.5 to 2 times as long."""


def predicted_core_s_per_text(
    flops_per_text: float, matmul_flops_per_s: float, *, is_linear: bool, precision: str = "fp32"
) -> float:
    """Predict core seconds per text in a busy replica.

    Args:
        flops_per_text: FLOPs of one forward pass over a text of mean length.
        matmul_flops_per_s: FLOP/s of one core, as measured by `matmul_flops_per_core_s`.
        is_linear: whether the model is linear (TF-IDF).
        precision: precision of a network: fp32, bf16 or int8.
    """
    if is_linear:
        return LINEAR_OVERHEAD_S + flops_per_text / LINEAR_FLOPS_PER_S
    flops_per_s = SERVED_SHARE * PRECISION_GAIN.get(precision, 1.0) * matmul_flops_per_s
    return TEXT_OVERHEAD_S + flops_per_text / flops_per_s
