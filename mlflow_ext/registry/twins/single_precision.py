"""A twin's graph in single precision: ONNX Runtime's quantisation knows no other.

What is lost thereby is judged together with what quantising loses, in `quantising.py`.
"""

from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, numpy_helper


def narrowed(content: bytes) -> onnx.ModelProto:
    """Give a graph whose double-precision numbers, constants and types are single-precision ones."""
    model = onnx.load_from_string(content)
    graph = model.graph
    # intermediate types are found anew
    del graph.value_info[:]
    for one in (*graph.input, *graph.output):
        if one.type.tensor_type.elem_type == TensorProto.DOUBLE:
            one.type.tensor_type.elem_type = TensorProto.FLOAT
    for constant in graph.initializer:
        _narrow(constant)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                _narrow(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.DOUBLE:
                attribute.i = TensorProto.FLOAT
    return model


def _narrow(constant: Any) -> None:
    if constant.data_type == TensorProto.DOUBLE:
        values = numpy_helper.to_array(constant).astype(np.float32)
        constant.CopyFrom(numpy_helper.from_array(values, constant.name))
