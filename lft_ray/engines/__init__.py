"""HOW a model runs. An engine opens a bundle's folder and answers texts.

Your own: a class with the members of `lft_ray.engines.base.Engine`, named ``package.module:Name`` in a bundle.
"""

ENGINES = {
    "onnxruntime": "lft_ray.engines.onnx_engine:OnnxEngine",
    "torch": "lft_ray.engines.torch_engine:TorchEngine",
    "sklearn": "lft_ray.engines.sklearn_engine:SklearnEngine",
}

__all__ = ["ENGINES"]
