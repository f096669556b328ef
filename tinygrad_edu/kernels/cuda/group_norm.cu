// Group normalization of x (N, C, L): the n = C / G L numbers of a group lie side by side. The numbered steps are those of
// kernels/normalization.py; w and b (C,) scale and shift whole channels.
//
//     group_norm_forward, group_norm_backward    N G blocks, one a group
//
// Backward gives a channel to each warp, so that it sums gy h and gy over the channel: one sample's share of gw and gb, left
// in gws and gbs (N, C). The two means over the group are sums of these, weighted with w: they cost no further pass.
#include "block.cuh"

extern "C" __global__ void group_norm_forward(const float* x, const float* w, const float* b, float eps,
                                              int C, int G, int L, float* y, float* mus, float* rs) {
    int n = C / G * L, first = blockIdx.x % G * (C / G);                        // this group's first channel
    x += (long long)blockIdx.x * n;
    y += (long long)blockIdx.x * n;

    float total = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) total += x[i];
    float mu = block_sum(total) / n;                                            // (1)

    total = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) total += (x[i] - mu) * (x[i] - mu);
    float r = 1 / sqrtf(block_sum(total) / n + eps);                            // (2) and (3)

    for (int i = threadIdx.x; i < n; i += blockDim.x)                           // (4) and (5)
        y[i] = (x[i] - mu) * r * w[first + i / L] + b[first + i / L];
    if (threadIdx.x == 0) {
        mus[blockIdx.x] = mu;
        rs[blockIdx.x] = r;
    }
}

extern "C" __global__ void group_norm_backward(const float* x, const float* w, const float* mus, const float* rs,
                                               const float* gy, int C, int G, int L, float* gx, float* gws, float* gbs) {
    int n = C / G * L, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    long long channel = blockIdx.x * (long long)(C / G);                        // of this group's first, over all samples
    float mu = mus[blockIdx.x], r = rs[blockIdx.x], through_mu = 0, through_r = 0;
    x += channel * L;
    gy += channel * L;
    gx += channel * L;
    w += channel % C;

    for (int c = warp; c < C / G; c += blockDim.x / 32) {
        float gw = 0, gb = 0;
        for (int i = c * L + lane; i < (c + 1) * L; i += 32) {
            gw += gy[i] * (x[i] - mu) * r;                                      // undo (5)
            gb += gy[i];
        }
        gw = warp_sum(gw);
        gb = warp_sum(gb);
        if (lane == 0) {
            gws[channel + c] = gw;
            gbs[channel + c] = gb;
            through_mu += w[c] * gb;
            through_r += w[c] * gw;
        }
    }
    through_mu = block_sum(through_mu) / n;
    through_r = block_sum(through_r) / n;

    for (int i = threadIdx.x; i < n; i += blockDim.x)                           // undo (4) to (1)
        gx[i] = r * (gy[i] * w[i / L] - through_mu - (x[i] - mu) * r * through_r);
}
