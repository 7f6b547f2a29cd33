#include "MatrixVectors.h"

#include "Operands.h"

#include "MatrixUnits.h"
#include "Pieces.h"
#include "Turn.h"

enum { TILE_NUMBERS = TILE_BYTES / 2 };

int64_t steps_of(int64_t numbers) { return (numbers + TILE_DEPTH - 1) / TILE_DEPTH; }

static int64_t tiles_of(int64_t columns) { return (columns + TILE_COLUMNS - 1) / TILE_COLUMNS; }

int64_t packed_keys_bytes(const kernels_attention *a, int64_t keys) {
  return steps_of(keys) * steps_of(a->depth) * 2 * a->pieces * TILE_BYTES;
}

int64_t packed_values_bytes(const kernels_attention *a, int64_t keys) {
  return steps_of(keys) * tiles_of(a->value_depth) * a->pieces * TILE_BYTES;
}

/// Sixteen numbers of a row, of which so many are there; zeros behind them.
INLINED floats taken(const void *base, int64_t index, int is_half, int64_t there) {
  if (there >= LANES) return load(base, index, is_half);
  if (there <= 0) return (floats){0};
  return load_some(base, index, is_half, there);
}

/// One step of a row in its pieces.
INLINED void put_step(
    const kernels_attention *a, const void *base, int64_t index, int is_half, int64_t there,
    uint16_t *to, int64_t piece_numbers) {
  for (int half = 0; half < TILE_DEPTH; half += LANES) {
    floats value = taken(base, index + half, is_half, there - half);
    put_number(value, to + half, piece_numbers, a->pieces);
  }
}

void fill_queries(
    const kernels_attention *a, const void *queries, int64_t first, int64_t count,
    uint16_t *filled) {
  for (int64_t row = first; row < first + count; row++)
    for (int64_t number = 0; number < a->depth; number += TILE_DEPTH) {
      put_step(
          a, queries, row * a->depth + number, a->queries_are_half, a->depth - number, filled,
          TILE_DEPTH);
      filled += a->pieces * TILE_DEPTH;
    }
}

/// Sixteen keys, one step of their numbers: two numbers of each key are as one, and rows become
/// columns.
static void pack_key_tile(
    const kernels_attention *a, const void *keys, int64_t first, int64_t count, int64_t number,
    uint16_t *packed) {
  words rows[2][LANES];
  for (int64_t key = 0; key < LANES; key++)
    put_step(
        a, keys, (first + key) * a->depth + number, a->keys_are_half,
        key < count ? a->depth - number : 0, (uint16_t *)&rows[0][key], LANES * TILE_DEPTH);
  for (int piece = 0; piece < a->pieces; piece++) {
    turn(rows[piece]);
    memcpy(packed + piece * TILE_NUMBERS, rows[piece], TILE_BYTES);
  }
}

void pack_keys(
    const kernels_attention *a, const void *keys, int64_t first, int64_t count,
    uint16_t *packed) {
  for (int64_t pair = 0; pair < count; pair += 2 * TILE_COLUMNS)
    for (int64_t number = 0; number < a->depth; number += TILE_DEPTH)
      for (int64_t tile = pair; tile < pair + 2 * TILE_COLUMNS; tile += TILE_COLUMNS) {
        pack_key_tile(a, keys, first + tile, count - tile, number, packed);
        packed += a->pieces * TILE_NUMBERS;
      }
}

INLINED words joined(halves even, halves odd) {
  return __builtin_convertvector(even, words) | __builtin_convertvector(odd, words) << 16;
}

/// Sixteen numbers of the values of a step.
static void pack_value_tile(
    const kernels_attention *a, const void *values, int64_t first, int64_t count, int64_t number,
    uint16_t *packed) {
  words *to = (words *)packed, *below = (words *)(packed + TILE_NUMBERS);
  for (int64_t key = 0; key < TILE_DEPTH; key += 2) {
    int64_t index = (first + key) * a->value_depth + number, there = a->value_depth - number;
    floats even = taken(values, index, a->values_are_half, key < count ? there : 0);
    floats odd = taken(
        values, index + a->value_depth, a->values_are_half, key + 1 < count ? there : 0);
    if (a->pieces > 1) {
      halves high[2], low[2];
      split(even, &high[0], &low[0]);
      split(odd, &high[1], &low[1]);
      *to++ = joined(high[0], high[1]);
      *below++ = joined(low[0], low[1]);
    } else {
      *to++ = joined(rounded(even), rounded(odd));
    }
  }
}

void pack_values(
    const kernels_attention *a, const void *values, int64_t first, int64_t count,
    uint16_t *packed) {
  int64_t columns = tiles_of(a->value_depth);
  for (int64_t pair = 0; pair < columns; pair += 2)
    for (int64_t key = 0; key < count; key += TILE_DEPTH)
      for (int64_t tile = pair; tile < columns && tile < pair + 2; tile++) {
        pack_value_tile(
            a, values, first + key, count - key, tile * TILE_COLUMNS, packed);
        packed += a->pieces * TILE_NUMBERS;
      }
}

#if defined(__x86_64__)
#pragma clang attribute pop
#endif
