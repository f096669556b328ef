// One step of an LSTM without its matrix products: n = D N numbers in each gate and state, gates i, f, g, o one after the
// other (4, n). The equations are those of kernels/recurrent.py.
//
//     lstm_forward, lstm_backward    ceil(n / blockDim.x) blocks, one thread a number
//
// From z = W x + b and uh = U h to the new states is one pass over memory; written with array functions it takes a dozen.
__device__ float sigmoid(float a) { return 1 / (1 + expf(-a)); }

// z: in, W x + b, out, the gates.
extern "C" __global__ void lstm_forward(const float* uh, const float* c, int n, float* z,
                                        float* c_new, float* tanh_c, float* h_new) {
    int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= n) return;

    float i = sigmoid(z[k] + uh[k]), f = sigmoid(z[n + k] + uh[n + k]);
    float g = tanhf(z[2 * n + k] + uh[2 * n + k]), o = sigmoid(z[3 * n + k] + uh[3 * n + k]);
    float cell = f * c[k] + i * g, tanh_cell = tanhf(cell);
    z[k] = i;
    z[n + k] = f;
    z[2 * n + k] = g;
    z[3 * n + k] = o;
    c_new[k] = cell;
    tanh_c[k] = tanh_cell;
    h_new[k] = o * tanh_cell;
}

// dh, dc: the gradients that come back through time; gh, gc: those that reach this step's states from outside.
extern "C" __global__ void lstm_backward(const float* gates, const float* c, const float* tanh_c, const float* gh,
                                         const float* gc, const float* dh, int n, float* dc, float* gz) {
    int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= n) return;

    float i = gates[k], f = gates[n + k], g = gates[2 * n + k], o = gates[3 * n + k], tc = tanh_c[k];
    float dhk = dh[k] + gh[k], dck = dc[k] + gc[k] + dhk * o * (1 - tc * tc);
    gz[k] = dck * g * i * (1 - i);
    gz[n + k] = dck * c[k] * f * (1 - f);
    gz[2 * n + k] = dck * i * (1 - g * g);
    gz[3 * n + k] = dhk * tc * o * (1 - o);
    dc[k] = dck * f;
}
