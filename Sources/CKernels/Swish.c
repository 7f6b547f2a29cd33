#include "MatrixVectors.h"

#include "CKernels.h"
#include "Halves.h"

void kernels_swish(uint16_t *numbers, int64_t count, float alpha) {
  int64_t place = 0;
  for (; place + LANES <= count; place += LANES)
    store(roughly_swish(load(numbers, place, 1), alpha), numbers, place, 1, 0);
  int64_t left = count - place;
  if (left > 0)
    store_some(
        roughly_swish(load_some(numbers, place, 1, left), alpha), numbers, place, 1, left);
}

#if defined(__x86_64__)
#pragma clang attribute pop
#endif
