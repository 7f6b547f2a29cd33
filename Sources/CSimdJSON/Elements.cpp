#include "Reader.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

// The second walk's inner loops: JSON values into typed memory.

namespace stowage {

namespace {

/// The nearest FP32 of a double that was itself rounded from the decimal text.
///
/// Rounding twice differs from rounding once only when the double lies halfway between two
/// floats, or below the smallest normal one; then the text decides.
float nearest_float(double number, ondemand::value &value) {
  uint64_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  const bool halfway = (bits & 0x1fffffff) == 0x10000000;
  const bool tiny = std::fabs(number) < std::numeric_limits<float>::min() && number != 0;
  const float rounded = static_cast<float>(number);
  if (!halfway && !tiny) return rounded;
  const auto token = value.raw_json_token();
  float exact = rounded;
  const auto result = std::from_chars(token.data(), token.data() + token.size(), exact);
  return result.ec == std::errc() ? exact : rounded;
}

/// Reads one element: FINE, or what is wrong with it; SYNTAX when it is no JSON value at all.
template <class T>
stowage_json_problem read(ondemand::value value, T &element) {
  error_code code;
  if constexpr (std::is_same_v<T, bool>) {
    code = value.get_bool().get(element);
  } else if constexpr (std::is_same_v<T, stowage_json_text>) {
    std::string_view string;
    code = value.get_string().get(string);
    if (!code) element = {reinterpret_cast<const uint8_t *>(string.data()), string.size()};
  } else if constexpr (std::is_floating_point_v<T>) {
    double number;
    code = value.get_double().get(number);
    if (!code) {
      if constexpr (std::is_same_v<T, float>) {
        element = nearest_float(number, value);
        if (std::isinf(element)) return STOWAGE_JSON_ELEMENT_RANGE;
      } else {
        element = number;
      }
    }
  } else if constexpr (std::is_signed_v<T>) {
    int64_t number;
    code = value.get_int64().get(number);
    if (!code) {
      if (number < std::numeric_limits<T>::min() || number > std::numeric_limits<T>::max()) {
        return STOWAGE_JSON_ELEMENT_RANGE;
      }
      element = static_cast<T>(number);
    }
  } else {
    uint64_t number;
    code = value.get_uint64().get(number);
    if (!code) {
      if (number > std::numeric_limits<T>::max()) return STOWAGE_JSON_ELEMENT_RANGE;
      element = static_cast<T>(number);
    }
  }
  return code ? STOWAGE_JSON_ELEMENT : STOWAGE_JSON_FINE;
}

/// Says why a token is no element of a type.
template <class T>
stowage_json_problem explain(std::string_view token) {
  if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, stowage_json_text>) {
    return STOWAGE_JSON_ELEMENT;
  } else {
    while (!token.empty() && std::strchr(" \t\r\n", token.back())) token.remove_suffix(1);
    std::string_view digits = token;
    if (!digits.empty() && digits.front() == '-') digits.remove_prefix(1);
    if (digits == "NaN" || digits == "Infinity" || digits == "Inf") {
      return STOWAGE_JSON_NOT_FINITE;
    }
    const bool numeric = !digits.empty() && digits.find_first_not_of("0123456789.eE+-") ==
                                                std::string_view::npos;
    if (!numeric) return STOWAGE_JSON_ELEMENT;
    const bool whole = digits.find_first_not_of("0123456789") == std::string_view::npos &&
                       (digits.size() == 1 || digits.front() != '0');
    if (std::is_integral_v<T>) return whole ? STOWAGE_JSON_ELEMENT_RANGE : STOWAGE_JSON_ELEMENT;
    // A well-formed number that no double holds leaves from_chars with nothing but its range.
    double number;
    const auto result = std::from_chars(token.data(), token.data() + token.size(), number);
    return result.ec == std::errc::result_out_of_range ? STOWAGE_JSON_ELEMENT_RANGE
                                                       : STOWAGE_JSON_SYNTAX;
  }
}

/// Fills one target from arrays nested to any depth, as long as they are rectangular.
template <class T>
struct Filler {
  T *elements;
  size_t capacity;
  Walk &walk;
  size_t written = 0;
  static constexpr size_t deepest = STOWAGE_JSON_MAXIMUM_RANK;
  size_t lengths[deepest] = {};
  bool known[deepest] = {};
  /// The depth at which the elements lie, once one has been seen.
  size_t leaf = deepest;

  bool fail(stowage_json_problem problem) {
    walk.fail(problem, "data");
    walk.error.element = written;
    return false;
  }

  bool run(ondemand::array array, size_t depth) {
    if (depth == deepest) return fail(STOWAGE_JSON_RAGGED);
    size_t count = 0;
    for (auto item : array) {
      ondemand::value value;
      if (item.get(value)) return fail(STOWAGE_JSON_SYNTAX);
      count += 1;
      // Where the elements lie is known after the first one: no look ahead in the usual case.
      if (depth != leaf) {
        ondemand::json_type type;
        if (value.type().get(type)) {
          return fail(explain<T>(value.raw_json_token()) == STOWAGE_JSON_NOT_FINITE
                          ? STOWAGE_JSON_NOT_FINITE
                          : STOWAGE_JSON_SYNTAX);
        }
        if (type == ondemand::json_type::array) {
          if (depth > leaf && leaf != deepest) return fail(STOWAGE_JSON_RAGGED);
          ondemand::array inner;
          if (value.get_array().get(inner)) return fail(STOWAGE_JSON_SYNTAX);
          if (!run(inner, depth + 1)) return false;
          continue;
        }
        if (leaf != deepest || count > 1) return fail(STOWAGE_JSON_RAGGED);
        leaf = depth;
      }
      if (written == capacity) return fail(STOWAGE_JSON_COUNT);
      if (auto problem = read(value, elements[written])) {
        return fail(problem == STOWAGE_JSON_ELEMENT ? why(value) : problem);
      }
      written += 1;
    }
    if (known[depth] && lengths[depth] != count) return fail(STOWAGE_JSON_RAGGED);
    known[depth] = true;
    lengths[depth] = count;
    return true;
  }

  stowage_json_problem why(ondemand::value value) {
    const auto token = value.raw_json_token();
    if (!token.empty() && token.front() == '[') return STOWAGE_JSON_RAGGED;
    return explain<T>(token);
  }
};

template <class T>
bool fill_as(ondemand::array data, const stowage_json_target &target, Walk &walk) {
  Filler<T> filler{static_cast<T *>(target.elements), target.count, walk};
  if (!filler.run(data, 0)) return false;
  return filler.written == target.count ? true : filler.fail(STOWAGE_JSON_COUNT);
}

}  // namespace

bool fill(ondemand::array data, const stowage_json_target &target, Walk &walk) {
  switch (target.type) {
    case STOWAGE_JSON_BOOL: return fill_as<bool>(data, target, walk);
    case STOWAGE_JSON_UINT8: return fill_as<uint8_t>(data, target, walk);
    case STOWAGE_JSON_UINT16: return fill_as<uint16_t>(data, target, walk);
    case STOWAGE_JSON_UINT32: return fill_as<uint32_t>(data, target, walk);
    case STOWAGE_JSON_UINT64: return fill_as<uint64_t>(data, target, walk);
    case STOWAGE_JSON_INT8: return fill_as<int8_t>(data, target, walk);
    case STOWAGE_JSON_INT16: return fill_as<int16_t>(data, target, walk);
    case STOWAGE_JSON_INT32: return fill_as<int32_t>(data, target, walk);
    case STOWAGE_JSON_INT64: return fill_as<int64_t>(data, target, walk);
    case STOWAGE_JSON_FP32: return fill_as<float>(data, target, walk);
    case STOWAGE_JSON_FP64: return fill_as<double>(data, target, walk);
    case STOWAGE_JSON_BYTES: return fill_as<stowage_json_text>(data, target, walk);
  }
  return walk.fail(STOWAGE_JSON_WRONG_TYPE, "data", "of a type that JSON can carry");
}

}  // namespace stowage
