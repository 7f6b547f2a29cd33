#include "CKernels.h"
#include "Functions.h"

/// To 4e-7 of it: where it is small a series, as the difference of two numbers near 1 keeps little.
INLINED floats hyperbolic_tangent(floats x) {
  floats square = x * x, sum = 62.0f / 2835 - square * (1382.0f / 155925);
  sum = sum * square - 17.0f / 315;
  sum = sum * square + 2.0f / 15;
  sum = sum * square - 1.0f / 3;
  floats small = x + x * square * sum;
  floats size = (floats)((words)x & 0x7FFFFFFF), zero = {0};
  floats large = 1.0f - 2.0f * reciprocal(1.0f + exponential(least(size + size, zero + 40.0f)));
  integers isSmall = size < 0.25f, isNumber = x == x;
  floats either = (floats)((isSmall & (integers)small) | (~isSmall & (integers)large));
  either = (floats)((words)either | ((words)x & 0x80000000));
  return (floats)((isNumber & (integers)either) | (~isNumber & (integers)x));
}

INLINED floats computed(const kernels_elements *e, kernels_elements_kind kind, floats a, floats b) {
  switch (kind) {
    case KERNELS_TANH: return hyperbolic_tangent(a);
    case KERNELS_SQUARE_ROOT: return __builtin_elementwise_sqrt(a);
    case KERNELS_ABSOLUTE: return (floats)((words)a & 0x7FFFFFFF);
    case KERNELS_SQUARE: return a * a;
    case KERNELS_ADD: return a + b;
    case KERNELS_SUBTRACT: return a - b;
    case KERNELS_MULTIPLY: return a * b;
    case KERNELS_DIVIDE: return a / b;
    default: return applied(&e->function, (kernels_function_kind)e->function.kind, a);
  }
}

INLINED void run(
    const kernels_elements *e, kernels_elements_kind kind, const float *a, const float *b,
    float *target, int64_t count) {
  int64_t place = 0;
  for (; place + LANES <= count; place += LANES)
    store(computed(e, kind, load(a, place, 0), load(b, place, 0)), target, place, 0, 0);
  int64_t left = count - place;
  if (left == 0) return;
  floats first = load_some(a, place, 0, left), second = load_some(b, place, 0, left);
  store_some(computed(e, kind, first, second), target, place, 0, left);
}

#define EACH(of) \
  case of: return run(e, of, a, b, target, count);

INLINED void run_any(
    const kernels_elements *e, const float *a, const float *b, float *target, int64_t count) {
  switch (e->kind) {
    EACH(KERNELS_TANH)
    EACH(KERNELS_SQUARE_ROOT)
    EACH(KERNELS_ABSOLUTE)
    EACH(KERNELS_SQUARE)
    EACH(KERNELS_ADD)
    EACH(KERNELS_SUBTRACT)
    EACH(KERNELS_MULTIPLY)
    EACH(KERNELS_DIVIDE)
    EACH(KERNELS_APPLY)
  }
}

#undef EACH

WIDE static void run_wide(
    const kernels_elements *e, const float *a, const float *b, float *target, int64_t count) {
  run_any(e, a, b, target, count);
}

NARROW static void run_narrow(
    const kernels_elements *e, const float *a, const float *b, float *target, int64_t count) {
  run_any(e, a, b, target, count);
}

void kernels_elements_run(
    const kernels_elements *e, const float *first, const float *second, float *target,
    int64_t count, bool wide) {
  const float *other = e->kind < KERNELS_ADD ? first : second;
  if (wide) run_wide(e, first, other, target, count);
  else run_narrow(e, first, other, target, count);
}
