// A convolution as one product of matrices: each output pixel is a row, each filter a column, and
// the sum runs over the window's positions and channels (row r, column s, channel c).
//
//   x [batch][height][width][channels], w [filters][rows][columns][channels], fp16, sums in fp32
//   y = relu(conv(x, w) + bias + residual), y [pixels][pitch]
//
// channels is a multiple of 8, so that sixteen bytes never cross a window position; filters and
// pitch are multiples of 8. Tiles come through `STAGES` buffers of shared memory by asynchronous
// copies. gridDim.y > 1 divides the sum: parts go to `partial`, and the last block of a tile adds
// them in order, so equal inputs give equal bits whatever finishes first. `counters` must be zero
// and is left zero.

struct Shape {
    int batch, height, width, channels, filters, rows, columns, stride, padding;
    int outHeight, outWidth, pitch;
};

struct Operands {
    const half16 *x, *w;
    const float *bias;
    const half16 *residual;  // may be null
    half16 *y;
    float4 *partial;
    unsigned *counters;
    int relu;
};

template <int BM, int BN, int BK, int WARPS_M, int WARPS_N, int STAGES>
struct Convolution {
    static constexpr int threads = 32 * WARPS_M * WARPS_N;
    static constexpr int chunks = BK / 8;          // pieces of 16 bytes in a row of a tile
    static constexpr int lift = threads / chunks;  // rows that all threads load at once
    static constexpr int loadsA = BM / lift, loadsB = BN / lift;
    static constexpr int tilesM = BM / WARPS_M / 16, tilesN = BN / WARPS_N / 8;
    static constexpr int stage = (BM + BN) * BK;

    /// Where a chunk lies in shared memory: chunks of eight rows lie in different banks.
    static DEVICE int place(int row, int chunk) {
        int turn = BK == 64 ? row & 7 : (row >> 1) & 3;
        return row * BK + ((chunk ^ turn) << 3);
    }

    /// Loads tiles in order of depth; knows where its thread's chunk is in the window.
    struct Loader {
        const Shape &shape;
        const Operands &data;
        int row, chunk, k, r, s, c, filter, depth;
        int top[loadsA], left[loadsA], image[loadsA];

        DEVICE Loader(const Shape &shape, const Operands &data, int m, int n, int begin)
            : shape(shape), data(data) {
            row = threadIdx.x / chunks, chunk = threadIdx.x % chunks;
            depth = shape.rows * shape.columns * shape.channels;
            filter = n + row;
            k = begin * BK + chunk * 8;
            c = k % shape.channels;
            r = k / shape.channels / shape.columns, s = k / shape.channels % shape.columns;
            int pixels = shape.batch * shape.outHeight * shape.outWidth;
            for (int i = 0; i < loadsA; ++i) {
                int pixel = m + row + i * lift;
                int q = pixel % shape.outWidth, rest = pixel / shape.outWidth;
                int p = rest % shape.outHeight;
                top[i] = pixel < pixels ? p * shape.stride - shape.padding : -(1 << 28);
                left[i] = q * shape.stride - shape.padding;
                image[i] = rest / shape.outHeight * shape.height * shape.width * shape.channels;
            }
        }

        DEVICE void load(half16 *to) {
#pragma unroll
            for (int i = 0; i < loadsA; ++i) {
                int h = top[i] + r, w = left[i] + s;
                bool in = r < shape.rows && (unsigned)h < (unsigned)shape.height
                    && (unsigned)w < (unsigned)shape.width;
                int at = in ? image[i] + (h * shape.width + w) * shape.channels + c : 0;
                copyAsync(to + place(row + i * lift, chunk), data.x + at, in);
            }
#pragma unroll
            for (int i = 0; i < loadsB; ++i) {
                int n = filter + i * lift;
                bool in = n < shape.filters && k < depth;
                size_t at = in ? (size_t)n * depth + k : 0;
                copyAsync(to + BM * BK + place(row + i * lift, chunk), data.w + at, in);
            }
            k += BK, c += BK;
            while (c >= shape.channels) {
                c -= shape.channels;
                if (++s == shape.columns) s = 0, ++r;
            }
        }
    };

    static DEVICE void multiply(const half16 *tiles, float4 (&sum)[tilesM][tilesN]) {
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        int rowA = warp % WARPS_M * (BM / WARPS_M) + lane % 16;
        int rowB = warp / WARPS_M * (BN / WARPS_N) + (lane >> 4) * 8 + lane % 8;
#pragma unroll
        for (int k = 0; k < BK / 16; ++k) {
            unsigned a[tilesM][4], b[tilesN / 2][4];
#pragma unroll
            for (int i = 0; i < tilesM; ++i)
                loadMatrices(a[i], tiles + place(rowA + i * 16, k * 2 + (lane >> 4)));
#pragma unroll
            for (int j = 0; j < tilesN / 2; ++j)
                loadMatrices(
                    b[j], tiles + BM * BK + place(rowB + j * 16, k * 2 + (lane >> 3) % 2));
#pragma unroll
            for (int i = 0; i < tilesM; ++i)
#pragma unroll
                for (int j = 0; j < tilesN; ++j)
                    multiplyAdd(sum[i][j], a[i], b[j / 2] + j % 2 * 2);
        }
    }

    /// True for the block that holds the whole sum of a tile.
    static DEVICE bool gather(
        const Operands &data, float4 (&sum)[tilesM][tilesN], unsigned *shared) {
        float4 *parts = data.partial + (size_t)blockIdx.x * gridDim.y * tilesM * tilesN * threads;
        size_t own = (size_t)blockIdx.y * tilesM * tilesN;
#pragma unroll
        for (int i = 0; i < tilesM; ++i)
#pragma unroll
            for (int j = 0; j < tilesN; ++j)
                parts[(own + i * tilesN + j) * threads + threadIdx.x] = sum[i][j];
        fence();
        barrier();
        if (threadIdx.x == 0) *shared = increment(data.counters + blockIdx.x);
        barrier();
        if (*shared != gridDim.y - 1) return false;
        fence();
#pragma unroll
        for (int i = 0; i < tilesM; ++i)
#pragma unroll
            for (int j = 0; j < tilesN; ++j) {
                float4 total = {0, 0, 0, 0};
                for (int z = 0; z < gridDim.y; ++z) {
                    size_t at = ((size_t)z * tilesM * tilesN + i * tilesN + j) * threads;
                    float4 part = loadFresh(parts + at + threadIdx.x);
                    total.x += part.x, total.y += part.y, total.z += part.z, total.w += part.w;
                }
                sum[i][j] = total;
            }
        if (threadIdx.x == 0) data.counters[blockIdx.x] = 0;
        barrier();
        return true;
    }

    /// Through shared memory, so that outputs leave in pieces of 16 bytes.
    static DEVICE void finish(
        const Shape &shape, const Operands &data, int m, int n, half16 *tile,
        const float4 (&sum)[tilesM][tilesN]) {
        constexpr int pitch = BN + 8;
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int i = 0; i < tilesM; ++i)
#pragma unroll
            for (int j = 0; j < tilesN; ++j) {
                int row = warp % WARPS_M * (BM / WARPS_M) + i * 16 + lane / 4;
                int column = warp / WARPS_M * (BN / WARPS_N) + j * 8 + lane % 4 * 2;
                bool in = n + column < shape.filters;
                float b0 = in ? data.bias[n + column] : 0, b1 = in ? data.bias[n + column + 1] : 0;
                half16 *to = tile + row * pitch + column;
                *(unsigned *)to = pack(sum[i][j].x + b0, sum[i][j].y + b1);
                *(unsigned *)(to + 8 * pitch) = pack(sum[i][j].z + b0, sum[i][j].w + b1);
            }
        barrier();
        int pixels = shape.batch * shape.outHeight * shape.outWidth;
        for (int e = threadIdx.x; e < BM * BN / 8; e += threads) {
            int row = e / (BN / 8), column = e % (BN / 8) * 8;
            if (m + row >= pixels || n + column >= shape.filters) continue;
            size_t at = (size_t)(m + row) * shape.pitch + n + column;
            uint4 value = *(const uint4 *)(tile + row * pitch + column);
            uint4 added = {0, 0, 0, 0};
            if (data.residual) added = *(const uint4 *)(data.residual + at);
            value.x = addPairs(value.x, added.x, data.relu);
            value.y = addPairs(value.y, added.y, data.relu);
            value.z = addPairs(value.z, added.z, data.relu);
            value.w = addPairs(value.w, added.w, data.relu);
            *(uint4 *)(data.y + at) = value;
        }
    }

    static DEVICE void run(const Shape &shape, const Operands &data, half16 *memory) {
        int columns = (shape.filters + BN - 1) / BN;
        int m = blockIdx.x / columns * BM, n = blockIdx.x % columns * BN;
        int steps = (shape.rows * shape.columns * shape.channels + BK - 1) / BK;
        int begin = steps * blockIdx.y / gridDim.y, end = steps * (blockIdx.y + 1) / gridDim.y;
        Loader loader(shape, data, m, n, begin);
        float4 sum[tilesM][tilesN];
#pragma unroll
        for (int i = 0; i < tilesM; ++i)
#pragma unroll
            for (int j = 0; j < tilesN; ++j) sum[i][j] = {0, 0, 0, 0};
        for (int step = 0; step < STAGES - 1; ++step) {
            if (begin + step < end) loader.load(memory + step * stage);
            commitCopies();
        }
        for (int step = begin; step < end; ++step) {
            waitForCopies<STAGES - 2>();
            barrier();
            int next = step + STAGES - 1;
            if (next < end) loader.load(memory + (next - begin) % STAGES * stage);
            commitCopies();  // also an empty group: the wait counts groups
            multiply(memory + (step - begin) % STAGES * stage, sum);
        }
        waitForCopies<0>();
        barrier();
        if (gridDim.y > 1 && !gather(data, sum, (unsigned *)memory)) return;
        finish(shape, data, m, n, memory, sum);
    }
};

#define KERNEL(name, BM, BN, BK, WARPS_M, WARPS_N, STAGES)                                  \
    extern "C" GLOBAL BOUNDS(32 * WARPS_M * WARPS_N) void name(Shape shape, Operands data) { \
        SHARED_MEMORY(memory);                                                               \
        Convolution<BM, BN, BK, WARPS_M, WARPS_N, STAGES>::run(shape, data, memory);         \
    }

KERNEL(conv_128x128x32_8, 128, 128, 32, 2, 4, 4)
KERNEL(conv_128x128x32_4, 128, 128, 32, 2, 2, 4)
KERNEL(conv_256x128x32_8, 256, 128, 32, 4, 2, 4)
KERNEL(conv_128x128x64_8, 128, 128, 64, 2, 4, 3)
KERNEL(conv_128x64x64_4, 128, 64, 64, 2, 2, 3)
KERNEL(conv_64x64x64_4, 64, 64, 64, 2, 2, 3)
KERNEL(conv_32x64x64_4, 32, 64, 64, 2, 2, 4)
