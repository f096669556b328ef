// RMS normalization of the rows of x (M, D): layer normalization that leaves the mean where it is.
//
//     (1)  r = 1 / sqrt(mean(x^2) + eps)    (2)  h = x r    (3)  y = w h        gx = r (w gy - h mean(w gy h)),  gw = sum gy h
//
//     rms_norm_forward     M blocks, one a row
//     rms_norm_backward    P blocks: block p takes the rows p, p + P, p + 2 P, .. and leaves its share of gw in row p of
//                          gws (P, D); D floats of shared memory
#include "block.cuh"

extern "C" __global__ void rms_norm_forward(const float* x, const float* w, float eps, int D, float* y, float* rs) {
    long long row = blockIdx.x;
    x += row * D;
    y += row * D;

    float total = 0;
    for (int d = threadIdx.x; d < D; d += blockDim.x) total += x[d] * x[d];
    float r = 1 / sqrtf(block_sum(total) / D + eps);                            // (1)

    for (int d = threadIdx.x; d < D; d += blockDim.x) y[d] = x[d] * r * w[d];                       // (2) and (3)
    if (threadIdx.x == 0) rs[row] = r;
}

extern "C" __global__ void rms_norm_backward(const float* x, const float* w, const float* rs, const float* gy,
                                             int M, int D, float* gx, float* gws) {
    extern __shared__ float gw[];               // this block's share; number d belongs to one thread
    for (int d = threadIdx.x; d < D; d += blockDim.x) gw[d] = 0;

    for (long long row = blockIdx.x; row < M; row += gridDim.x) {
        float r = rs[row], through_r = 0;
        for (int d = threadIdx.x; d < D; d += blockDim.x) {
            float h = x[row * D + d] * r, g = gy[row * D + d];                  // (2) again
            gw[d] += g * h;                                                     // undo (3)
            through_r += g * w[d] * h;
        }
        through_r = block_sum(through_r) / D;

        for (int d = threadIdx.x; d < D; d += blockDim.x)                       // undo (2) and (1)
            gx[row * D + d] = r * (gy[row * D + d] * w[d] - x[row * D + d] * r * through_r);
    }

    for (int d = threadIdx.x; d < D; d += blockDim.x) gws[(long long)blockIdx.x * D + d] = gw[d];
}
