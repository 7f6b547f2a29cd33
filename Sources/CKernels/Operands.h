// Queries, keys and values as matrix units read them.

#pragma once

#include "CKernels.h"

/// Keys of a block, whose scores and packed keys and values stay in the second cache.
enum { BLOCK_KEYS = 256 };

/// Steps of so many numbers.
int64_t steps_of(int64_t numbers);

/// Bytes of so many keys or values when packed, whose tiles are taken two by two.
int64_t packed_keys_bytes(const kernels_attention *attention, int64_t keys);
int64_t packed_values_bytes(const kernels_attention *attention, int64_t keys);

/// Copies queries: for each its steps, and for each of these its pieces.
void fill_queries(
    const kernels_attention *attention, const void *queries, int64_t first, int64_t count,
    uint16_t *filled);

/// Packs keys, of which each is a column; those behind the last are zeros.
void pack_keys(
    const kernels_attention *attention, const void *keys, int64_t first, int64_t count,
    uint16_t *packed);

/// Packs values, whose numbers are columns.
void pack_values(
    const kernels_attention *attention, const void *values, int64_t first, int64_t count,
    uint16_t *packed);
