"""Floor 5: what outlives a process. Checkpoints and weights as safetensors; nothing is ever pickled."""
from .checkpoints import CheckpointError, latest_checkpoint, load_checkpoint, load_weights, save_checkpoint, save_weights
