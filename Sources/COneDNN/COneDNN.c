#include "COneDNN.h"

#include <stdlib.h>
#include <string.h>

// MARK: Layouts

#if DNNL_VERSION_MAJOR < 3

struct stowage_layout {
  dnnl_memory_desc_t raw;
};

#define RAW(layout) ((layout) ? &(layout)->raw : NULL)
typedef const dnnl_memory_desc_t *raw_t;

static stowage_layout_t copied(const dnnl_memory_desc_t *raw) {
  stowage_layout_t layout = malloc(sizeof(struct stowage_layout));
  if (layout) layout->raw = *raw;
  return layout;
}

stowage_layout_t stowage_layout_tagged(
    int rank, const int64_t *shape, dnnl_data_type_t type, dnnl_format_tag_t tag) {
  dnnl_memory_desc_t raw;
  memset(&raw, 0, sizeof raw);
  dnnl_status_t status = dnnl_memory_desc_init_by_tag(&raw, rank, shape, type, tag);
  return status == dnnl_success ? copied(&raw) : NULL;
}

stowage_layout_t stowage_layout_strided(
    int rank, const int64_t *shape, dnnl_data_type_t type, const int64_t *strides) {
  dnnl_memory_desc_t raw;
  memset(&raw, 0, sizeof raw);
  dnnl_status_t status = dnnl_memory_desc_init_by_strides(&raw, rank, shape, type, strides);
  return status == dnnl_success ? copied(&raw) : NULL;
}

void stowage_layout_free(stowage_layout_t layout) { free(layout); }

#else

struct stowage_layout {
  dnnl_memory_desc_t raw;
};

#define RAW(layout) ((layout) ? (layout)->raw : NULL)
typedef const_dnnl_memory_desc_t raw_t;

/// Takes a descriptor over.
static stowage_layout_t owned(dnnl_memory_desc_t raw) {
  stowage_layout_t layout = malloc(sizeof(struct stowage_layout));
  if (layout) layout->raw = raw;
  else dnnl_memory_desc_destroy(raw);
  return layout;
}

static stowage_layout_t copied(const_dnnl_memory_desc_t raw) {
  dnnl_memory_desc_t copy = NULL;
  return dnnl_memory_desc_clone(&copy, raw) == dnnl_success ? owned(copy) : NULL;
}

stowage_layout_t stowage_layout_tagged(
    int rank, const int64_t *shape, dnnl_data_type_t type, dnnl_format_tag_t tag) {
  dnnl_memory_desc_t raw = NULL;
  dnnl_status_t status = dnnl_memory_desc_create_with_tag(&raw, rank, shape, type, tag);
  return status == dnnl_success ? owned(raw) : NULL;
}

stowage_layout_t stowage_layout_strided(
    int rank, const int64_t *shape, dnnl_data_type_t type, const int64_t *strides) {
  dnnl_memory_desc_t raw = NULL;
  dnnl_status_t status = dnnl_memory_desc_create_with_strides(&raw, rank, shape, type, strides);
  return status == dnnl_success ? owned(raw) : NULL;
}

void stowage_layout_free(stowage_layout_t layout) {
  if (!layout) return;
  dnnl_memory_desc_destroy(layout->raw);
  free(layout);
}

#endif

size_t stowage_layout_size(stowage_layout_t layout) {
  return dnnl_memory_desc_get_size(RAW(layout));
}

int stowage_layout_padded(stowage_layout_t layout) {
#if DNNL_VERSION_MAJOR < 3
  const int64_t *shape = layout->raw.dims, *padded = layout->raw.padded_dims;
  int rank = layout->raw.ndims;
#else
  const dnnl_dims_t *dims = NULL, *padded_dims = NULL;
  int rank = 0;
  dnnl_memory_desc_query(layout->raw, dnnl_query_ndims_s32, &rank);
  dnnl_memory_desc_query(layout->raw, dnnl_query_dims, &dims);
  if (dnnl_memory_desc_query(layout->raw, dnnl_query_padded_dims, &padded_dims) != dnnl_success)
    return 0;
  const int64_t *shape = *dims, *padded = *padded_dims;
#endif
  return memcmp(shape, padded, (size_t)rank * sizeof(int64_t)) != 0;
}

int stowage_layout_equal(stowage_layout_t one, stowage_layout_t other) {
  return dnnl_memory_desc_equal(RAW(one), RAW(other));
}

static uint64_t hash(const void *bytes, size_t count) {
  uint64_t sum = 0xCBF29CE484222325;
  for (size_t index = 0; index < count; index++)
    sum = (sum ^ ((const uint8_t *)bytes)[index]) * 0x100000001B3;
  return sum;
}

#if DNNL_VERSION_MAJOR < 3

uint64_t stowage_layout_hash(stowage_layout_t layout) {
  return hash(&layout->raw, sizeof layout->raw);
}

#elif DNNL_VERSION_MAJOR > 3 || DNNL_VERSION_MINOR >= 4

uint64_t stowage_layout_hash(stowage_layout_t layout) {
  size_t size = 0;
  if (dnnl_memory_desc_get_blob(NULL, &size, layout->raw) != dnnl_success) return 0;
  uint8_t *blob = calloc(1, size);
  if (!blob) return 0;
  dnnl_memory_desc_get_blob(blob, &size, layout->raw);
  uint64_t sum = hash(blob, size);
  free(blob);
  return sum;
}

#else

// Until 3.4 a layout cannot be read as a whole: what can be asked for has to do.
uint64_t stowage_layout_hash(stowage_layout_t layout) {
  struct {
    int32_t rank, type, kind, blocks;
    dnnl_dims_t shape, padded, strides, sizes, axes;
    size_t bytes;
  } parts;
  memset(&parts, 0, sizeof parts);
  const_dnnl_memory_desc_t raw = layout->raw;
  const dnnl_dims_t *found = NULL;
  dnnl_memory_desc_query(raw, dnnl_query_ndims_s32, &parts.rank);
  dnnl_memory_desc_query(raw, dnnl_query_data_type, &parts.type);
  dnnl_memory_desc_query(raw, dnnl_query_format_kind, &parts.kind);
  dnnl_memory_desc_query(raw, dnnl_query_inner_nblks_s32, &parts.blocks);
  size_t outer = sizeof(int64_t) * (size_t)parts.rank;
  size_t inner = sizeof(int64_t) * (size_t)parts.blocks;
  if (dnnl_memory_desc_query(raw, dnnl_query_dims, &found) == dnnl_success)
    memcpy(parts.shape, found, outer);
  if (dnnl_memory_desc_query(raw, dnnl_query_padded_dims, &found) == dnnl_success)
    memcpy(parts.padded, found, outer);
  if (dnnl_memory_desc_query(raw, dnnl_query_strides, &found) == dnnl_success)
    memcpy(parts.strides, found, outer);
  if (dnnl_memory_desc_query(raw, dnnl_query_inner_blks, &found) == dnnl_success)
    memcpy(parts.sizes, found, inner);
  if (dnnl_memory_desc_query(raw, dnnl_query_inner_idxs, &found) == dnnl_success)
    memcpy(parts.axes, found, inner);
  parts.bytes = dnnl_memory_desc_get_size(raw);
  return hash(&parts, sizeof parts);
}

#endif

stowage_layout_t stowage_layout_of(
    const_dnnl_primitive_desc_t kernel, dnnl_query_t argument) {
  raw_t raw = dnnl_primitive_desc_query_md(kernel, argument, 0);
  return raw ? copied(raw) : NULL;
}

dnnl_status_t stowage_memory(
    dnnl_memory_t *memory, stowage_layout_t layout, dnnl_engine_t engine, void *address) {
  return dnnl_memory_create(memory, RAW(layout), engine, address);
}

// MARK: What kernels do besides

int stowage_scales_are_arguments(void) { return DNNL_VERSION_MAJOR >= 3; }

int stowage_quantization_argument(int which) {
#if DNNL_VERSION_MAJOR < 3
  (void)which;
  return 0;
#else
  switch (which) {
    case 0: return DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS;
    case 1: return DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_SRC;
    default: return DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_DST;
  }
#endif
}

static dnnl_status_t set_scales(dnnl_primitive_attr_t attributes, const stowage_extras *extras) {
#if DNNL_VERSION_MAJOR < 3
  dnnl_status_t status = dnnl_primitive_attr_set_output_scales(
      attributes, extras->scale_count, extras->scale_count > 1 ? 1 << 1 : 0, extras->scales);
  if (status == dnnl_success && extras->source_zero)
    status = dnnl_primitive_attr_set_zero_points(
        attributes, DNNL_ARG_SRC, 1, 0, &extras->source_zero);
  if (status == dnnl_success && extras->destination_zero)
    status = dnnl_primitive_attr_set_zero_points(
        attributes, DNNL_ARG_DST, 1, 0, &extras->destination_zero);
#else
  int mask = extras->scale_count > 1 ? (extras->has_groups ? 3 : 1) : 0;
  dnnl_status_t status = dnnl_primitive_attr_set_scales_mask(attributes, DNNL_ARG_WEIGHTS, mask);
  if (status == dnnl_success && extras->source_zero)
    status = dnnl_primitive_attr_set_zero_points_mask(attributes, DNNL_ARG_SRC, 0);
  if (status == dnnl_success && extras->destination_zero)
    status = dnnl_primitive_attr_set_zero_points_mask(attributes, DNNL_ARG_DST, 0);
#endif
  return status;
}

/// A function with the constants that version 2 has built in.
static stowage_function completed(stowage_function function) {
#if DNNL_VERSION_MAJOR >= 3
  if (function.algorithm == dnnl_eltwise_hardswish) {
    function.alpha = 1.0f / 6;
    function.beta = 0.5f;
  }
#endif
  return function;
}

static dnnl_status_t append(dnnl_post_ops_t operations, stowage_function function) {
  function = completed(function);
#if DNNL_VERSION_MAJOR < 3
  return dnnl_post_ops_append_eltwise(
      operations, 1, function.algorithm, function.alpha, function.beta);
#else
  return dnnl_post_ops_append_eltwise(
      operations, function.algorithm, function.alpha, function.beta);
#endif
}

static dnnl_status_t append_sum(dnnl_post_ops_t operations) {
#if DNNL_VERSION_MAJOR < 3
  return dnnl_post_ops_append_sum(operations, 1);
#else
  return dnnl_post_ops_append_sum(operations, 1, 0, dnnl_data_type_undef);
#endif
}

/// Attributes to be destroyed by the caller; null where they cannot be.
static dnnl_primitive_attr_t attributes(const stowage_extras *extras) {
  dnnl_primitive_attr_t result = NULL;
  if (dnnl_primitive_attr_create(&result) != dnnl_success) return NULL;
  dnnl_post_ops_t operations = NULL;
  dnnl_status_t status = dnnl_primitive_attr_set_scratchpad_mode(result, dnnl_scratchpad_mode_user);
  if (status == dnnl_success) status = dnnl_post_ops_create(&operations);
  if (status == dnnl_success && extras && extras->scales) status = set_scales(result, extras);
  if (status == dnnl_success && extras && extras->adds) status = append_sum(operations);
  for (int index = 0; extras && index < extras->function_count; index++)
    if (status == dnnl_success) status = append(operations, extras->functions[index]);
  if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(result, operations);
  if (operations) dnnl_post_ops_destroy(operations);
  if (status == dnnl_success) return result;
  dnnl_primitive_attr_destroy(result);
  return NULL;
}

// MARK: Kernels

#if DNNL_VERSION_MAJOR < 3

/// Makes a kernel of an operation descriptor.
static dnnl_status_t made(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, dnnl_status_t status,
    const_dnnl_op_desc_t operation, const stowage_extras *extras) {
  if (status != dnnl_success) return status;
  dnnl_primitive_attr_t own = attributes(extras);
  if (!own) return dnnl_invalid_arguments;
  status = dnnl_primitive_desc_create(kernel, operation, own, engine, NULL);
  dnnl_primitive_attr_destroy(own);
  return status;
}

#define MAKE(type, extras, two, three)                   \
  dnnl_##type##_desc_t operation;                        \
  dnnl_status_t status = two;                            \
  return made(kernel, engine, status, &operation, extras)

#else

#define MAKE(type, extras, two, three)             \
  dnnl_primitive_attr_t own = attributes(extras);  \
  if (!own) return dnnl_invalid_arguments;         \
  dnnl_status_t status = three;                    \
  dnnl_primitive_attr_destroy(own);                \
  return status

#endif

static dnnl_status_t convolution(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, dnnl_alg_kind_t algorithm,
    stowage_layout_t source, stowage_layout_t weights, stowage_layout_t bias,
    stowage_layout_t destination, stowage_window window, stowage_extras extras) {
  MAKE(
      convolution, &extras,
      dnnl_dilated_convolution_forward_desc_init(
          &operation, dnnl_forward_inference, algorithm, RAW(source), RAW(weights), RAW(bias),
          RAW(destination), window.strides, window.dilations, window.before, window.after),
      dnnl_convolution_forward_primitive_desc_create(
          kernel, engine, dnnl_forward_inference, algorithm, RAW(source), RAW(weights), RAW(bias),
          RAW(destination), window.strides, window.dilations, window.before, window.after, own));
}

dnnl_status_t stowage_convolution(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, dnnl_alg_kind_t algorithm,
    stowage_layout_t source, stowage_layout_t weights, stowage_layout_t bias,
    stowage_layout_t destination, stowage_window window, stowage_extras extras) {
  dnnl_status_t status = convolution(
      kernel, engine, algorithm, source, weights, bias, destination, window, extras);
#if DNNL_VERSION_MAJOR >= 3
  // With zero points of the source, version 3.6.2's convolutions by batches of small products
  // answer wrongly for some windows; the next kernel is taken instead.
  while (status == dnnl_success && extras.scales && extras.source_zero) {
    const char *name = NULL;
    dnnl_primitive_desc_query(*kernel, dnnl_query_impl_info_str, 0, &name);
    if (!name || strncmp(name, "brg", 3) != 0) break;
    status = dnnl_primitive_desc_next_impl(*kernel);
    if (status != dnnl_success) dnnl_primitive_desc_destroy(*kernel);
  }
#endif
  return status;
}

dnnl_status_t stowage_deconvolution(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, stowage_layout_t source,
    stowage_layout_t weights, stowage_layout_t bias, stowage_layout_t destination,
    stowage_window window, stowage_extras extras) {
  MAKE(
      deconvolution, &extras,
      dnnl_dilated_deconvolution_forward_desc_init(
          &operation, dnnl_forward_inference, dnnl_deconvolution_direct, RAW(source), RAW(weights),
          RAW(bias), RAW(destination), window.strides, window.dilations, window.before,
          window.after),
      dnnl_deconvolution_forward_primitive_desc_create(
          kernel, engine, dnnl_forward_inference, dnnl_deconvolution_direct, RAW(source),
          RAW(weights), RAW(bias), RAW(destination), window.strides, window.dilations,
          window.before, window.after, own));
}

dnnl_status_t stowage_inner_product(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, stowage_layout_t source,
    stowage_layout_t weights, stowage_layout_t bias, stowage_layout_t destination,
    stowage_extras extras) {
  MAKE(
      inner_product, &extras,
      dnnl_inner_product_forward_desc_init(
          &operation, dnnl_forward_inference, RAW(source), RAW(weights), RAW(bias),
          RAW(destination)),
      dnnl_inner_product_forward_primitive_desc_create(
          kernel, engine, dnnl_forward_inference, RAW(source), RAW(weights), RAW(bias),
          RAW(destination), own));
}

dnnl_status_t stowage_matrix_product(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, stowage_layout_t source,
    stowage_layout_t weights, stowage_layout_t destination, stowage_extras extras) {
  MAKE(
      matmul, &extras,
      dnnl_matmul_desc_init(&operation, RAW(source), RAW(weights), NULL, RAW(destination)),
      dnnl_matmul_primitive_desc_create(
          kernel, engine, RAW(source), RAW(weights), NULL, RAW(destination), own));
}

dnnl_status_t stowage_pool(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, dnnl_alg_kind_t algorithm,
    stowage_layout_t source, stowage_layout_t destination, stowage_window window) {
  MAKE(
      pooling_v2, NULL,
      dnnl_pooling_v2_forward_desc_init(
          &operation, dnnl_forward_inference, algorithm, RAW(source), RAW(destination),
          window.strides, window.kernel, window.dilations, window.before, window.after),
      dnnl_pooling_forward_primitive_desc_create(
          kernel, engine, dnnl_forward_inference, algorithm, RAW(source), RAW(destination),
          window.strides, window.kernel, window.dilations, window.before, window.after, own));
}

dnnl_status_t stowage_local_response(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, stowage_layout_t layout, int64_t size,
    float alpha, float beta, float bias) {
  MAKE(
      lrn, NULL,
      dnnl_lrn_forward_desc_init(
          &operation, dnnl_forward_inference, dnnl_lrn_across_channels, RAW(layout), size, alpha,
          beta, bias),
      dnnl_lrn_forward_primitive_desc_create(
          kernel, engine, dnnl_forward_inference, dnnl_lrn_across_channels, RAW(layout),
          RAW(layout), size, alpha, beta, bias, own));
}

dnnl_status_t stowage_softmax(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, stowage_layout_t layout, int axis) {
  MAKE(
      softmax, NULL,
      dnnl_softmax_forward_desc_init(&operation, dnnl_forward_inference, RAW(layout), axis),
      dnnl_softmax_forward_primitive_desc_create(
          kernel, engine, dnnl_forward_inference, dnnl_softmax_accurate, RAW(layout), RAW(layout),
          axis, own));
}

dnnl_status_t stowage_elementwise(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, stowage_function function,
    stowage_layout_t layout, stowage_extras extras) {
  function = completed(function);
  MAKE(
      eltwise, &extras,
      dnnl_eltwise_forward_desc_init(
          &operation, dnnl_forward_inference, function.algorithm, RAW(layout), function.alpha,
          function.beta),
      dnnl_eltwise_forward_primitive_desc_create(
          kernel, engine, dnnl_forward_inference, function.algorithm, RAW(layout), RAW(layout),
          function.alpha, function.beta, own));
}

dnnl_status_t stowage_binary(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, dnnl_alg_kind_t algorithm,
    stowage_layout_t first, stowage_layout_t second, stowage_layout_t destination) {
  MAKE(
      binary, NULL,
      dnnl_binary_desc_init(&operation, algorithm, RAW(first), RAW(second), RAW(destination)),
      dnnl_binary_primitive_desc_create(
          kernel, engine, algorithm, RAW(first), RAW(second), RAW(destination), own));
}

dnnl_status_t stowage_copy(
    dnnl_primitive_desc_t *kernel, dnnl_engine_t engine, stowage_layout_t source,
    stowage_layout_t destination) {
  return dnnl_reorder_primitive_desc_create(
      kernel, RAW(source), engine, RAW(destination), engine, NULL);
}

size_t stowage_untouched_scratch(const_dnnl_primitive_desc_t kernel) {
#if DNNL_VERSION_MAJOR < 3
  // The larger Winograd kernel begins its scratchpad with room for transformed weights, also where
  // the weights come transformed: 38 of 51 MB for a layer of VGG-19.
  const char *name = NULL;
  const dnnl_memory_desc_t *weights =
      dnnl_primitive_desc_query_md(kernel, dnnl_query_weights_md, 0);
  dnnl_primitive_desc_query(kernel, dnnl_query_impl_info_str, 0, &name);
  if (!name || strncmp(name, "jit_wino_4x3", 12) != 0 || !weights) return 0;
  if (weights->format_kind != dnnl_format_kind_wino) return 0;
  return dnnl_memory_desc_get_size(weights) & ~(size_t)4095;
#else
  (void)kernel;
  return 0;
#endif
}
