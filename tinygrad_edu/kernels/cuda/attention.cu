// Attention without the T x S matrix (flash attention). The numbered steps are those of kernels/attention.py.
//
//     q, y, gy, gq (heads, T, E)   k, v, gk, gv (heads, S, E)   L, delta (heads, T)   delta = gy . y
//     E at most D = 32, 64 or 128, which is set when this file is compiled; what E lacks is zeros
//
//     attention_forward             heads x ceil(T / ROWS) blocks of 128 threads, each for ROWS queries
//     attention_backward_queries    the same; writes gq, and delta
//     attention_backward_keys       heads x ceil(S / ROWS) blocks of 128 threads, each for ROWS keys; writes gk and gv
//
// D / 32 neighbouring threads share a row and keep 32 numbers of it each, in registers. The rows of the other side come by
// in tiles through shared memory, where all threads read them; two blocks share a processor (__launch_bounds__). No block
// adds to what another one writes, so the answers are the same on every run; the price is that backward makes the scores twice.
constexpr int TEAM = D / 32, ROWS = 128 / TEAM, TILE = 32;

// Number j of a thread is number place(j) of the row: four at a time in turn with its team, so that they are read together.
__device__ int place(int j) { return (j / 4 * TEAM + threadIdx.x % TEAM) * 4 + j % 4; }

__device__ void load_row(const float* x, int row, int rows, int E, float (&mine)[32]) {
#pragma unroll
    for (int j = 0; j < 32; j++) mine[j] = row < rows && place(j) < E ? x[(long long)row * E + place(j)] : 0;
}

__device__ void store_row(float* x, int row, int rows, int E, const float (&mine)[32], float times) {
#pragma unroll
    for (int j = 0; j < 32; j++)
        if (row < rows && place(j) < E) x[(long long)row * E + place(j)] = mine[j] * times;
}

__device__ void load_tile(const float* x, int first, int rows, int E, float (&tile)[TILE][D]) {
    for (int i = threadIdx.x; i < TILE * D; i += 128) {
        int row = first + i / D, e = i % D;
        tile[i / D][e] = row < rows && e < E ? x[(long long)row * E + e] : 0;
    }
}

__device__ float dot(const float (&mine)[32], const float (&row)[D]) {
    float sums[4] = {};                         // four, so that an addition need not wait for the one before it
#pragma unroll
    for (int j = 0; j < 32; j++) sums[j % 4] += mine[j] * row[place(j)];
    float sum = sums[0] + sums[1] + (sums[2] + sums[3]);
#pragma unroll
    for (int away = 1; away < TEAM; away *= 2) sum += __shfl_xor_sync(0xffffffff, sum, away);
    return sum;
}

__device__ void add(float (&mine)[32], float times, const float (&row)[D]) {
#pragma unroll
    for (int j = 0; j < 32; j++) mine[j] += times * row[place(j)];
}

extern "C" __global__ void __launch_bounds__(128, 2) attention_forward(const float* q, const float* k, const float* v,
        int T, int S, int E, float scale, int causal, float* y, float* L) {
    __shared__ __align__(16) float keys[TILE][D], values[TILE][D];
    int tiles = (T + ROWS - 1) / ROWS, first = blockIdx.x % tiles * ROWS, t = first + threadIdx.x / TEAM;
    long long head = blockIdx.x / tiles;
    int last = causal ? min(S, first + ROWS) : S;                               // the keys that somebody here may see

    float query[32], mean[32] = {}, top = -1e30f, total = 0;
    load_row(q + head * T * E, t, T, E, query);
    for (int start = 0; start < last; start += TILE) {
        __syncthreads();                                                        // the tile before has been read
        load_tile(k + head * S * E, start, S, E, keys);
        load_tile(v + head * S * E, start, S, E, values);
        __syncthreads();

        for (int c = 0; c < TILE; c += 8) {                                     // eight keys share the change of top
            float p[8], before = top;
#pragma unroll
            for (int i = 0; i < 8; i++) {
                int s = start + c + i;
                p[i] = dot(query, keys[c + i]) * scale;                         // (1)
                if (s >= S || (causal && s > t)) p[i] = -1e38f;
                top = fmaxf(top, p[i]);
            }
            float shrink = expf(before - top);                                  // (2)
            total *= shrink;
#pragma unroll
            for (int j = 0; j < 32; j++) mean[j] *= shrink;
#pragma unroll
            for (int i = 0; i < 8; i++) {
                p[i] = expf(p[i] - top);
                total += p[i];
                add(mean, p[i], values[c + i]);                                 // (3)
            }
        }
    }
    if (total == 0) total = 1;                                                  // nobody to look at: y = 0 / 1
    store_row(y + head * T * E, t, T, E, mean, 1 / total);
    if (t < T && threadIdx.x % TEAM == 0) L[head * T + t] = top + logf(total);                      // (4)
}

extern "C" __global__ void __launch_bounds__(128, 2) attention_backward_queries(const float* q, const float* k, const float* v,
        const float* y, const float* L, const float* gy, int T, int S, int E, float scale, int causal,
        float* gq, float* delta) {
    __shared__ __align__(16) float keys[TILE][D], values[TILE][D];
    int tiles = (T + ROWS - 1) / ROWS, first = blockIdx.x % tiles * ROWS, t = first + threadIdx.x / TEAM;
    long long head = blockIdx.x / tiles;
    int last = causal ? min(S, first + ROWS) : S;

    float query[32], g[32], gquery[32] = {}, through_total = 0;
    load_row(gy + head * T * E, t, T, E, g);
    load_row(y + head * T * E, t, T, E, query);                                 // y, for a moment
#pragma unroll
    for (int j = 0; j < 32; j++) through_total += g[j] * query[j];
    for (int away = 1; away < TEAM; away *= 2) through_total += __shfl_xor_sync(0xffffffff, through_total, away);
    if (t < T && threadIdx.x % TEAM == 0) delta[head * T + t] = through_total;

    float l = t < T ? L[head * T + t] : 0;
    load_row(q + head * T * E, t, T, E, query);
    for (int start = 0; start < last; start += TILE) {
        __syncthreads();
        load_tile(k + head * S * E, start, S, E, keys);
        load_tile(v + head * S * E, start, S, E, values);
        __syncthreads();

#pragma unroll 1
        for (int c = 0; c < TILE; c++) {
            int s = start + c;
            float w = expf(dot(query, keys[c]) * scale - l), gw = dot(g, values[c]);        // (1), (2) again; undo (3)
            bool hidden = s >= S || (causal && s > t);
            add(gquery, hidden ? 0 : w * (gw - through_total), keys[c]);                    // undo (2) and (1)
        }
    }
    store_row(gq + head * T * E, t, T, E, gquery, scale);
}

extern "C" __global__ void __launch_bounds__(128, 2) attention_backward_keys(const float* q, const float* k, const float* v,
        const float* L, const float* delta, const float* gy, int T, int S, int E, float scale, int causal,
        float* gk, float* gv) {
    __shared__ __align__(16) float queries[TILE][D], gs[TILE][D], l[TILE], through_total[TILE];
    int tiles = (S + ROWS - 1) / ROWS, first = blockIdx.x % tiles * ROWS, s = first + threadIdx.x / TEAM;
    long long head = blockIdx.x / tiles;

    float key[32], value[32], gkey[32] = {}, gvalue[32] = {};
    load_row(k + head * S * E, s, S, E, key);
    load_row(v + head * S * E, s, S, E, value);
    for (int start = causal ? first / TILE * TILE : 0; start < T; start += TILE) {          // who may see one of these keys
        __syncthreads();
        load_tile(q + head * T * E, start, T, E, queries);
        load_tile(gy + head * T * E, start, T, E, gs);
        if (threadIdx.x < TILE && start + threadIdx.x < T) {
            l[threadIdx.x] = L[head * T + start + threadIdx.x];
            through_total[threadIdx.x] = delta[head * T + start + threadIdx.x];
        }
        __syncthreads();

#pragma unroll 1
        for (int c = 0; c < TILE; c++) {
            int t = start + c;
            bool hidden = t >= T || (causal && s > t);
            float w = expf(dot(key, queries[c]) * scale - l[c]), gw = dot(value, gs[c]);    // (1), (2) again; undo (3)
            add(gvalue, hidden ? 0 : w, gs[c]);
            add(gkey, hidden ? 0 : w * (gw - through_total[c]), queries[c]);                // undo (2) and (1)
        }
    }
    store_row(gk + head * S * E, s, S, E, gkey, scale);
    store_row(gv + head * S * E, s, S, E, gvalue, 1);
}
