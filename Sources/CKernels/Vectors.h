// Vectors of sixteen numbers, which the compiler makes of what registers there are.

#pragma once

#include <stdint.h>
#include <string.h>

// Everything here is inlined, so that no vector crosses a call between differently compiled code.
#pragma clang diagnostic ignored "-Wpsabi"

#define INLINED static inline __attribute__((always_inline))

// The one place that knows instruction sets: functions compiled for wide vectors run only where the
// caller knows them to be there.
#if defined(__x86_64__)
#define WIDE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define NARROW __attribute__((target("avx2,fma")))
#else
#define WIDE
#define NARROW
#endif

enum { LANES = 16 };

typedef float floats __attribute__((vector_size(64)));
typedef int32_t integers __attribute__((vector_size(64)));
typedef uint32_t words __attribute__((vector_size(64)));
typedef uint16_t halves __attribute__((vector_size(32)));
typedef floats unaligned_floats __attribute__((aligned(4)));
typedef halves unaligned_halves __attribute__((aligned(2)));

/// Sixteen numbers from the place with an index, as FP32.
INLINED floats load(const void *base, int64_t index, int is_half) {
  if (!is_half) return *(const unaligned_floats *)((const float *)base + index);
  halves bits = *(const unaligned_halves *)((const uint16_t *)base + index);
  return (floats)(__builtin_convertvector(bits, words) << 16);
}

/// The nearest BF16, the even one of two; NaN stays NaN.
INLINED halves rounded(floats value) {
#ifdef ROUNDS_AT_ONCE
  return (halves)_mm512_cvtneps_pbh((__m512)value);
#else
  words bits = (words)value, isNaN = (words)(value != value);
  words nearest = bits + 0x7FFF + ((bits >> 16) & 1);
  return __builtin_convertvector(((isNaN & 0x7FC00000) | (~isNaN & nearest)) >> 16, halves);
#endif
}

/// Stores the lanes from `first` on.
INLINED void store(floats value, void *base, int64_t index, int is_half, int64_t first) {
  if (is_half) {
    uint16_t *place = (uint16_t *)base + index;
    halves bits = rounded(value);
    if (first == 0) *(unaligned_halves *)place = bits;
    else for (int64_t lane = first; lane < LANES; lane++) place[lane] = bits[lane];
  } else {
    float *place = (float *)base + index;
    if (first == 0) *(unaligned_floats *)place = value;
    else for (int64_t lane = first; lane < LANES; lane++) place[lane] = value[lane];
  }
}

/// Sixteen numbers at most, in the first lanes.
INLINED floats load_some(const void *base, int64_t index, int is_half, int64_t count) {
  uint8_t bytes[LANES * sizeof(float)] = {0};
  int64_t size = is_half ? 2 : 4;
  memcpy(bytes, (const uint8_t *)base + index * size, (size_t)(count * size));
  return load(bytes, 0, is_half);
}

INLINED void store_some(floats value, void *base, int64_t index, int is_half, int64_t count) {
  uint8_t bytes[LANES * sizeof(float)];
  int64_t size = is_half ? 2 : 4;
  store(value, bytes, 0, is_half, 0);
  memcpy((uint8_t *)base + index * size, bytes, (size_t)(count * size));
}

INLINED floats clamped(floats value) {
#ifdef ROUNDS_AT_ONCE
  return (floats)_mm512_max_ps(_mm512_setzero_ps(), (__m512)value);
#else
  integers isBelow = value < 0;
  return (floats)(~isBelow & (integers)value);
#endif
}
