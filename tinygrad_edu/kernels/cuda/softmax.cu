// Softmax of the rows of x (M, K):    y = exp(x - top) / total        gx = y (gy - sum gy y)
//
//     softmax_forward, softmax_backward    M blocks, one a row
#include "block.cuh"

extern "C" __global__ void softmax_forward(const float* x, int K, float* y) {
    x += (long long)blockIdx.x * K;
    y += (long long)blockIdx.x * K;

    Softmax s = block_softmax(x, K);
    for (int k = threadIdx.x; k < K; k += blockDim.x) y[k] = expf(x[k] - s.top) / s.total;
}

extern "C" __global__ void softmax_backward(const float* y, const float* gy, int K, float* gx) {
    y += (long long)blockIdx.x * K;
    gy += (long long)blockIdx.x * K;
    gx += (long long)blockIdx.x * K;

    float mean = 0;                                                             // of gy, weighted with y
    for (int k = threadIdx.x; k < K; k += blockDim.x) mean += gy[k] * y[k];
    mean = block_sum(mean);
    for (int k = threadIdx.x; k < K; k += blockDim.x) gx[k] = y[k] * (gy[k] - mean);
}
