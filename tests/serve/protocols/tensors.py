"""Tensors of the Open Inference Protocol, as its JSON bodies have them."""


def tensor(name: str, data: list, **more) -> dict:
    return {"name": name, "shape": [len(data)], "datatype": "BYTES", "data": data} | more
