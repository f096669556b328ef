"""What the ONNX tests share: running a file in onnxruntime. Without onnx or onnxruntime they are skipped."""
import pytest

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


def run(path, *inputs):
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {x.name: value for x, value in zip(session.get_inputs(), inputs)})
