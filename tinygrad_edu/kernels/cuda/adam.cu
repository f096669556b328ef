// One step of Adam on n weights: w, m and v are read and written once. The rule is that of optim/optimizers.py.
//
//     adam    ceil(n / blockDim.x) blocks, one thread a weight
//
// rate = lr / (1 - b1^t) and root = 1 / sqrt(1 - b2^t) correct for starting at zero; c1 = 1 - b1 and c2 = 1 - b2 come from
// the host, where they are computed in double precision. l2 acts on the gradient (Adam), keep = 1 - lr decay on w (AdamW).
extern "C" __global__ void adam(const float* g, int n, float rate, float root, float b1, float c1, float b2, float c2,
                                float eps, float l2, float keep, float* w, float* m, float* v) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;

    float weight = w[i] * keep, slope = g[i] + l2 * weight;
    m[i] = b1 * m[i] + c1 * slope;
    v[i] = b2 * v[i] + c2 * slope * slope;
    w[i] = weight - rate * m[i] / (sqrtf(v[i]) * root + eps);
}
