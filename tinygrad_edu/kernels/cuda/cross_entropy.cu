// Softmax cross-entropy of x (N, K) with the classes t (N,). The numbered steps are those of kernels/cross_entropy.py.
//
//     cross_entropy_forward, cross_entropy_backward    N blocks, one a sample
//
// The probabilities are never stored: backward makes them again from top and total, one number each a sample.
// A class outside 0 .. K - 1 gives NaN, for a kernel cannot raise an error.
#include "block.cuh"

extern "C" __global__ void cross_entropy_forward(const float* x, const long long* t, int K,
                                                 float* y, float* tops, float* totals) {
    long long n = blockIdx.x, right = t[n];
    x += n * K;

    Softmax s = block_softmax(x, K);                                            // (1) to (3)
    if (threadIdx.x == 0) {
        bool known = 0 <= right && right < K;
        y[n] = known ? logf(s.total) + s.top - x[right] : 0 / 0.f;              // (4)
        tops[n] = s.top;
        totals[n] = s.total;
    }
}

extern "C" __global__ void cross_entropy_backward(const float* x, const long long* t, const float* tops, const float* totals,
                                                  const float* gy, int K, float* gx) {
    long long n = blockIdx.x;
    x += n * K;
    gx += n * K;

    for (int k = threadIdx.x; k < K; k += blockDim.x)
        gx[k] = gy[n] * (expf(x[k] - tops[n]) / totals[n] - (k == t[n]));
}
