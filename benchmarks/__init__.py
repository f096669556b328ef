"""How long things take, ours and PyTorch's in the same process, alternating. `python -m benchmarks NAME ...`"""
