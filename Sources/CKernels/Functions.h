// Functions of sixteen numbers at once.

#pragma once

#include "CKernels.h"
#include "Vectors.h"

INLINED floats least(floats a, floats b) {
#ifdef ROUNDS_AT_ONCE
  // Of two numbers that cannot be compared the second, as below.
  return (floats)_mm512_min_ps((__m512)a, (__m512)b);
#else
  integers isLess = a < b;
  return (floats)((isLess & (integers)a) | (~isLess & (integers)b));
#endif
}

INLINED floats largest(floats a, floats b) {
#ifdef ROUNDS_AT_ONCE
  return (floats)_mm512_max_ps((__m512)a, (__m512)b);
#else
  integers isMore = a > b;
  return (floats)((isMore & (integers)a) | (~isMore & (integers)b));
#endif
}

/// e to the power x, to 2 units in the last place: 2 to a whole power, and a polynomial for what is
/// left (Cody and Waite's reduction, coefficients of Taylor's series to the seventh power).
INLINED floats exponential(floats x) {
  x = largest(least(x, (floats){0} + 88.0f), (floats){0} - 87.0f);
  floats scaled = x * 1.44269504f + 12582912.0f, whole = scaled - 12582912.0f;
  floats rest = x - whole * 0.693359375f + whole * 2.12194440e-4f;
  floats sum = rest * (1.0f / 5040) + 1.0f / 720;
  sum = sum * rest + 1.0f / 120;
  sum = sum * rest + 1.0f / 24;
  sum = sum * rest + 1.0f / 6;
  sum = sum * rest + 0.5f;
  sum = sum * rest + 1.0f;
  sum = sum * rest + 1.0f;
  integers power = __builtin_convertvector(whole, integers) + 127;
  return sum * (floats)(power << 23);
}

/// 2 to the power x for x up to zero, and nothing below -126: a whole power times a polynomial
/// (Remez's exchange) that is off by 8e-8 at most, or, where it need not be fine, by 8e-5. What is
/// not a number stays so.
INLINED floats power_of_two(floats x, int isFine) {
  // Adding 1.5·2^23 rounds to a whole number, which then stands in the lowest bits.
  const float shift = 12582912.0f + 127;
  x = largest((floats){0} - 127.0f, x);
  floats shifted = x + shift, rest = x - (shifted - shift), sum;
  if (isFine) {
    sum = rest * 0.00132764725f + 0.00967554096f;
    sum = sum * rest + 0.0555071309f;
    sum = sum * rest + 0.240221202f;
    sum = sum * rest + 0.693146944f;
    sum = sum * rest + 1.00000012f;
  } else {
    sum = rest * 0.0551716685f + 0.242611125f;
    sum = sum * rest + 0.693260968f;
    sum = sum * rest + 0.999928057f;
  }
  return sum * (floats)((words)shifted << 23);
}

/// 1 / x for x from 1 on, to 1e-7: a first guess by taking the bits from those of a constant, and
/// Newton's steps, which take a third of the time of a division.
INLINED floats reciprocal(floats x) {
  floats guess = (floats)(0x7EF311C7 - (integers)x);
  for (int step = 0; step < 3; step++) guess *= 2.0f - x * guess;
  return guess;
}

INLINED floats logistic(floats x) {
  return reciprocal(1.0f + exponential(least(-x, (floats){0} + 80.0f)));
}

/// The distribution function of a normal distribution, to 1e-7 (Abramowitz and Stegun, 7.1.26).
INLINED floats normal_share(floats x) {
  floats size = (floats)((words)x & 0x7FFFFFFF) * 0.707106781f;
  floats t = reciprocal(1.0f + size * 0.3275911f);
  floats sum = t * 1.061405429f - 1.453152027f;
  sum = sum * t + 1.421413741f;
  sum = sum * t - 0.284496736f;
  sum = (sum * t + 0.254829592f) * t;
  // Further down results would be denormal numbers, each of which takes a hundred times as long.
  floats power = largest(-size * size, (floats){0} - 80.0f);
  floats beyond = sum * exponential(power) * 0.5f;
  integers isBelow = x < 0;
  return (floats)((isBelow & (integers)beyond) | (~isBelow & (integers)(1.0f - beyond)));
}

INLINED floats applied(const kernels_function *function, kernels_function_kind kind, floats x) {
  floats zero = {0}, alpha = zero + function->alpha, beta = zero + function->beta;
  switch (kind) {
    case KERNELS_LINE: return x * alpha + beta;
    case KERNELS_CLIP: return least(largest(x, alpha), beta);
    case KERNELS_RELU: return largest(x, zero) + alpha * least(x, zero);
    case KERNELS_HARD_SWISH:
      return x * least(largest(x * (1.0f / 6) + 0.5f, zero), zero + 1.0f);
    case KERNELS_LOGISTIC: return logistic(x);
    case KERNELS_SWISH: return x * logistic(x * alpha);
    case KERNELS_GELU: return x * normal_share(x);
    default: return x * logistic(x * (x * x * 0.0713548162726f + 1.59576912161f));
  }
}

#define EACH_FUNCTION(of) \
  of(KERNELS_LINE) of(KERNELS_CLIP) of(KERNELS_RELU) of(KERNELS_HARD_SWISH) \
  of(KERNELS_LOGISTIC) of(KERNELS_SWISH) of(KERNELS_GELU) of(KERNELS_GELU_TANH)

#define EACH(kind) \
  case kind: \
    for (int64_t row = 0; row < rows; row++, x += stride) \
      *(floats *)x = applied(function, kind, *(const floats *)x); \
    break;

/// Applies a function to sixteen numbers of each row.
INLINED void apply_function(
    const kernels_function *function, float *x, int64_t rows, int64_t stride) {
  switch (function->kind) {
    EACH_FUNCTION(EACH)
  }
}

#undef EACH
