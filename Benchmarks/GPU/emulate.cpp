// Runs the convolution on a processor and compares it with plain loops, for machines without a GPU:
//
//     c++ -std=c++17 -O1 -o /tmp/emulate emulate.cpp && /tmp/emulate
//
// Each thread of a block is a fiber. A fiber runs until it needs others (a barrier, a warp's matrix
// instruction), so a missing barrier shows: threads run far ahead of each other, in both orders.
// Copies land as late as the program allows, and shared memory starts as NaN.

#include <ucontext.h>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#define DEVICE inline
#define GLOBAL
#define BOUNDS(threads)
#define SHARED_MEMORY(name) half16 *name = sharedMemory.data()

typedef unsigned short half16;
struct float4 { float x, y, z, w; };
struct uint4 { unsigned x, y, z, w; };
struct Index { unsigned x, y; };

struct Copy { half16 *to; const half16 *from; bool in; };
struct Warp { int arrived = 0, round = 0; const void *a[32], *b[32]; void *to[32]; };
struct Fiber {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(256 << 10);
    std::deque<std::vector<Copy>> groups;
    std::vector<Copy> open;
    bool done = false;
};

static std::vector<half16> sharedMemory;
static std::vector<std::unique_ptr<Fiber>> fibers;
static std::vector<Warp> warps;
static ucontext_t scheduler;
static Index threadIdx, blockIdx, gridDim;
static int arrived, generation;
static void (*body)();

static Fiber &self() { return *fibers[threadIdx.x]; }
static void pause() { swapcontext(&self().context, &scheduler); }

static void barrier() {
    int now = generation;
    if (++arrived == (int)fibers.size()) arrived = 0, ++generation;
    while (generation == now) pause();
}
static void fence() {}
static unsigned increment(unsigned *at) { return (*at)++; }
static float4 loadFresh(const float4 *from) { return *from; }

static void copyAsync(half16 *to, const half16 *from, bool in) {
    self().open.push_back({to, from, in});
}
static void commitCopies() {
    self().groups.push_back(std::move(self().open)), self().open.clear();
}
template <int N>
static void waitForCopies() {
    for (auto &groups = self().groups; groups.size() > N; groups.pop_front())
        for (auto &copy : groups.front())
            if (copy.in) memcpy(copy.to, copy.from, 16);
            else memset(copy.to, 0, 16);
}

static float widen(half16 bits) {
    _Float16 value;
    memcpy(&value, &bits, 2);
    return value;
}
static half16 narrow(float value) {
    _Float16 rounded = value;
    half16 bits;
    memcpy(&bits, &rounded, 2);
    return bits;
}
static unsigned pack(float low, float high) { return narrow(low) | (unsigned)narrow(high) << 16; }
static unsigned addPairs(unsigned a, unsigned b, int relu) {
    float low = widen(a) + widen(b), high = widen(a >> 16) + widen(b >> 16);
    return relu ? pack(fmaxf(low, 0), fmaxf(high, 0)) : pack(low, high);
}

/// The last lane of a warp to arrive does the work of all.
template <class Work>
static void together(void *to, const void *a, const void *b, Work work) {
    Warp &warp = warps[threadIdx.x / 32];
    int lane = threadIdx.x % 32, now = warp.round;
    warp.to[lane] = to, warp.a[lane] = a, warp.b[lane] = b;
    if (++warp.arrived == 32) work(warp), warp.arrived = 0, ++warp.round;
    while (warp.round == now) pause();
}
static void loadMatrices(unsigned (&to)[4], const half16 *from) {
    together(to, from, nullptr, [](Warp &warp) {
        for (int lane = 0; lane < 32; ++lane)
            for (int m = 0; m < 4; ++m)
                memcpy((unsigned *)warp.to[lane] + m,
                       (const half16 *)warp.a[m * 8 + lane / 4] + lane % 4 * 2, 4);
    });
}
static half16 element(const void *registers, int word, int odd) {
    return ((const unsigned *)registers)[word] >> (odd ? 16 : 0);
}
static void multiplyAdd(float4 &sum, const unsigned *a, const unsigned *b) {
    together(&sum, a, b, [](Warp &warp) {
        for (int row = 0; row < 16; ++row)
            for (int column = 0; column < 8; ++column) {
                float total = 0;
                for (int k = 0; k < 16; ++k) {
                    int la = row % 8 * 4 + k % 8 / 2, lb = column * 4 + k % 8 / 2;
                    total += widen(element(warp.a[la], row / 8 + k / 8 * 2, k % 2))
                        * widen(element(warp.b[lb], k / 8, k % 2));
                }
                ((float *)warp.to[row % 8 * 4 + column / 2])[row / 8 * 2 + column % 2] += total;
            }
    });
}

#include "convolution.cuh"

static Shape shape;
static Operands operands;

static void enter() { body(), self().done = true; for (;;) pause(); }

static void runBlock(int threads, bool backwards) {
    fibers.clear(), warps.assign(threads / 32, Warp()), arrived = 0;
    sharedMemory.assign(120 << 10, 0x7fff);
    for (int t = 0; t < threads; ++t) {
        fibers.emplace_back(new Fiber);
        getcontext(&fibers[t]->context);
        fibers[t]->context.uc_stack.ss_sp = fibers[t]->stack.data();
        fibers[t]->context.uc_stack.ss_size = fibers[t]->stack.size();
        makecontext(&fibers[t]->context, enter, 0);
    }
    for (int left = threads; left > 0;) {
        left = 0;
        for (int i = 0; i < threads; ++i) {
            threadIdx.x = backwards ? threads - 1 - i : i;
            if (!self().done) swapcontext(&scheduler, &self().context), left += !self().done;
        }
    }
}

static double reference(int pixel, int filter) {
    int q = pixel % shape.outWidth, p = pixel / shape.outWidth % shape.outHeight;
    int image = pixel / shape.outWidth / shape.outHeight;
    double sum = operands.bias[filter];
    for (int r = 0; r < shape.rows; ++r)
        for (int s = 0; s < shape.columns; ++s)
            for (int c = 0; c < shape.channels; ++c) {
                int h = p * shape.stride - shape.padding + r;
                int w = q * shape.stride - shape.padding + s;
                if (h < 0 || h >= shape.height || w < 0 || w >= shape.width) continue;
                sum += (double)widen(operands.x[((image * shape.height + h) * shape.width + w)
                                                * shape.channels + c])
                    * widen(operands.w[((filter * shape.rows + r) * shape.columns + s)
                                       * shape.channels + c]);
            }
    if (operands.residual) sum += widen(operands.residual[pixel * shape.pitch + filter]);
    return operands.relu && sum < 0 ? 0 : sum;
}

static std::vector<half16> numbers(size_t count) {
    std::vector<half16> result(count);
    for (auto &value : result) value = narrow(rand() / (float)RAND_MAX - 0.5f);
    return result;
}

static bool check(const char *name, void (*kernel)(), int bm, int bn, int threads, Shape given,
                  int splits, bool residual, bool backwards) {
    shape = given, body = kernel;
    int pixels = shape.batch * shape.outHeight * shape.outWidth;
    int depth = shape.rows * shape.columns * shape.channels;
    auto x = numbers(shape.batch * shape.height * shape.width * shape.channels);
    auto w = numbers((size_t)shape.filters * depth), z = numbers((size_t)pixels * shape.pitch);
    std::vector<half16> y((size_t)pixels * shape.pitch, 0x7fff);
    std::vector<float> bias(shape.filters);
    for (auto &value : bias) value = rand() / (float)RAND_MAX - 0.5f;
    int tiles = ((pixels + bm - 1) / bm) * ((shape.filters + bn - 1) / bn);
    std::vector<float4> partial((size_t)tiles * splits * bm * bn / 4);
    std::vector<unsigned> counters(tiles);
    operands = {x.data(), w.data(), bias.data(), residual ? z.data() : nullptr, y.data(),
                partial.data(), counters.data(), residual};
    gridDim = {(unsigned)tiles, (unsigned)splits};
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) runBlock(threads, backwards);
    double error = 0, size = 0;
    for (int pixel = 0; pixel < pixels; ++pixel)
        for (int filter = 0; filter < shape.filters; ++filter) {
            double right = reference(pixel, filter);
            double difference = widen(y[(size_t)pixel * shape.pitch + filter]) - right;
            error += difference * difference, size += right * right;
        }
    bool good = std::sqrt(error / size) < 1e-3;
    for (unsigned counter : counters) good = good && counter == 0;
    printf("%-17s %3dx%-3d %4d->%-4d %dx%d/%d splits %d: %.1e %s\n", name, shape.height,
           shape.width, shape.channels, shape.filters, shape.rows, shape.columns, shape.stride, splits,
           std::sqrt(error / size), good ? "" : "WRONG");
    return good;
}

#define CHECK(name, bm, bn, threads)                                                          \
    for (int turn = 0; turn < 2; ++turn)                                                      \
        for (auto &shape : shapes)                                                            \
            for (int splits : {1, 3})                                                         \
                good &= check(#name, [] { name(::shape, operands); }, bm, bn, threads, shape, \
                              splits, splits == 3, turn);

int main() {
    const Shape shapes[] = {
        {1, 9, 9, 40, 72, 3, 3, 1, 1, 9, 9, 72}, {2, 13, 13, 8, 64, 7, 7, 2, 3, 7, 7, 64},
        {1, 8, 8, 128, 136, 1, 1, 2, 0, 4, 4, 144}, {3, 1, 1, 200, 40, 1, 1, 1, 0, 1, 1, 40}};
    bool good = true;
    CHECK(conv_128x128x32_8, 128, 128, 256)
    CHECK(conv_128x128x32_4, 128, 128, 128)
    CHECK(conv_256x128x32_8, 256, 128, 256)
    CHECK(conv_128x128x64_8, 128, 128, 256)
    CHECK(conv_128x64x64_4, 128, 64, 128)
    CHECK(conv_64x64x64_4, 64, 64, 128)
    CHECK(conv_32x64x64_4, 32, 64, 128)
    puts(good ? "all right" : "WRONG");
    return !good;
}
