// Softmax of the rows of x (M, D), and its logarithm:
//
//     y = exp(x - top) / total       gx = y (gy - sum gy y)
//     y = x - top - ln total         gx = gy - exp(y) sum gy
//
//     softmax_forward, softmax_backward, log_softmax_forward, log_softmax_backward    M blocks, one a row
#include "block.cuh"

extern "C" __global__ void softmax_forward(const float* x, int D, float* y) {
    x += (long long)blockIdx.x * D;
    y += (long long)blockIdx.x * D;

    Softmax s = block_softmax(x, D);
    for (int d = threadIdx.x; d < D; d += blockDim.x) y[d] = expf(x[d] - s.top) / s.total;
}

extern "C" __global__ void softmax_backward(const float* y, const float* gy, int D, float* gx) {
    y += (long long)blockIdx.x * D;
    gy += (long long)blockIdx.x * D;
    gx += (long long)blockIdx.x * D;

    float sum = 0;
    for (int d = threadIdx.x; d < D; d += blockDim.x) sum += gy[d] * y[d];
    sum = block_sum(sum);
    for (int d = threadIdx.x; d < D; d += blockDim.x) gx[d] = y[d] * (gy[d] - sum);
}

extern "C" __global__ void log_softmax_forward(const float* x, int D, float* y) {
    x += (long long)blockIdx.x * D;
    y += (long long)blockIdx.x * D;

    Softmax s = block_softmax(x, D);
    float log_total = logf(s.total);
    for (int d = threadIdx.x; d < D; d += blockDim.x) y[d] = x[d] - s.top - log_total;
}

extern "C" __global__ void log_softmax_backward(const float* y, const float* gy, int D, float* gx) {
    y += (long long)blockIdx.x * D;
    gy += (long long)blockIdx.x * D;
    gx += (long long)blockIdx.x * D;

    float sum = 0;
    for (int d = threadIdx.x; d < D; d += blockDim.x) sum += gy[d];
    sum = block_sum(sum);
    for (int d = threadIdx.x; d < D; d += blockDim.x) gx[d] = gy[d] - expf(y[d]) * sum;
}
