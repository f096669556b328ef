// One step of a GRU without its matrix products: n = D N numbers in each gate and state, gates r, z, n one after the other
// (3, n), a state as columns (D, N). The equations are those of kernels/recurrent.py; q = U h + bh in n, which r scales.
//
//     gru_forward, gru_backward    ceil(n / blockDim.x) blocks, one thread a number
__device__ float sigmoid(float a) { return 1 / (1 + expf(-a)); }

// gates: in, W x + b, out, the gates.
extern "C" __global__ void gru_forward(const float* uh, const float* bh, const float* h, int N, int n,
                                       float* gates, float* q, float* h_new) {
    int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= n) return;

    int d = k / N, D = n / N;
    float r = sigmoid(gates[k] + uh[k] + bh[d]), z = sigmoid(gates[n + k] + uh[n + k] + bh[D + d]);
    float from_h = uh[2 * n + k] + bh[2 * D + d], proposal = tanhf(gates[2 * n + k] + r * from_h);
    gates[k] = r;
    gates[n + k] = z;
    gates[2 * n + k] = proposal;
    q[k] = from_h;
    h_new[k] = proposal + z * (h[k] - proposal);
}

// dh: in, the gradient that comes back through time, out, what goes on past U; gh: what reaches this step's state from outside.
// gz (4, n): the gradients of r, z, of U h in n, and of n.
extern "C" __global__ void gru_backward(const float* gates, const float* q, const float* h, const float* gh, int n,
                                        float* dh, float* gz) {
    int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= n) return;

    float r = gates[k], z = gates[n + k], proposal = gates[2 * n + k], dhk = dh[k] + gh[k];
    float gn = dhk * (1 - z) * (1 - proposal * proposal);
    gz[k] = gn * q[k] * r * (1 - r);
    gz[n + k] = dhk * (h[k] - proposal) * z * (1 - z);
    gz[2 * n + k] = gn * r;
    gz[3 * n + k] = gn;
    dh[k] = dhk * z;
}
