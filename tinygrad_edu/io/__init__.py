"""Floor 5: what outlives a process: checkpoints, weights, logs, models as lists of operations, ONNX files, fewer bits."""
from .checkpoints import CheckpointError, latest_checkpoint, load_checkpoint, load_weights, save_checkpoint, save_weights
from .events import read_events
from .graph import Graph, fold_constants, remove_dead_code
from .logs import SummaryWriter, read_curves
from .onnx_export import export_onnx, to_onnx
from .onnx_import import OnnxModel, import_onnx
from .quantize import convert, fake_quantize, fold_batch_norm, pack_int4, prepare, unpack_int4
from .tracing import TraceError, trace
