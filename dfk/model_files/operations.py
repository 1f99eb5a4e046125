"""The operations of which graphs may be made: those of dfk's exports, and more arithmetic.

A test exports every kind of model and makes sure that this list is complete.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf

from dfk.model_files.refused import Refused

# None reads or writes a file, runs code, or keeps a state of its own: beside what dfk's exports
# have, arithmetic on arrays that other layers of Keras need.
_ANSWERING = frozenset(
    """
    Abs Add AddN AddV2 All Angle Any ArgMax ArgMin AsString Assert Atan2 AvgPool BatchDatasetV2
    BatchMatMulV2 BatchMatMulV3 BatchToSpaceND BiasAdd Bincount Bitcast BitwiseAnd BitwiseOr
    BitwiseXor BroadcastArgs BroadcastTo Case Cast Ceil ClipByValue Complex ComplexAbs Concat
    ConcatV2 ConcatenateDataset Conj ConjugateTranspose Const Conv2D Conv2DBackpropInput Conv3D
    Cos Cumsum DatasetToSingleElement DecodeImage DecodeJpeg DecodeRaw DenseBincount DepthToSpace
    DepthwiseConv2dNative DivNoNan Einsum Elu EmptyTensorList EnsureShape Equal Erf Erfc Exp
    ExpandDims Expm1 ExtractImagePatches ExtractJpegShape FFT FFT2D Fill Floor FloorDiv FloorMod
    FusedBatchNormV3 GatherNd GatherV2 Greater GreaterEqual HistogramFixedWidth IFFT IFFT2D IRFFT
    IRFFT2D Identity If IgnoreErrorsDataset Imag Invert InvertPermutation IsFinite IsInf IsNan
    L2Loss LeakyRelu LeftShift Less LessEqual LinSpace Log Log1p LogSoftmax LogicalAnd LogicalNot
    LogicalOr MatMul Max MaxPool MaxPoolV2 Maximum Mean Minimum MirrorPad Mul Neg NoOp NotEqual
    OnesLike OptionsDataset Pack Pad PadV2 ParallelMapDatasetV2 ParseTensor PartitionedCall
    Placeholder Pow Prod RFFT RFFT2D Range Rank ReadVariableOp Real RealDiv Reciprocal Relu Relu6
    Reshape ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor ReverseV2 RightShift
    Roll Round Rsqrt RsqrtGrad ScatterNd SegmentSum SelectV2 Selu SerializeTensor Shape ShapeN
    Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToBatchND SpaceToDepth Split SplitV
    Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall StatelessCase StatelessIf
    StatelessWhile StopGradient StridedSlice StringFormat StringLength Sub Substr Sum Tanh
    TensorDataset TensorListConcatV2 TensorListElementShape TensorListFromTensor TensorListGetItem
    TensorListLength TensorListPopBack TensorListPushBack TensorListReserve TensorListSetItem
    TensorListStack TensorScatterAdd TensorScatterUpdate TensorSliceDataset Tile TopKV2 Transpose
    TruncateDiv Unpack UnsortedSegmentMax UnsortedSegmentSum VarHandleOp Where While Xlogy
    ZerosLike
    """.split()  # noqa: SIM905 -- a word a line would be two hundred lines
)
# Of the two functions with which TensorFlow saves and restores a graph's weights. It is told
# the files' names there; called from elsewhere, they would read and write files of any name.
_SAVING = frozenset(
    """
    AssignVariableOp DisableCopyOnRead MergeV2Checkpoints RestoreV2 SaveV2 Select
    ShardedFilename StaticRegexFullMatch StringJoin
    """.split()  # noqa: SIM905
)
_TRUST = "load it with TensorFlow itself if you trust who made it"
# Types of constants; others, such as variants, hold what is no array.
_CONSTANTS = {
    tf.as_dtype(x).as_datatype_enum
    for x in ("bool", "string", "bfloat16", "float16", "float32", "float64")
}
_CONSTANTS |= {
    tf.as_dtype(f"{sign}int{bits}").as_datatype_enum
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}


def check(graph: Any, largest: int) -> None:
    """Looks at every operation of a `MetaGraphDef`, in all its functions.

    Args:
        graph: of a SavedModel.
        largest: bytes that its constants may have together.

    Raises:
        Refused: if it has operations that no export of dfk has, one that saves or restores
            files can be reached by an answer, or its constants are too large.
    """
    top, library = graph.graph_def.node, graph.graph_def.library
    if library.gradient:
        raise Refused("its graph has gradients, as no export of dfk has")
    savers = {
        graph.saver_def.save_tensor_name.partition(":")[0],
        graph.saver_def.restore_op_name.partition(":")[0],
    }
    saver = [node for node in top if node.name in savers]
    saving = set(_called(saver))
    inner = [node for f in library.function if f.signature.name in saving for node in f.node_def]
    rest = [node for f in library.function if f.signature.name not in saving for node in f.node_def]
    answering = rest + [node for node in top if node.name not in savers]
    foreign = {node.op for node in answering + saver} - _ANSWERING
    foreign |= {node.op for node in inner} - _ANSWERING - _SAVING
    if foreign:
        names = ", ".join(sorted(foreign))[:200]
        raise Refused(f"its graph has operations that no export of dfk has: {names}", _TRUST)
    called = {*_called(answering + inner), *_named(graph)}
    if called & saving or savers & _taken(graph):
        raise Refused("its graph saves or restores files as it answers", _TRUST)
    total = sum(_size(node) for node in answering + saver + inner)
    if total > largest:
        raise Refused(f"its constants claim {total / 2**20:,.0f} MiB, as no file of its size does")


def _called(nodes: Iterable[Any]) -> Iterator[str]:
    """The functions that nodes name in their attributes, at any depth."""
    values = [value for node in nodes for value in node.attr.values()]
    while values:
        value = values.pop()
        for function in [value.func] * value.HasField("func") + list(value.list.func):
            yield function.name
            values += function.attr.values()


def _named(graph: Any) -> Iterator[str]:
    """The functions that objects of a graph are."""
    yield from graph.object_graph_def.concrete_functions
    for node in graph.object_graph_def.nodes:
        yield from node.function.concrete_functions
        yield node.bare_concrete_function.concrete_function_name


def _taken(graph: Any) -> set[str]:
    """The nodes whose outputs others take, or a signature answers."""
    outputs = [x.name for s in graph.signature_def.values() for x in s.outputs.values()]
    inputs = [name for node in graph.graph_def.node for name in node.input]
    return {name.lstrip("^").partition(":")[0] for name in inputs + outputs}


def _size(node: Any) -> int:
    """Bytes of the constants of a node, which a few bytes of the file can stand for."""
    total = 0
    for value in node.attr.values():
        for tensor in [value.tensor] * value.HasField("tensor") + list(value.list.tensor):
            sides = [side.size for side in tensor.tensor_shape.dim]
            if tensor.dtype not in _CONSTANTS or any(side < 0 for side in sides):
                raise Refused("its graph has a constant that is no array")
            total += math.prod(sides) * max(tf.as_dtype(tensor.dtype).size, 1)
    return total
