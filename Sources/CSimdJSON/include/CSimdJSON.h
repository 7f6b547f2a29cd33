#ifndef STOWAGE_CSIMDJSON_H
#define STOWAGE_CSIMDJSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The JSON side of the Open Inference Protocol, over simdjson.
//
// A request is read in two walks over one structural index: `stowage_json_read` finds names,
// types, shapes and parameters and checks everything but tensor data; `stowage_json_fill` then
// writes the data of all tensors straight into the caller's typed memory. Nothing here keeps
// state between requests but the memory of the thread's reader.

/// Bytes inside the reader's memory, not terminated.
typedef struct {
  const uint8_t *bytes;
  size_t count;
} stowage_json_text;

/// The types of elements, in the order of Vocabulary's ElementType.
typedef enum {
  STOWAGE_JSON_BOOL,
  STOWAGE_JSON_UINT8,
  STOWAGE_JSON_UINT16,
  STOWAGE_JSON_UINT32,
  STOWAGE_JSON_UINT64,
  STOWAGE_JSON_INT8,
  STOWAGE_JSON_INT16,
  STOWAGE_JSON_INT32,
  STOWAGE_JSON_INT64,
  STOWAGE_JSON_FP32,
  STOWAGE_JSON_FP64,
  STOWAGE_JSON_BYTES,
} stowage_json_type;

/// What is wrong with a request.
typedef enum {
  STOWAGE_JSON_FINE,
  /// Not JSON at `offset`.
  STOWAGE_JSON_SYNTAX,
  /// Nothing but white space.
  STOWAGE_JSON_EMPTY,
  /// A byte sequence that is not UTF-8.
  STOWAGE_JSON_NOT_UTF8,
  /// Nested deeper than the caller allows.
  STOWAGE_JSON_TOO_DEEP,
  /// No memory for the index.
  STOWAGE_JSON_NO_MEMORY,
  /// `member` is not what `wanted` says.
  STOWAGE_JSON_WRONG_TYPE,
  /// `member` occurs twice in one object.
  STOWAGE_JSON_REPEATED,
  /// `member` is missing.
  STOWAGE_JSON_MISSING,
  /// More tensors than the caller allows.
  STOWAGE_JSON_TOO_MANY,
  /// A shape with more dimensions than a tensor may have.
  STOWAGE_JSON_RANK,
  /// A parameter this server does not offer: `member`.
  STOWAGE_JSON_UNSUPPORTED,
  /// An element that is not what its datatype needs.
  STOWAGE_JSON_ELEMENT,
  /// An element out of its datatype's range.
  STOWAGE_JSON_ELEMENT_RANGE,
  /// NaN or Infinity, which JSON does not have.
  STOWAGE_JSON_NOT_FINITE,
  /// Nested arrays of different lengths or depths.
  STOWAGE_JSON_RAGGED,
  /// Fewer or more elements than the shape has.
  STOWAGE_JSON_COUNT,
} stowage_json_problem;

/// Where and what is wrong. Strings are constants.
typedef struct {
  stowage_json_problem problem;
  /// The byte of the text at or before which reading stopped.
  size_t offset;
  /// `inputs`, `outputs` or null.
  const char *list;
  /// The index in `list`.
  size_t index;
  /// The member in question, or null.
  const char *member;
  /// What the member must be, or null.
  const char *wanted;
  /// Elements read before the trouble.
  size_t element;
} stowage_json_error;

enum { STOWAGE_JSON_MAXIMUM_RANK = 8 };

/// One member of `inputs` or `outputs`, without its data.
typedef struct {
  stowage_json_text name;
  stowage_json_text datatype;
  bool has_datatype;
  bool has_shape;
  bool has_data;
  bool has_shared_memory;
  int64_t shape[STOWAGE_JSON_MAXIMUM_RANK];
  size_t rank;
  /// `parameters.binary_data_size`, or -1.
  int64_t binary_data_size;
  /// `parameters.binary_data`: 0 or 1, or -1 when absent.
  int8_t binary_data;
  /// `parameters.classification`, or 0.
  uint64_t classification;
} stowage_json_tensor;

/// A request's JSON, without its data. Valid until the reader reads or fills again.
typedef struct {
  stowage_json_text id;
  bool has_id;
  /// `parameters.binary_data_output`: 0 or 1, or -1 when absent.
  int8_t binary_data_output;
  /// `parameters.priority`, or 0.
  uint64_t priority;
  /// `parameters.timeout` in microseconds, or 0.
  uint64_t timeout;
  const stowage_json_tensor *inputs;
  size_t input_count;
  const stowage_json_tensor *outputs;
  size_t output_count;
} stowage_json_request;

/// Bounds on what a request may hold.
typedef struct {
  /// Nesting of arrays and objects, at most.
  size_t depth;
  /// Members of `inputs` and of `outputs`, at most.
  size_t tensors;
} stowage_json_limits;

/// Where the data of one input goes.
typedef struct {
  stowage_json_type type;
  /// `count` elements of `type`; for BYTES, `count` of stowage_json_text, valid until the reader
  /// reads again. Null when the input carries no JSON data.
  void *elements;
  size_t count;
} stowage_json_target;

/// Reads requests, one at a time.
typedef struct stowage_json_reader stowage_json_reader;

/// The calling thread's reader; it lives as long as the thread.
stowage_json_reader *stowage_json_thread_reader(void);

/// Reads everything but tensor data; true when the text is a well-formed request so far.
bool stowage_json_read(stowage_json_reader *reader, const void *text, size_t count,
                       stowage_json_limits limits, stowage_json_request *request,
                       stowage_json_error *error);

/// Writes the data of the request read last to one target per input, in their order.
bool stowage_json_fill(stowage_json_reader *reader, const stowage_json_target *targets,
                       size_t count, stowage_json_error *error);

/// Gives memory back that only an unusually large request needed.
void stowage_json_trim(stowage_json_reader *reader);

/// The most bytes that one printed element and its comma take; 0 for BYTES.
size_t stowage_json_element_width(stowage_json_type type);

/// Prints numbers or booleans, separated by commas: the shortest digits that read back the same.
///
/// `text` has room for `count` elements of the full width. Returns the elements printed: fewer
/// than `count` when the next one is NaN or infinite. `written` becomes the bytes printed.
size_t stowage_json_print(stowage_json_type type, const void *elements, size_t count, char *text,
                          size_t *written);

#ifdef __cplusplus
}
#endif

#endif
