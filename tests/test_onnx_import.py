"""ONNX import: small files made by hand, our own exports, and a published one, all equal to onnxruntime."""
import os
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, nn, no_grad, ops
from tinygrad_edu.data import load_mnist
from tinygrad_edu.io import export_onnx, import_onnx
from onnx_files import onnx, run


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def one_node(path, operator, shape, constants=(), opset=21, **attributes):
    """A file with a single operator: x of `shape` and constants go in, y comes out."""
    names = [f"c{i}" for i in range(len(constants))]
    node = onnx.helper.make_node(operator, ["x", *names], ["y"], **attributes)
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([node], "one", [info("x", onnx.TensorProto.FLOAT, shape)],
                                   [onnx.helper.make_empty_tensor_value_info("y")],
                                   [onnx.numpy_helper.from_array(np.asarray(c), name) for name, c in zip(names, constants)])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


KERNEL, BIAS = normal(4, 2, 3, 2), normal(4)
NODES = {
    "Conv, padded above": ("Conv", (2, 2, 5, 6), [KERNEL, BIAS], {"auto_pad": "SAME_UPPER", "strides": [2, 1]}),
    "Conv, padded below": ("Conv", (2, 2, 5, 6), [KERNEL], {"auto_pad": "SAME_LOWER", "strides": [3, 1]}),
    "Conv, uneven pads, groups": ("Conv", (2, 4, 5, 6), [KERNEL], {"pads": [0, 1, 2, 0], "group": 2}),
    "Conv of a sequence": ("Conv", (2, 2, 9), [normal(3, 2, 3)], {"pads": [1, 1], "strides": [2]}),
    "MaxPool": ("MaxPool", (2, 2, 5, 6), [], {"kernel_shape": [2, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "MaxPool, rounded up": ("MaxPool", (2, 2, 6, 6), [], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "AveragePool": ("AveragePool", (2, 2, 5, 6), [], {"kernel_shape": [2, 3], "pads": [1, 1, 0, 1], "strides": [2, 2]}),
    "AveragePool, padding counted": ("AveragePool", (2, 2, 7), [], {"kernel_shape": [3], "pads": [1, 1], "count_include_pad": 1,
                                                                    "strides": [1]}),
    "GlobalAveragePool": ("GlobalAveragePool", (2, 3, 4, 5), [], {}),
    "BatchNormalization": ("BatchNormalization", (2, 4, 3), [BIAS, BIAS, BIAS, BIAS ** 2], {"epsilon": 1e-3}),
    "LayerNormalization": ("LayerNormalization", (2, 3, 4), [BIAS, BIAS], {}),
    "Gemm": ("Gemm", (4, 3), [normal(5, 4), normal(5)], {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
    "MatMul": ("MatMul", (2, 3, 4), [normal(4, 5)], {}),
    "Softmax": ("Softmax", (2, 3, 4), [], {"axis": 1}),
    "Reshape": ("Reshape", (2, 3, 4), [np.array([0, -1])], {}),
    "Flatten": ("Flatten", (2, 3, 4), [], {"axis": 2}),
    "Squeeze": ("Squeeze", (2, 1, 4), [np.array([1])], {}),
    "Unsqueeze": ("Unsqueeze", (2, 3), [np.array([0, -1])], {}),
    "Slice": ("Slice", (4, 5, 6), [np.array([3, 1]), np.array([-99, 4]), np.array([0, 2]), np.array([-2, 1])], {}),
    "Gather": ("Gather", (4, 5), [np.array([[0, 3], [1, 1]])], {"axis": 1}),
    "Transpose": ("Transpose", (2, 3, 4), [], {"perm": [2, 0, 1]}),
    "ReduceMean": ("ReduceMean", (2, 3, 4), [np.array([1])], {"keepdims": 0}),
    "ReduceSum": ("ReduceSum", (2, 3, 4), [], {}),
    "Clip": ("Clip", (2, 3), [np.float32(-0.5), np.float32(0.5)], {}),
    "Pow": ("Pow", (2, 3), [np.float32(2)], {}),
    "LeakyRelu": ("LeakyRelu", (2, 3), [], {"alpha": 0.2}),
    "Gelu": ("Gelu", (2, 3), [], {"approximate": "tanh"}),
    "Cast": ("Cast", (2, 3), [], {"to": onnx.TensorProto.DOUBLE}),
}
OLDER = {
    "Softmax of 2017": ("Softmax", (2, 3, 4), [], {"axis": 1}, 8),
    "Squeeze of 2017": ("Squeeze", (2, 1, 4), [], {"axes": [1]}, 8),
    "Slice of 2017": ("Slice", (4, 5, 6), [], {"starts": [1], "ends": [3], "axes": [1]}, 8),
    "ReduceMean of 2017": ("ReduceMean", (2, 3, 4), [], {"axes": [1, 2], "keepdims": 1}, 8),
    "Clip of 2017": ("Clip", (2, 3), [], {"min": -0.5, "max": 0.5}, 8),
}


@pytest.mark.parametrize("name", [*NODES, *OLDER])
def test_node_equals_onnxruntime(name, tmp_path):
    operator, shape, constants, attributes, *opset = (NODES | OLDER)[name]
    path = one_node(tmp_path / "one.onnx", operator, shape, constants, *opset, **attributes)
    x = normal(*shape, seed=3)
    y, (theirs,) = import_onnx(path)(Tensor(x)), run(path, x)
    assert y.dtype == theirs.dtype
    np.testing.assert_allclose(y.data, theirs, rtol=1e-5, atol=1e-5)


def test_our_exports_come_back(tmp_path):
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(), nn.MaxPool2d(2), nn.Flatten(),
                        nn.Linear(64, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)).eval()
    x = normal(5, 1, 8, 8)
    back = import_onnx(export_onnx(net, tmp_path / "net.onnx", x[:3]))
    np.testing.assert_allclose(back(x).data, net(Tensor(x)).data, rtol=1e-5, atol=1e-5)
    assert {"weights.0.weight", "weights.8.bias"} <= dict(back.named_parameters()).keys()


def test_gradients_flow_and_weights_can_be_trained(tmp_path):
    path = one_node(tmp_path / "one.onnx", "Conv", (2, 2, 5, 6), [KERNEL, BIAS], auto_pad="SAME_UPPER")
    model, x = import_onnx(path), Tensor(normal(2, 2, 5, 6), requires_grad=True)
    conv = nn.Conv2d(2, 4, (3, 2))
    conv.weight.data[...], conv.bias.data[...] = KERNEL, BIAS
    mine = tg.grad((model(x) ** 2).sum(), [x, *model.parameters()])
    by_hand = tg.grad((conv(ops.pad(x, ((0, 0), (0, 0), (1, 1), (0, 1)))) ** 2).sum(), [x, conv.weight, conv.bias])
    for a, b in zip(mine, by_hand, strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-4, atol=1e-4)


def test_a_file_for_one_sample_takes_any_batch_if_asked(tmp_path):
    path = one_node(tmp_path / "one.onnx", "Reshape", (1, 2, 3), [np.array([1, 6])])
    x = normal(4, 2, 3)
    assert import_onnx(path, any_batch=True)(x).shape == (4, 6) and import_onnx(path)(x[:1]).shape == (1, 6)
    with pytest.raises(ValueError, match="Reshape"):
        import_onnx(path)(x)


def test_bad_files_are_named(tmp_path):
    (tmp_path / "text.onnx").write_text("no protobuf at all")
    with pytest.raises(ValueError, match="text.onnx is no"):
        import_onnx(tmp_path / "text.onnx")
    with pytest.raises(NotImplementedError, match="has the operators Det, which have no counterpart"):
        import_onnx(one_node(tmp_path / "det.onnx", "Det", (2, 3, 3)))
    with pytest.raises(ValueError, match="got 2 inputs, expected x"):
        import_onnx(one_node(tmp_path / "exp.onnx", "Exp", (2,)))(normal(2), normal(2))


needs_data = pytest.mark.skipif("TINYGRAD_EDU_DATA" not in os.environ, reason="TINYGRAD_EDU_DATA is not set")


@needs_data
def test_the_published_mnist_file_reads_digits():
    path = Path(os.environ["TINYGRAD_EDU_DATA"]) / "pretrained" / "mnist-8.onnx"
    images, labels = load_mnist("test")
    images = (images.reshape(-1, 1, 28, 28) * 255).astype("float32")
    model = import_onnx(path, any_batch=True)
    with no_grad():
        logits = np.concatenate([model(images[i : i + 500]).data for i in range(0, len(images), 500)])
    correct = int((logits.argmax(axis=1) == labels).sum())
    print(f"mnist-8.onnx: {correct} of {len(labels)} test images right, {correct / len(labels):.2%}")
    assert correct == 9891                                              # what onnxruntime reads right

    theirs = np.concatenate([run(path, image[None])[0] for image in images[:100]])
    np.testing.assert_allclose(logits[:100], theirs, rtol=1e-5, atol=1e-5 * abs(theirs).max())
    x = Tensor(images[:2], requires_grad=True)
    (gradient,) = tg.grad(model(x)[[0, 1], labels[:2]].sum(), x)
    assert gradient.shape == x.shape and (abs(gradient.data).max(axis=(1, 2, 3)) > 0).all()
