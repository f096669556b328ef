// Layer normalization of the rows of x (M, D). The numbered steps are those of kernels/normalization.py.
//
//     layer_norm_forward     M blocks, one a row
//     layer_norm_backward    P blocks: block p takes the rows p, p + P, p + 2 P, .. and leaves its share of gw and gb in row p
//                            of gws and gbs (P, D); 2 D floats of shared memory
//
// Neighbouring threads take neighbouring numbers. A row is read again while it is still in the cache.
#include "block.cuh"

extern "C" __global__ void layer_norm_forward(const float* x, const float* w, const float* b, float eps, int D,
                                              float* y, float* mus, float* rs) {
    long long row = blockIdx.x;
    x += row * D;
    y += row * D;

    float total = 0;
    for (int d = threadIdx.x; d < D; d += blockDim.x) total += x[d];
    float mu = block_sum(total) / D;                                            // (1)

    total = 0;
    for (int d = threadIdx.x; d < D; d += blockDim.x) total += (x[d] - mu) * (x[d] - mu);
    float r = 1 / sqrtf(block_sum(total) / D + eps);                            // (2) and (3)

    for (int d = threadIdx.x; d < D; d += blockDim.x) y[d] = (x[d] - mu) * r * w[d] + b[d];         // (4) and (5)
    if (threadIdx.x == 0) {
        mus[row] = mu;
        rs[row] = r;
    }
}

extern "C" __global__ void layer_norm_backward(const float* x, const float* w, const float* mus, const float* rs,
                                               const float* gy, int M, int D, float* gx, float* gws, float* gbs) {
    extern __shared__ float sums[];             // this block's gw, then its gb; number d belongs to one thread
    float *gw = sums, *gb = sums + D;
    for (int d = threadIdx.x; d < D; d += blockDim.x) gw[d] = gb[d] = 0;

    for (long long row = blockIdx.x; row < M; row += gridDim.x) {
        float mu = mus[row], r = rs[row], through_mu = 0, through_r = 0;
        for (int d = threadIdx.x; d < D; d += blockDim.x) {
            float h = (x[row * D + d] - mu) * r, g = gy[row * D + d];           // (4) again
            gw[d] += g * h;                                                     // undo (5)
            gb[d] += g;
            through_mu += g * w[d];
            through_r += g * w[d] * h;
        }
        through_mu = block_sum(through_mu) / D;
        through_r = block_sum(through_r) / D;

        for (int d = threadIdx.x; d < D; d += blockDim.x) {                     // undo (4) to (1)
            float h = (x[row * D + d] - mu) * r;
            gx[row * D + d] = r * (gy[row * D + d] * w[d] - through_mu - h * through_r);
        }
    }

    for (int d = threadIdx.x; d < D; d += blockDim.x) {
        gws[(long long)blockIdx.x * D + d] = gw[d];
        gbs[(long long)blockIdx.x * D + d] = gb[d];
    }
}
