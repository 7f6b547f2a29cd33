#ifndef STOWAGE_ONEDNN_H
#define STOWAGE_ONEDNN_H

// The calls of oneDNN that the CPU backend makes, the same for oneDNN 2 and 3: version 3 has no
// operation descriptors, hides what layouts are made of, and takes scales and zero points with each
// run instead of with the kernel.

#include <oneapi/dnnl/dnnl.h>
#include <stddef.h>
#include <stdint.h>

/// How a tensor lies in memory. Owned by whoever was given it.
typedef struct stowage_layout *stowage_layout_t;

/// In a layout that has a name, or in the one that a kernel likes best (`dnnl_format_tag_any`);
/// null where there is none.
stowage_layout_t stowage_layout_tagged(
    int rank, const int64_t *shape, dnnl_data_type_t type, dnnl_format_tag_t tag);

/// With so many elements from one place to the next along each axis; null where that cannot be.
stowage_layout_t stowage_layout_strided(
    int rank, const int64_t *shape, dnnl_data_type_t type, const int64_t *strides);

void stowage_layout_free(stowage_layout_t layout);

/// Bytes of memory, padding included.
size_t stowage_layout_size(stowage_layout_t layout);

/// Whether there is more memory than elements.
int stowage_layout_padded(stowage_layout_t layout);

int stowage_layout_equal(stowage_layout_t one, stowage_layout_t other);

/// A number that tells layouts apart, the same in every process (FNV-1a).
uint64_t stowage_layout_hash(stowage_layout_t layout);

/// The layout of one of a kernel's arguments; null where it has none.
stowage_layout_t stowage_layout_of(
    const_dnnl_primitive_desc_t kernel, dnnl_query_t argument);

/// Memory at an address.
dnnl_status_t stowage_memory(
    dnnl_memory_t *memory, stowage_layout_t layout, dnnl_engine_t engine, void *address);

/// A function of one number.
typedef struct {
  dnnl_alg_kind_t algorithm;
  float alpha, beta;
} stowage_function;

/// What a kernel does besides its operation.
typedef struct {
  /// Adds to what the destination holds.
  int adds;
  /// Functions of each result, one after another.
  const stowage_function *functions;
  int function_count;
  /// For 8-bit integers: what sums are multiplied by, one number or one for each channel, and zero
  /// points of source and destination; no scales for other kernels.
  const float *scales;
  int64_t scale_count;
  int32_t source_zero, destination_zero;
  /// Whether weights begin with an axis of groups.
  int has_groups;
} stowage_extras;

/// Whether scales and zero points are arguments of each run, and biases are added to sums that are
/// already scaled (version 3), or belong to the kernel, and biases are scaled like the sums.
int stowage_scales_are_arguments(void);

/// The one of these arguments for the bytes of which each run has to give memory, or 0: scales (0),
/// zero point of the source (1), zero point of the destination (2).
int stowage_quantization_argument(int which);

/// A window over the axes behind the channels: a place for each of them, dilation 0 for none.
typedef struct {
  const int64_t *kernel, *strides, *dilations, *before, *after;
} stowage_window;

dnnl_status_t stowage_convolution(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, dnnl_alg_kind_t algorithm,
    stowage_layout_t source, stowage_layout_t weights, stowage_layout_t bias,
    stowage_layout_t destination, stowage_window window, stowage_extras extras);

dnnl_status_t stowage_deconvolution(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, stowage_layout_t source,
    stowage_layout_t weights, stowage_layout_t bias, stowage_layout_t destination,
    stowage_window window, stowage_extras extras);

dnnl_status_t stowage_inner_product(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, stowage_layout_t source,
    stowage_layout_t weights, stowage_layout_t bias, stowage_layout_t destination,
    stowage_extras extras);

dnnl_status_t stowage_matrix_product(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, stowage_layout_t source,
    stowage_layout_t weights, stowage_layout_t destination, stowage_extras extras);

dnnl_status_t stowage_pool(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, dnnl_alg_kind_t algorithm,
    stowage_layout_t source, stowage_layout_t destination, stowage_window window);

/// Local response normalisation across channels.
dnnl_status_t stowage_local_response(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, stowage_layout_t layout, int64_t size,
    float alpha, float beta, float bias);

dnnl_status_t stowage_softmax(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, stowage_layout_t layout, int axis);

/// The functions of `extras` follow.
dnnl_status_t stowage_elementwise(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, stowage_function function,
    stowage_layout_t layout, stowage_extras extras);

dnnl_status_t stowage_binary(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, dnnl_alg_kind_t algorithm,
    stowage_layout_t first, stowage_layout_t second, stowage_layout_t destination);

dnnl_status_t stowage_copy(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, stowage_layout_t source,
    stowage_layout_t destination);

/// Bytes at the beginning of a kernel's scratchpad that no run touches.
size_t stowage_untouched_scratch(const_dnnl_primitive_desc_t kernel);

#endif
