// The gradient of an embedding: row n of g (N, D) is added to row ids[n] of gw (V, D).
//
//     embedding_backward    N blocks, one a row; neighbouring threads add neighbouring numbers
//
// Rows with the same id meet in one place, so every addition is atomic. Their order is left to chance, and with it the
// last digit.
extern "C" __global__ void embedding_backward(const float* g, const long long* ids, int V, int D, float* gw) {
    long long n = blockIdx.x, id = ids[n] < 0 ? ids[n] + V : ids[n];            // -1 is the last row
    for (int d = threadIdx.x; d < D; d += blockDim.x) atomicAdd(&gw[id * D + d], g[n * D + d]);
}
