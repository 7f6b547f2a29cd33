// What the kernels need of the machine, as PTX. emulate.cpp has the same names for a processor.

#define DEVICE __device__ __forceinline__
#define GLOBAL __global__
#define BOUNDS(threads) __launch_bounds__(threads)
#define SHARED_MEMORY(name) extern __shared__ __align__(128) unsigned short name[]

typedef unsigned short half16;
typedef unsigned long long word64;

DEVICE void barrier() { __syncthreads(); }
DEVICE void fence() { __threadfence(); }
DEVICE unsigned increment(unsigned *at) { return atomicAdd(at, 1u); }

/// Sixteen bytes to shared memory; zeros where `in` is false.
DEVICE void copyAsync(half16 *to, const half16 *from, bool in) {
    unsigned at = (unsigned)__cvta_generic_to_shared(to);
    int bytes = in ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes)
                 : "memory");
}
DEVICE void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N>
DEVICE void waitForCopies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/// Four 8 x 8 matrices; the lane gives the address of one row.
DEVICE void loadMatrices(unsigned (&to)[4], const half16 *from) {
    unsigned at = (unsigned)__cvta_generic_to_shared(from);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
}

/// sum (16 x 8) += a (16 x 16) * b (16 x 8)
DEVICE void multiplyAdd(float4 &sum, const unsigned *a, const unsigned *b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(sum.x), "+f"(sum.y), "+f"(sum.z), "+f"(sum.w)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// Past the first-level cache, which does not see what other multiprocessors write.
DEVICE float4 loadFresh(const float4 *from) {
    float4 v;
    asm volatile("ld.global.cg.v4.f32 {%0,%1,%2,%3}, [%4];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "l"(from)
                 : "memory");
    return v;
}

DEVICE float widen(half16 value) {
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value));
    return result;
}
DEVICE unsigned pack(float low, float high) {
    unsigned result;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
    return result;
}
DEVICE unsigned addPairs(unsigned a, unsigned b, int relu) {
    float low = widen((half16)a) + widen((half16)b);
    float high = widen((half16)(a >> 16)) + widen((half16)(b >> 16));
    if (relu) low = low > 0 ? low : 0, high = high > 0 ? high : 0;
    return pack(low, high);
}

DEVICE word64 nanoseconds() {
    word64 now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    return now;
}
DEVICE unsigned multiprocessor() {
    unsigned id;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(id));
    return id;
}
/// A word that the host or another multiprocessor may write at any time.
DEVICE unsigned loadShared(const unsigned *from) {
    unsigned value;
    asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
    return value;
}
DEVICE void storeShared(unsigned *to, unsigned value) {
    asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}
