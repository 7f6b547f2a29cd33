#include "CSimdJSON.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <type_traits>

namespace {

/// The longest element of a type, its sign, exponent and the comma included.
template <class T>
constexpr size_t width() {
  if constexpr (std::is_same_v<T, bool>) return 6;
  if constexpr (std::is_same_v<T, float>) return 17;
  if constexpr (std::is_same_v<T, double>) return 26;
  return sizeof(T) * 5 / 2 + 3;
}

template <class T>
size_t print(const void *elements, size_t count, char *text, size_t *written) {
  const T *values = static_cast<const T *>(elements);
  char *end = text;
  size_t index = 0;
  for (; index < count; index++) {
    const T value = values[index];
    if constexpr (std::is_floating_point_v<T>) {
      if (!std::isfinite(value)) break;
    }
    if (index > 0) *end++ = ',';
    if constexpr (std::is_same_v<T, bool>) {
      const size_t length = value ? 4 : 5;
      std::memcpy(end, value ? "true" : "false", length);
      end += length;
    } else {
      end = std::to_chars(end, end + width<T>(), value).ptr;
    }
  }
  *written = static_cast<size_t>(end - text);
  return index;
}

/// Calls `body` with a value of the C type behind an element type.
template <class Body>
size_t with_type(stowage_json_type type, Body body) {
  switch (type) {
    case STOWAGE_JSON_BOOL: return body(bool());
    case STOWAGE_JSON_UINT8: return body(uint8_t());
    case STOWAGE_JSON_UINT16: return body(uint16_t());
    case STOWAGE_JSON_UINT32: return body(uint32_t());
    case STOWAGE_JSON_UINT64: return body(uint64_t());
    case STOWAGE_JSON_INT8: return body(int8_t());
    case STOWAGE_JSON_INT16: return body(int16_t());
    case STOWAGE_JSON_INT32: return body(int32_t());
    case STOWAGE_JSON_INT64: return body(int64_t());
    case STOWAGE_JSON_FP32: return body(float());
    case STOWAGE_JSON_FP64: return body(double());
    case STOWAGE_JSON_BYTES: return 0;
  }
  return 0;
}

}  // namespace

extern "C" size_t stowage_json_element_width(stowage_json_type type) {
  return with_type(type, [](auto zero) { return width<decltype(zero)>(); });
}

extern "C" size_t stowage_json_print(stowage_json_type type, const void *elements, size_t count,
                                     char *text, size_t *written) {
  *written = 0;
  return with_type(type, [&](auto zero) {
    return print<decltype(zero)>(elements, count, text, written);
  });
}
