#include "MatrixVectors.h"

#include "CKernels.h"
#include "Counts.h"
#include "Functions.h"
#include "MatrixUnits.h"
#include "Operands.h"
#include "Pieces.h"
#include "Turn.h"

// For some queries of a head it goes over the keys block by block, keeps the largest score so far
// and the sums relative to it, and corrects both when a larger one comes (Milakov and Gimelshein,
// "Online normalizer calculation for softmax", 2018). Scores are counted in powers of two; they
// become these powers and then their pieces where they are: two pieces of a number take its place.

enum {
  /// Queries of a part, and of two tiles.
  PART_QUERIES = 128, STRIP_QUERIES = 32,
  STRIPS = PART_QUERIES / STRIP_QUERIES,
  TABLES = BLOCK_KEYS / TILE_DEPTH,
  /// Scores of 32 queries and 32 keys.
  TABLE_NUMBERS = STRIP_QUERIES * TILE_DEPTH,
};

#define LOG2_E 1.44269504f

/// What is known of the queries of a strip, by row.
typedef struct {
  floats largest[2], totals[2];
} strip_state;

/// A thread's memory, in which each part begins at a multiple of 64 bytes.
typedef struct {
  strip_state states[STRIPS];
  /// For each row sixteen numbers whose largest or sum is that of the row.
  floats lanes[STRIP_QUERIES];
  /// What sums so far are multiplied with, row by row.
  float corrections[STRIP_QUERIES];
  float scores[TABLES * TABLE_NUMBERS] __attribute__((aligned(64)));
  float product[STRIP_QUERIES * 2 * TILE_COLUMNS] __attribute__((aligned(64)));
  int32_t score_offsets[TABLES];
} fixed_memory;

typedef struct {
  const kernels_attention *attention;
  const kernels_attention_memory *memory;
  fixed_memory *fixed;
  int32_t *query_offsets;
  uint16_t *queries, *keys, *values;
  /// [pairs of column tiles, queries of a part, columns of a pair].
  float *sums;
  int64_t head, first_query, first_key, key_count;
} work;

static int64_t whole_lines(int64_t bytes) { return (bytes + 63) / 64 * 64; }

static int64_t column_pairs(const kernels_attention *a) { return steps_of(a->value_depth); }

static int64_t parts_of_head(const kernels_attention *a) {
  return up(a->queries, PART_QUERIES);
}

int64_t kernels_attention_parts(const kernels_attention *a) {
  return a->heads * parts_of_head(a);
}

/// Bytes of a query in its pieces.
static int64_t query_bytes(const kernels_attention *a) {
  return steps_of(a->depth) * a->pieces * TILE_DEPTH * 2;
}

static int64_t block_keys(const kernels_attention *a) {
  return a->keys < BLOCK_KEYS ? a->keys : BLOCK_KEYS;
}

/// Where the parts of a thread's memory begin, in bytes, behind what is of one size.
typedef struct {
  int64_t query_offsets, queries, keys, values, sums, count;
} parts;

static parts divided(const kernels_attention *a) {
  parts at = {.query_offsets = whole_lines(sizeof(fixed_memory))};
  at.queries = at.query_offsets + whole_lines(steps_of(a->depth) * 4);
  at.keys = at.queries + query_bytes(a) * PART_QUERIES;
  at.values = at.keys + packed_keys_bytes(a, block_keys(a));
  at.sums = at.values + packed_values_bytes(a, block_keys(a));
  at.count = at.sums + column_pairs(a) * PART_QUERIES * 2 * TILE_COLUMNS * 4;
  return at;
}

int64_t kernels_attention_scratch(const kernels_attention *a) { return divided(a).count; }

// MARK: Scores

/// Sixteen scores of a row, scaled, with the mask if there is one; those of no key are the least.
INLINED floats masked_scores(
    const work *work, const float *scores, const float *mask, int64_t key) {
  int64_t there = work->key_count - key;
  floats x = *(const floats *)scores * (work->attention->scale * LOG2_E);
  if (mask && work->attention->mask_key == 0) x += mask[0] * LOG2_E;
  else if (mask && there >= LANES) x += load(mask, key, 0) * LOG2_E;
  else if (mask && there > 0) x += load_some(mask, key, 0, there) * LOG2_E;
  if (there >= LANES) return x;
  for (int64_t lane = there > 0 ? there : 0; lane < LANES; lane++) x[lane] = -__builtin_inff();
  return x;
}

/// Scales and masks a table of scores, and remembers the largest of each row.
static void finish_scores(
    const work *work, float *scores, int64_t query, int64_t rows, int64_t key) {
  const kernels_attention *a = work->attention;
  const float *mask = work->memory->mask;
  if (mask)
    mask += work->memory->mask_starts[work->head] + query * a->mask_query
        + work->first_key * a->mask_key;
  floats *lanes = work->fixed->lanes;
  for (int64_t row = 0; row < rows; row++, scores += TILE_DEPTH) {
    floats low = masked_scores(work, scores, mask, key);
    floats high = masked_scores(work, scores + LANES, mask, key + LANES);
    floats before = key == 0 ? (floats){0} - __builtin_inff() : lanes[row];
    lanes[row] = largest(high, largest(low, before));
    *(floats *)scores = low;
    *(floats *)(scores + LANES) = high;
    if (mask) mask += a->mask_query;
  }
}

/// Multiplies the queries of a strip with the keys of the block; a table is finished while the next
/// one is computed.
static void score(const work *work, int64_t first, int64_t rows) {
  const kernels_attention *a = work->attention;
  int64_t bytes = query_bytes(a), steps = steps_of(a->depth);
  const uint8_t *queries = (const uint8_t *)work->queries + first * bytes;
  int64_t query = work->first_query + first;
  block_product block = {
      .pixels = {queries, queries + TILE_ROWS * bytes}, .pixel_bytes = bytes,
      .piece_bytes = TILE_DEPTH * 2, .weights = (const uint8_t *)work->keys,
      .offsets = work->query_offsets, .steps = steps, .row_tiles = rows > TILE_ROWS ? 2 : 1,
      .column_tiles = 2, .pieces = a->pieces};
  int64_t tables = steps_of(work->key_count);
  for (int64_t table = 0; table < tables; table++) {
    float *scores = work->fixed->scores + table * TABLE_NUMBERS;
    multiply_block(&block);
    if (table > 0)
      finish_scores(work, scores - TABLE_NUMBERS, query, rows, (table - 1) * TILE_DEPTH);
    store_sums(&block, scores);
    block.weights += steps * 2 * a->pieces * TILE_BYTES;
  }
  float *last = work->fixed->scores + (tables - 1) * TABLE_NUMBERS;
  finish_scores(work, last, query, rows, (tables - 1) * TILE_DEPTH);
}

// MARK: Powers

/// Makes pieces of powers of a row's scores; returns numbers that add up to the sum of powers.
INLINED floats weigh_row(float *scores, int64_t tables, float base, int pieces) {
  floats total = {0};
  int isFine = pieces > 1;
  for (int64_t table = 0; table < tables; table++, scores += TABLE_NUMBERS) {
    uint16_t *to = (uint16_t *)scores;
    floats low = power_of_two(*(const floats *)scores - base, isFine);
    floats high = power_of_two(*(const floats *)(scores + LANES) - base, isFine);
    total += low + high;
    put_number(low, to, TILE_DEPTH, pieces);
    put_number(high, to + LANES, TILE_DEPTH, pieces);
  }
  return total;
}

/// For each of sixteen rows the largest of its numbers.
static void find_largest(const floats *lanes, floats *found) {
  words rows[LANES];
  memcpy(rows, lanes, sizeof rows);
  turn(rows);
  for (int row = 0; row < LANES; row++) *found = largest((floats)rows[row], *found);
}

/// For each of sixteen rows the sum of its numbers.
static floats summed(const floats *lanes) {
  words rows[LANES];
  memcpy(rows, lanes, sizeof rows);
  turn(rows);
  floats sum = {0};
  for (int row = 0; row < LANES; row++) sum += (floats)rows[row];
  return sum;
}

/// Makes pieces of powers of the scores of a strip's rows, relative to the largest so far.
static void weigh(const work *work, strip_state *state, int64_t rows) {
  fixed_memory *fixed = work->fixed;
  int64_t tables = steps_of(work->key_count);
  for (int64_t row = rows; row % LANES != 0; row++) fixed->lanes[row] = (floats){0};
  for (int64_t first = 0; first < rows; first += LANES) {
    floats *peak = &state->largest[first / LANES], before = *peak;
    find_largest(fixed->lanes + first, peak);
    // Nothing but masked keys so far: no sum to take them relative to.
    integers isNone = *peak == -__builtin_inff();
    floats base = (floats)(~isNone & (integers)*peak), correction = power_of_two(before - base, 1);
    for (int64_t row = first; row < rows && row < first + LANES; row++) {
      float *scores = fixed->scores + row * TILE_DEPTH;
      fixed->lanes[row] = work->attention->pieces > 1
          ? weigh_row(scores, tables, base[row - first], 2)
          : weigh_row(scores, tables, base[row - first], 1);
    }
    floats *total = &state->totals[first / LANES];
    *total = *total * correction + summed(fixed->lanes + first);
    memcpy(fixed->corrections + first, &correction, sizeof correction);
  }
}

// MARK: Values

/// Adds a product to the sums of the blocks before it.
static void add(const work *work, float *sums, int64_t rows, int64_t columns) {
  const float *product = work->fixed->product;
  for (int64_t row = 0; row < rows; row++)
    for (int64_t column = 0; column < columns; column += LANES, product += LANES, sums += LANES)
      *(floats *)sums =
          *(const floats *)sums * work->fixed->corrections[row] + *(const floats *)product;
}

/// Multiplies the powers of a strip with the values of the block.
static void multiply_values(const work *work, int64_t first, int64_t rows) {
  const kernels_attention *a = work->attention;
  const uint8_t *scores = (const uint8_t *)work->fixed->scores;
  block_product block = {
      .pixels = {scores, scores + TILE_ROWS * TILE_DEPTH * 4}, .pixel_bytes = TILE_DEPTH * 4,
      .piece_bytes = TILE_DEPTH * 2, .weights = (const uint8_t *)work->values,
      .offsets = work->fixed->score_offsets, .steps = steps_of(work->key_count),
      .row_tiles = rows > TILE_ROWS ? 2 : 1, .pieces = a->pieces};
  for (int64_t pair = 0; pair < column_pairs(a); pair++) {
    int64_t left = a->value_depth - pair * 2 * TILE_COLUMNS;
    block.column_tiles = left > TILE_COLUMNS ? 2 : 1;
    float *sums = work->sums + (pair * PART_QUERIES + first) * 2 * TILE_COLUMNS;
    multiply_block(&block);
    store_sums(&block, work->first_key == 0 ? sums : work->fixed->product);
    if (work->first_key > 0) add(work, sums, rows, block.column_tiles * TILE_COLUMNS);
    block.weights += block.steps * block.column_tiles * a->pieces * TILE_BYTES;
  }
}

/// Sums divided by what their weights add up to, to their place.
static void finish(const work *work, int64_t first, int64_t rows, const strip_state *state) {
  const kernels_attention *a = work->attention;
  float factors[STRIP_QUERIES];
  for (int tile = 0; tile < 2; tile++) {
    floats inverse = 1 / state->totals[tile];
    memcpy(factors + tile * LANES, &inverse, sizeof inverse);
  }
  int64_t start = (work->head * a->queries + work->first_query + first) * a->value_depth;
  for (int64_t column = 0; column < a->value_depth; column += LANES) {
    int64_t pair = column / (2 * TILE_COLUMNS), left = a->value_depth - column;
    int64_t pair_left = a->value_depth - pair * 2 * TILE_COLUMNS;
    int64_t distance = pair_left > TILE_COLUMNS ? 2 * TILE_COLUMNS : TILE_COLUMNS;
    const float *sums = work->sums + (pair * PART_QUERIES + first) * 2 * TILE_COLUMNS
        + column % (2 * TILE_COLUMNS);
    int64_t place = start + column;
    for (int64_t row = 0; row < rows; row++, sums += distance, place += a->value_depth) {
      floats x = *(const floats *)sums * factors[row];
      if (left >= LANES) store(x, work->memory->target, place, a->target_is_half, 0);
      else store_some(x, work->memory->target, place, a->target_is_half, left);
    }
  }
}

// MARK: Running

/// Packs a block of keys and their values, unless they are there already.
static void take_block(work *work, int64_t first_key, int64_t head, int64_t *packed) {
  const kernels_attention *a = work->attention;
  const kernels_attention_memory *memory = work->memory;
  int64_t left = a->keys - first_key;
  work->head = head;
  work->first_key = first_key;
  work->key_count = left < BLOCK_KEYS ? left : BLOCK_KEYS;
  int64_t first = head * a->keys + first_key;
  if (*packed == first) return;
  pack_keys(a, memory->keys, first, work->key_count, work->keys);
  pack_values(a, memory->values, first, work->key_count, work->values);
  *packed = first;
}

static void run_part(work *work, int64_t head, int64_t first_query, int64_t *packed) {
  const kernels_attention *a = work->attention;
  int64_t left = a->queries - first_query, count = left < PART_QUERIES ? left : PART_QUERIES;
  work->first_query = first_query;
  fill_queries(
      a, work->memory->queries, head * a->queries + first_query, count, work->queries);
  for (int64_t key = 0; key < a->keys; key += BLOCK_KEYS) {
    take_block(work, key, head, packed);
    for (int64_t first = 0; first < count; first += STRIP_QUERIES) {
      int64_t rows = count - first < STRIP_QUERIES ? count - first : STRIP_QUERIES;
      strip_state *state = &work->fixed->states[first / STRIP_QUERIES];
      if (key == 0)
        for (int tile = 0; tile < 2; tile++) {
          state->largest[tile] = (floats){0} - __builtin_inff();
          state->totals[tile] = (floats){0};
        }
      score(work, first, rows);
      weigh(work, state, rows);
      multiply_values(work, first, rows);
      if (key + BLOCK_KEYS >= a->keys) finish(work, first, rows, state);
    }
  }
}

void kernels_attention_run(
    const kernels_attention *a, const kernels_attention_memory *memory, int64_t first,
    int64_t last, void *scratch) {
  if (first >= last) return;
  parts at = divided(a);
  uint8_t *start = scratch;
  work work = {
      .attention = a, .memory = memory, .fixed = scratch,
      .query_offsets = (int32_t *)(start + at.query_offsets),
      .queries = (uint16_t *)(start + at.queries), .keys = (uint16_t *)(start + at.keys),
      .values = (uint16_t *)(start + at.values), .sums = (float *)(start + at.sums)};
  for (int64_t step = 0; step < steps_of(a->depth); step++)
    work.query_offsets[step] = (int32_t)(step * a->pieces * TILE_DEPTH * 2);
  for (int table = 0; table < TABLES; table++)
    work.fixed->score_offsets[table] = table * TABLE_NUMBERS * 4;
  int64_t each = parts_of_head(a), packed = -1;
  matrix_units_begin();
  for (int64_t part = first; part < last; part++)
    run_part(&work, part / each, part % each * PART_QUERIES, &packed);
  matrix_units_end();
}

#if defined(__x86_64__)
#pragma clang attribute pop
#endif
