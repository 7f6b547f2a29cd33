// Small kernels that ask the device questions. Every wait ends by the clock.

/// Marks the multiprocessors that ran a block; a block stays `duration` ns, so all are needed.
extern "C" GLOBAL void census(unsigned *seen, word64 duration) {
    word64 begin = nanoseconds();
    if (threadIdx.x == 0) atomicAdd(seen + multiprocessor(), 1u);
    while (nanoseconds() - begin < duration) {}
}

/// When the kernel's first block began and its last one ended.
extern "C" GLOBAL void span(word64 *times, word64 duration) {
    word64 begin = nanoseconds();
    while (nanoseconds() - begin < duration) {}
    if (threadIdx.x == 0) atomicMin(times, begin), atomicMax(times + 1, nanoseconds());
}

extern "C" GLOBAL void nothing() {}

DEVICE size_t thread() { return blockIdx.x * (size_t)blockDim.x + threadIdx.x; }
DEVICE size_t threads() { return (size_t)gridDim.x * blockDim.x; }

DEVICE unsigned scramble(unsigned value) {
    value ^= value >> 16, value *= 0x7feb352du, value ^= value >> 15, value *= 0x846ca68bu;
    return value ^ value >> 16;
}
DEVICE float uniform(size_t index, unsigned seed) {
    unsigned bits = scramble((unsigned)index ^ scramble(seed + (unsigned)(index >> 32)));
    return (float)bits * (2.0f / 4294967296.0f) - 1;
}
extern "C" GLOBAL void fillHalf(half16 *to, size_t count, unsigned seed, float range) {
    for (size_t i = thread(); i < count; i += threads())
        to[i] = (half16)pack(uniform(i, seed) * range, 0);
}
/// The same values as fp32 and fp16.
extern "C" GLOBAL void fillBias(float *wide, half16 *narrow, unsigned count, unsigned seed) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    narrow[i] = (half16)pack(uniform(i, seed) * 0.1f, 0);
    wide[i] = widen(narrow[i]);
}
extern "C" GLOBAL void countNaN(const half16 *from, size_t count, unsigned *found) {
    for (size_t i = thread(); i < count; i += threads())
        if ((from[i] & 0x7fff) > 0x7c00) atomicAdd(found, 1u);
}

/// Reads memory as fast as the multiprocessors can, past their own caches.
extern "C" GLOBAL void readAll(const float4 *from, size_t count, unsigned rounds, float *sink) {
    float sum = 0;
    size_t step = threads();
    for (unsigned round = 0; round < rounds; ++round)
        for (size_t i = thread(); i + 3 * step < count; i += 4 * step) {
            float4 a = loadFresh(from + i), b = loadFresh(from + i + step);
            float4 c = loadFresh(from + i + 2 * step), d = loadFresh(from + i + 3 * step);
            sum += a.x + a.y + a.z + a.w + b.x + b.y + b.z + b.w;
            sum += c.x + c.y + c.z + c.w + d.x + d.y + d.z + d.w;
        }
    if (sum == 0.12345f) *sink = sum;
}

/// Squared differences from sums in double, of `samples` outputs chosen by a hash:
/// result = {squared difference, squared reference}, also for what the caller writes itself.
extern "C" GLOBAL void compare(
    Shape shape, Operands data, unsigned samples, unsigned seed, double *result, double *values) {
    unsigned sample = blockIdx.x * blockDim.x + threadIdx.x;
    if (sample >= samples) return;
    unsigned pixels = shape.batch * shape.outHeight * shape.outWidth;
    unsigned pixel = scramble(2 * sample ^ seed) % pixels;
    unsigned filter = scramble(2 * sample + 1 ^ seed) % shape.filters;
    int q = pixel % shape.outWidth, p = pixel / shape.outWidth % shape.outHeight;
    int image = pixel / shape.outWidth / shape.outHeight;
    double sum = data.bias[filter];
    for (int r = 0; r < shape.rows; ++r)
        for (int s = 0; s < shape.columns; ++s) {
            int h = p * shape.stride - shape.padding + r, w = q * shape.stride - shape.padding + s;
            if (h < 0 || h >= shape.height || w < 0 || w >= shape.width) continue;
            size_t x = ((size_t)(image * shape.height + h) * shape.width + w) * shape.channels;
            size_t y = ((size_t)(filter * shape.rows + r) * shape.columns + s) * shape.channels;
            for (int c = 0; c < shape.channels; ++c)
                sum += (double)widen(data.x[x + c]) * widen(data.w[y + c]);
        }
    size_t at = (size_t)pixel * shape.pitch + filter;
    if (data.residual) sum += widen(data.residual[at]);
    if (data.relu && sum < 0) sum = 0;
    double difference = widen(data.y[at]) - sum;
    atomicAdd(result, difference * difference);
    atomicAdd(result + 1, sum * sum);
    if (values && sample < 64) values[sample] = sum;
}

/// A page fault in software: block b asks the host for pages b, b + gridDim.x, ... of a range and
/// waits for each. A request is the page's number plus one, with the pass above bit 20, in the
/// block's mailbox in host memory; the host copies the page and then writes the same word into the
/// block's word of `served`, in device memory. `resident` says which pages need not be asked for.
/// Gives up after `limit` ns and sets *late, which is never cleared: no later wait lasts.
extern "C" GLOBAL void touch(
    unsigned first, unsigned count, unsigned pass, unsigned *resident, unsigned *mailbox,
    const unsigned *served, unsigned *late, word64 limit) {
    for (unsigned i = blockIdx.x; i < count; i += gridDim.x) {
        unsigned page = first + i, request = pass << 20 | page + 1;
        if (resident[page]) continue;
        storeShared(mailbox + blockIdx.x * 32, request);
        word64 begin = nanoseconds();
        while (loadShared(served + blockIdx.x * 32) != request) {
            if (nanoseconds() - begin > limit || loadShared(late)) {
                storeShared(late, 1);
                return;
            }
        }
        resident[page] = 1;
    }
}
/// Forgets pages that were evicted.
extern "C" GLOBAL void forget(unsigned first, unsigned count, unsigned *resident) {
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) resident[first + i] = 0;
}
