#ifndef STOWAGE_ATTENTION_H
#define STOWAGE_ATTENTION_H

// softmax(Q·Kᵀ·scale + mask)·V on the processor's matrix units.

#include <stdint.h>

typedef struct {
  /// Heads of all samples; queries and keys of a head.
  int64_t heads, queries, keys;
  /// Numbers of a query and of a key, and of a value.
  int64_t depth, value_depth;
  float scale;
  /// Numbers of BF16 as whose sum each number is multiplied: 2, or 1 where BF16 is enough.
  int pieces;
  /// Whether numbers lie in BF16 instead of FP32.
  int queries_are_half, keys_are_half, values_are_half, target_is_half;
  /// Numbers of the mask from one query to the next and from one key to the next; the latter is 0
  /// or 1.
  int64_t mask_query, mask_key;
} kernels_attention;

typedef struct {
  /// [heads, queries or keys, depth].
  const void *queries, *keys, *values;
  /// Null for no mask, and where it begins for each head.
  const float *mask;
  const int64_t *mask_starts;
  void *target;
} kernels_attention_memory;

/// Parts of the work; those of a head follow each other.
int64_t kernels_attention_parts(const kernels_attention *attention);

/// Bytes of memory for each thread.
int64_t kernels_attention_scratch(const kernels_attention *attention);

/// Does the parts from `first` to before `last`, in scratch at a multiple of 64 bytes.
void kernels_attention_run(
    const kernels_attention *attention, const kernels_attention_memory *memory, int64_t first,
    int64_t last, void *scratch);

#endif
