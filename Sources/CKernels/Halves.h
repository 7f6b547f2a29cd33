// Functions whose results are kept in BF16, for which 13 significant bits are plenty.

#pragma once

#include "Functions.h"

/// x × logistic(alpha × x) to 2e-4: 2 to a whole power, a polynomial of the third degree for what
/// is left, and the processor's estimate of a reciprocal.
INLINED floats roughly_swish(floats x, float alpha) {
#ifdef ROUNDS_AT_ONCE
  // No power so small that adding it takes the slow way of denormal numbers.
  floats zero = {0}, power = x * (alpha * -1.44269504f);
  power = largest(least(power, zero + 126.0f), zero - 100.0f);
  floats whole = (floats)_mm512_roundscale_ps((__m512)power, _MM_FROUND_TO_NEAREST_INT);
  floats rest = power - whole, sum = rest * 0.05517163f + 0.24261112f;
  sum = (sum * rest + 0.69326099f) * rest + 0.99992807f;
  __m512 exponential = _mm512_scalef_ps((__m512)sum, (__m512)whole);
  return x * (floats)_mm512_rcp14_ps(_mm512_add_ps(exponential, _mm512_set1_ps(1)));
#else
  return x * logistic(x * alpha);
#endif
}
