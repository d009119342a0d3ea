"""Engines: how a model runs. An engine opens a model folder and computes logits for texts.

To add one, write a class with the members of `lft_ray.engines.base.Engine` and name it ``package.module:Name`` in
``engine.json``.
"""

ENGINES = {
    "onnxruntime": "lft_ray.engines.onnx_engine:OnnxEngine",
    "torch": "lft_ray.engines.torch_engine:TorchEngine",
    "overlap": "lft_ray.engines.overlap_engine:OverlapEngine",
    "sklearn": "lft_ray.engines.sklearn_engine:SklearnEngine",
}

__all__ = ["ENGINES"]
