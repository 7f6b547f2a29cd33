// Numbers of FP32 as sums of two of BF16.

#pragma once

#include "Vectors.h"

/// The upper piece: the nearest BF16, the larger of two.
INLINED words upper(floats value) { return ((words)value + 0x8000) & 0xFFFF0000; }

INLINED halves packed(words value) { return __builtin_convertvector(value >> 16, halves); }

/// Both pieces.
INLINED void split(floats value, halves *above, halves *below) {
  words high = upper(value);
  *above = packed(high);
  // What is not a number may be lost above, and stays here.
  *below = rounded(value - (floats)high);
}

/// Writes sixteen numbers, or the first of them, in two pieces.
INLINED void put(floats value, uint16_t *place, int64_t piece_numbers, int64_t count) {
  halves above, below;
  split(value, &above, &below);
  if (count == LANES) {
    *(unaligned_halves *)place = above;
    *(unaligned_halves *)(place + piece_numbers) = below;
  } else {
    memcpy(place, &above, (size_t)count * 2);
    memcpy(place + piece_numbers, &below, (size_t)count * 2);
  }
}

/// Writes sixteen numbers in one piece or two.
INLINED void put_number(floats value, uint16_t *place, int64_t piece_numbers, int pieces) {
  if (pieces > 1) put(value, place, piece_numbers, LANES);
  else *(unaligned_halves *)place = rounded(value);
}
