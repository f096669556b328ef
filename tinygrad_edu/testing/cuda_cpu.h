// CUDA C on the CPU, one thread at a time: what a kernel needs of the language, and a scheduler that tries to break it.
// cuda_cpu.py puts this before the source of a kernel and compiles both with g++.
//
// Every CUDA thread is a fibre: it runs on a stack of its own until it has to wait for others, at __syncthreads or in the
// exchange of a warp. One block runs after another. In between the scheduler goes on with one warp as far as it gets, its
// threads in random order, so a barrier that is missing shows: the others have not written yet, or have overwritten already.
#include <cmath>
#include <cstring>
#include <ucontext.h>
#include <typeinfo>
#include <utility>
#include <vector>

#define __global__
#define __device__ static
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static __attribute__((section("cuda_shared")))

struct dim3 { unsigned x, y, z; };
static dim3 threadIdx, blockIdx, blockDim, gridDim;
extern char __start_cuda_shared[] __attribute__((weak)), __stop_cuda_shared[] __attribute__((weak));

namespace cpu {

const int WARP = 32, GUARD = 1 << 12;
const unsigned ALL_LANES = 0xffffffff;
enum State { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, FINISHED };

struct Fibre {
    ucontext_t context;
    std::vector<char> stack;
    dim3 index;
    State state;
    int line;               // of the source, where it waits
};

static std::vector<Fibre> fibres;               // the threads of the block
static std::vector<char> dynamic_shared;        // what `extern __shared__` stands for, and a guard behind it
static std::vector<double> lanes;               // what each thread has to give in an exchange
static ucontext_t scheduler;
static Fibre* running;
static const char* error;
static void (*body)(void**);
static void** arguments;
static unsigned long long random_state;         // 0: everything in order

static unsigned random_below(unsigned n) {
    random_state = random_state * 6364136223846793005 + 1442695040888963407;
    return (random_state >> 33) % n;
}

static std::vector<int> order(int n) {
    std::vector<int> places(n);
    for (int i = 0; i < n; i++) places[i] = i;
    if (random_state)
        for (int i = n - 1; i > 0; i--) std::swap(places[i], places[random_below(i + 1)]);
    return places;
}


// ---------------------------------------------------------------- a thread: run, wait, exchange

static int thread() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }

static void run(Fibre& fibre) {
    running = &fibre;
    threadIdx = fibre.index;
    swapcontext(&scheduler, &fibre.context);
}

static void wait(State state, int line) {
    Fibre& fibre = *running;
    fibre.state = state;
    fibre.line = line;
    swapcontext(&fibre.context, &scheduler);
}

static void whole_life() {
    body(arguments);
    wait(FINISHED, 0);
}

// Every lane of the warp lays down v, then takes what `source` has laid down (its own, where there is no such lane).
template <class T> T exchange(unsigned mask, T v, int source, int line) {
    int mine = thread(), first = mine / WARP * WARP;
    if (mask != ALL_LANES) error = "an exchange with a mask of some lanes; this shim knows only 0xffffffff";
    std::memcpy(&lanes[mine], &v, sizeof v);
    wait(AT_WARP_BARRIER, line);
    if (source >= 0 && source < WARP) std::memcpy(&v, &lanes[first + source], sizeof v);
    wait(AT_WARP_BARRIER, line);
    return v;
}


// ---------------------------------------------------------------- a block: its scheduler

// If the threads first .. stop - 1 all wait at the same barrier, let them go on.
static void release(int first, int stop, State barrier) {
    for (int i = first; i < stop; i++)
        if (fibres[i].state != barrier) return;
    for (int i = first; i < stop; i++) {
        if (fibres[i].line != fibres[first].line) error = "threads wait for each other at two different barriers";
        fibres[i].state = READY;
    }
}

static const char* why_stuck() {
    for (Fibre& fibre : fibres)
        if (fibre.state == AT_WARP_BARRIER) return "an exchange that not every thread of the warp takes part in";
    for (Fibre& fibre : fibres)
        if (fibre.state == AT_BLOCK_BARRIER) return "a __syncthreads that not every thread of the block reaches";
    return nullptr;
}

static int warp_with_work(const std::vector<int>& warps) {
    for (int warp : warps)
        for (int i = 0; i < WARP; i++)
            if (fibres[warp * WARP + i].state == READY) return warp;
    return -1;
}

static void prepare_block(int threads) {
    if (__start_cuda_shared) std::memset(__start_cuda_shared, 0xff, __stop_cuda_shared - __start_cuda_shared);       // NaN
    std::memset(dynamic_shared.data(), 0xff, dynamic_shared.size());
    fibres.resize(threads);
    lanes.assign(threads, NAN);
    for (unsigned i = 0; i < fibres.size(); i++) {
        Fibre& fibre = fibres[i];
        fibre.stack.resize(1 << 15);
        fibre.state = READY;
        fibre.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
        getcontext(&fibre.context);
        fibre.context.uc_stack.ss_sp = fibre.stack.data();
        fibre.context.uc_stack.ss_size = fibre.stack.size();
        makecontext(&fibre.context, whole_life, 0);
    }
}

static void run_block(int threads) {
    prepare_block(threads);
    std::vector<int> warps = order(threads / WARP);
    for (int warp; !error && (warp = warp_with_work(warps)) >= 0;) {
        for (int i : order(WARP))
            if (fibres[warp * WARP + i].state == READY) run(fibres[warp * WARP + i]);
        release(warp * WARP, (warp + 1) * WARP, AT_WARP_BARRIER);
        release(0, threads, AT_BLOCK_BARRIER);
    }
    if (!error) error = why_stuck();
    for (size_t i = dynamic_shared.size() - GUARD; i < dynamic_shared.size(); i++)
        if (dynamic_shared[i] != (char)0xff) error = "a write behind the end of the shared memory";
}


// ---------------------------------------------------------------- a launch

template <class... A, size_t... I> void call(void (*kernel)(A...), void** values, std::index_sequence<I...>) {
    kernel(*(A*)values[I]...);
}

template <class... A> void call(void (*kernel)(A...), void** values) {
    call(kernel, values, std::index_sequence_for<A...>{});
}

template <class... A> const char* name_of_argument(void (*)(A...), unsigned i) {
    const char* names[] = {typeid(A).name()...};
    return i < sizeof...(A) ? names[i] : nullptr;
}

static const char* launch(void (*kernel)(void**), dim3 grid, dim3 block, size_t shared, unsigned seed, void** values) {
    body = kernel;
    arguments = values;
    gridDim = grid;
    blockDim = block;
    random_state = seed;
    error = nullptr;
    dynamic_shared.resize(shared + GUARD);
    for (unsigned i : order(grid.x * grid.y * grid.z)) {
        blockIdx = {i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y};
        run_block(block.x * block.y * block.z);
        if (error) break;
    }
    return error;
}
}

// For each kernel of a source: the names of the types of its arguments, and the way to start it.
#define LAUNCHABLE(kernel)                                                                                              \
    static void kernel##_body(void** values) { cpu::call(kernel, values); }                                             \
    extern "C" const char* kernel##_argument(unsigned i) { return cpu::name_of_argument(kernel, i); }                   \
    extern "C" const char* kernel##_launch(const dim3* grid, const dim3* block, size_t shared, unsigned seed, void** values) { \
        return cpu::launch(kernel##_body, *grid, *block, shared, seed, values);                                         \
    }


// ---------------------------------------------------------------- CUDA's own functions

static inline void __syncthreads(int line = __builtin_LINE()) { cpu::wait(cpu::AT_BLOCK_BARRIER, line); }
static inline void __syncwarp(unsigned = cpu::ALL_LANES, int line = __builtin_LINE()) { cpu::wait(cpu::AT_WARP_BARRIER, line); }

template <class T> T __shfl_sync(unsigned mask, T v, int lane, int line = __builtin_LINE()) {
    return cpu::exchange(mask, v, lane, line);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, int by, int line = __builtin_LINE()) {
    return cpu::exchange(mask, v, cpu::thread() % cpu::WARP + by, line);
}
template <class T> T __shfl_up_sync(unsigned mask, T v, int by, int line = __builtin_LINE()) {
    return cpu::exchange(mask, v, cpu::thread() % cpu::WARP - by, line);
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int bits, int line = __builtin_LINE()) {
    return cpu::exchange(mask, v, (cpu::thread() % cpu::WARP) ^ bits, line);
}

template <class T> T atomicAdd(T* place, T v) {
    T before = *place;
    *place += v;
    return before;
}

static inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
template <class T> T max(T a, T b) { return a > b ? a : b; }
template <class T> T min(T a, T b) { return a < b ? a : b; }
