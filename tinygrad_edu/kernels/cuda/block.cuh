// What the kernels share: the threads of a block put their numbers together, and all of them get the answer.
//
// A warp, 32 threads that run in step, exchanges registers: after the exchange with the neighbour 16 away, then 8, 4, 2 and
// 1, every thread holds the sum of all. A block puts the sums of its warps side by side in shared memory, where each warp
// adds them up once more. blockDim.x is a multiple of 32, and all threads of the block make the call.

__device__ float warp_sum(float v) {
    for (int away = 16; away > 0; away /= 2) v += __shfl_xor_sync(0xffffffff, v, away);
    return v;
}

__device__ float block_sum(float v) {
    __shared__ float parts[32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;

    v = warp_sum(v);
    __syncthreads();                            // nobody reads the parts of an earlier call any more
    if (lane == 0) parts[warp] = v;
    __syncthreads();
    return warp_sum(lane < blockDim.x / 32 ? parts[lane] : 0);
}

// The largest of some numbers x, and the sum of exp(x - largest). Two such pairs make one: the sum that belongs to the
// smaller top shrinks. So one pass over a row finds both (Milakov & Gimelshein 2018, arXiv:1805.02867).
struct Softmax { float top, total; };

__device__ Softmax join(Softmax a, Softmax b) {
    float top = fmaxf(a.top, b.top);
    return {top, a.total * expf(a.top - top) + b.total * expf(b.top - top)};
}

__device__ Softmax warp_softmax(Softmax s) {
    for (int away = 16; away > 0; away /= 2)
        s = join(s, {__shfl_xor_sync(0xffffffff, s.top, away), __shfl_xor_sync(0xffffffff, s.total, away)});
    return s;
}

__device__ Softmax block_softmax(const float* x, int K) {
    const Softmax nothing = {-3e38f, 0};        // not -infinity, for inf - inf is NaN
    __shared__ float tops[32], totals[32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;

    Softmax s = nothing;
    for (int k = threadIdx.x; k < K; k += blockDim.x) s = join(s, {x[k], 1});
    s = warp_softmax(s);
    if (lane == 0) { tops[warp] = s.top; totals[warp] = s.total; }
    __syncthreads();
    return warp_softmax(lane < blockDim.x / 32 ? Softmax{tops[lane], totals[lane]} : nothing);
}
