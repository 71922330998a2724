"""A BERT encoder as a graph of ONNX Runtime's own operators, with the weights of its layers in 8 bits.

Each layer's products are of integers: a weight has one scale for each output, an input one for all of a pass, found
while it runs (dynamic quantisation; Jacob et al., 2018). What is between them stays float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tidemill_rag.embedding.onnx_runtime import HIDDEN, IDS, LENGTHS

_POSITIONS_FROM: Mapping[str, int] = {"bert": 0, "roberta": 1, "xlm-roberta": 1, "camembert": 1}
"""Families of models, and whether their positions begin behind that of the padding token."""
_MICROSOFT = "com.microsoft"
_OPSET, _IR = 18, 9
_TINY = 1e-12

Numbers = NDArray[Any]


class NotExportedError(Exception):
    """The model is none that this graph computes; the text says why, as a predicate."""


@dataclass(slots=True)
class _Graph:
    """A graph while it is made: nodes in order, constants, and the bits of a weight."""

    bits: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def constant(self, numbers: Numbers) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(numbers), name))
        return name

    def add(
        self,
        operator: str,
        *inputs: str,
        domain: str = "",
        outputs: int = 1,
        **attributes: Any,  # noqa: ANN401 - ONNX's
    ) -> list[str]:
        names = [f"node_{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, domain=domain, **attributes))
        return names

    def one(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:  # noqa: ANN401 - ditto
        return self.add(operator, *inputs, domain=domain, **attributes)[0]

    def product(self, of: str, weight: Numbers, bias: Numbers | None = None) -> str:
        """Multiply by a weight of (outputs, inputs), and add its bias where one is given."""
        scales = np.maximum(np.abs(weight).max(axis=1), _TINY) / (2 ** (self.bits - 1) - 1)
        quantised = np.rint(weight / scales[:, None]).astype(np.int8)
        return self.one(
            "DynamicQuantizeMatMul",
            of,
            self.constant(quantised.T),
            self.constant(scales.astype(np.float32)),
            self.constant(np.zeros(len(scales), dtype=np.int8)),
            *([] if bias is None else [self.constant(bias)]),
            domain=_MICROSOFT,
        )


@dataclass(frozen=True, slots=True)
class _Encoder:
    """The numbers of a model by transformers' names, and what its config says."""

    graph: _Graph
    weights: Mapping[str, Numbers]
    config: Any

    def number(self, name: str) -> Numbers:
        try:
            numbers = self.weights[name].astype(np.float32)
        except KeyError as error:
            message = f"has no {name}"
            raise NotExportedError(message) from error
        if not np.isfinite(numbers).all():
            message = f"has numbers in {name} that are not finite"
            raise NotExportedError(message)
        return numbers

    def constant(self, name: str) -> str:
        return self.graph.constant(self.number(name))

    def embedded(self) -> str:
        """Return the sum of the embeddings of tokens, positions and the first type."""
        begin = _POSITIONS_FROM[self.config.model_type] and self.config.pad_token_id + 1
        positions = self.number("embeddings.position_embeddings.weight")[begin:]
        positions = positions + self.number("embeddings.token_type_embeddings.weight")[0]
        words = self.graph.constant(self.number("embeddings.word_embeddings.weight").astype(np.float16))
        tokens = self.graph.one("Cast", self.graph.one("Gather", words, IDS), to=TensorProto.FLOAT)
        longest = self.graph.one("Shape", IDS, start=1, end=2)
        first = self.graph.constant(np.zeros(1, dtype=np.int64))
        placed = self.graph.one("Slice", self.graph.constant(positions), first, longest)
        return self.graph.one(
            "LayerNormalization",
            self.graph.one("Add", tokens, placed),
            self.constant("embeddings.LayerNorm.weight"),
            self.constant("embeddings.LayerNorm.bias"),
            epsilon=self.config.layer_norm_eps,
        )

    def layer(self, number: int, hidden: str) -> str:
        """Return the vectors behind a layer: attention, then two dense layers."""
        name, graph = f"encoder.layer.{number}.", self.graph
        parts = [f"{name}attention.self.{part}" for part in ("query", "key", "value")]
        together = graph.product(hidden, np.concatenate([self.number(f"{part}.weight") for part in parts]))
        attended = graph.one(
            "MultiHeadAttention",
            *graph.add("Split", together, outputs=3, axis=2, num_outputs=3),
            graph.constant(np.concatenate([self.number(f"{part}.bias") for part in parts])),
            LENGTHS,
            domain=_MICROSOFT,
            num_heads=self.config.num_attention_heads,
        )
        hidden = self.added(f"{name}attention.output", attended, hidden)
        inner = graph.one("Gelu", self.dense(f"{name}intermediate", hidden), domain=_MICROSOFT)
        return self.added(f"{name}output", inner, hidden)

    def dense(self, name: str, of: str) -> str:
        """Return the output of a dense layer."""
        return self.graph.product(of, self.number(f"{name}.dense.weight"), self.number(f"{name}.dense.bias"))

    def added(self, name: str, of: str, beside: str) -> str:
        """Return the normalised sum of a dense layer's output and of what went around it.

        With ONNX Runtime's one operator for both, `SkipLayerNormalization`, a graph takes a fifth longer.
        """
        return self.graph.one(
            "LayerNormalization",
            self.graph.one("Add", self.dense(name, of), beside),
            *(self.constant(f"{name}.LayerNorm.{part}") for part in ("weight", "bias")),
            epsilon=self.config.layer_norm_eps,
        )


def encoder_graph(config: Any, weights: Mapping[str, Numbers], *, bits: int) -> bytes:  # noqa: ANN401 - of transformers
    """Return the graph of a model of transformers, by its config and its numbers; `bits` are those of a weight.

    Raises:
        NotExportedError: it is of another family, or of a kind that computes otherwise.

    """
    _check(config)
    graph = _Graph(bits)
    encoder = _Encoder(graph, weights, config)
    hidden = encoder.embedded()
    for number in range(config.num_hidden_layers):
        hidden = encoder.layer(number, hidden)
    graph.nodes.append(helper.make_node("Identity", [hidden], [HIDDEN]))
    made = helper.make_graph(
        graph.nodes,
        "encoder",
        [
            helper.make_tensor_value_info(IDS, TensorProto.INT64, ["texts", "longest"]),
            helper.make_tensor_value_info(LENGTHS, TensorProto.INT32, ["texts"]),
        ],
        [helper.make_tensor_value_info(HIDDEN, TensorProto.FLOAT, ["texts", "longest", config.hidden_size])],
        graph.constants,
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)]
    model: onnx.ModelProto = helper.make_model(made, opset_imports=opsets, ir_version=_IR)
    return bytes(model.SerializeToString())


def _check(config: Any) -> None:  # noqa: ANN401 - ditto
    family, activation = config.model_type, getattr(config, "hidden_act", "")
    if family not in _POSITIONS_FROM:
        message = f"is of the family {family}, and {', '.join(_POSITIONS_FROM)} are exported"
        raise NotExportedError(message)
    if activation != "gelu":
        message = f"has the activation {activation}, and gelu is exported"
        raise NotExportedError(message)
    if getattr(config, "position_embedding_type", "absolute") != "absolute" or getattr(config, "is_decoder", False):
        message = "has relative positions or is a decoder"
        raise NotExportedError(message)
