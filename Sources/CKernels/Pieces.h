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

/// Writes twice sixteen numbers that follow each other, a line of the cache of each piece.
INLINED void put_line(floats first, floats second, uint16_t *place, int64_t piece_numbers) {
#ifdef ROUNDS_AT_ONCE
  __m512i above = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
  __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(above)), 16);
  __m512i next =
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(above, 1)), 16);
  __m512 below = (__m512)(first - (floats)high), after = (__m512)(second - (floats)next);
  _mm512_storeu_si512(place, above);
  _mm512_storeu_si512(place + piece_numbers, (__m512i)_mm512_cvtne2ps_pbh(after, below));
#else
  put(first, place, piece_numbers, LANES);
  put(second, place + LANES, piece_numbers, LANES);
#endif
}

/// Writes sixteen numbers in one piece or two.
INLINED void put_number(floats value, uint16_t *place, int64_t piece_numbers, int pieces) {
  if (pieces > 1) put(value, place, piece_numbers, LANES);
  else *(unaligned_halves *)place = rounded(value);
}
