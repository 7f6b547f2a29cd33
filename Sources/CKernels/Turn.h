// Sixteen vectors of sixteen numbers, turned, and two of them zipped.

#pragma once

#include "Vectors.h"

/// Numbers of two vectors side by side, eight of each from `from` on.
#define ZIPPED(a, b, from) \
  __builtin_shufflevector( \
      a, b, from, 16 + from, 1 + from, 17 + from, 2 + from, 18 + from, 3 + from, 19 + from, \
      4 + from, 20 + from, 5 + from, 21 + from, 6 + from, 22 + from, 7 + from, 23 + from)

/// Rows become columns: a quarter of the way with each round, in which the upper rows are zipped
/// with the lower ones.
INLINED void turn(words *rows) {
#pragma clang loop unroll(full)
  for (int round = 0; round < 4; round++) {
    words zipped[LANES];
#pragma clang loop unroll(full)
    for (int row = 0; row < LANES / 2; row++) {
      zipped[2 * row] = ZIPPED(rows[row], rows[row + LANES / 2], 0);
      zipped[2 * row + 1] = ZIPPED(rows[row], rows[row + LANES / 2], 8);
    }
#pragma clang loop unroll(full)
    for (int row = 0; row < LANES; row++) rows[row] = zipped[row];
  }
}
