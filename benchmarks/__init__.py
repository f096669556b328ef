"""How long things take, ours and PyTorch's, taking turns in one process. `python -m benchmarks [NAME ...]`"""
