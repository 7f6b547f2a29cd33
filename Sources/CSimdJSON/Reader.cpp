#include "Reader.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

// The first walk: everything of a request but tensor data.

namespace stowage {

namespace {

/// A reader that has grown beyond this gives its memory back after the request.
constexpr size_t kept_bytes = 4 << 20;

constexpr const char *a_string = "a string";
constexpr const char *a_boolean = "true or false";
constexpr const char *an_object = "an object";
constexpr const char *an_array_of_objects = "an array of objects";
constexpr const char *a_count = "a whole number that is not negative";
constexpr const char *dimensions = "an array of whole numbers that are not negative";

/// Checks a value that nobody asks for, so that what is ignored is still JSON.
error_code check(ondemand::value value, size_t depth) {
  if (depth == 0) return simdjson::DEPTH_ERROR;
  ondemand::json_type type;
  if (auto code = value.type().get(type)) return code;
  switch (type) {
    case ondemand::json_type::array: {
      ondemand::array array;
      if (auto code = value.get_array().get(array)) return code;
      for (auto item : array) {
        ondemand::value element;
        if (auto code = item.get(element)) return code;
        if (auto code = check(element, depth - 1)) return code;
      }
      return simdjson::SUCCESS;
    }
    case ondemand::json_type::object: {
      ondemand::object object;
      if (auto code = value.get_object().get(object)) return code;
      for (auto item : object) {
        ondemand::field field;
        std::string_view key;
        if (auto code = std::move(item).get(field)) return code;
        if (auto code = field.unescaped_key().get(key)) return code;
        if (auto code = check(field.value(), depth - 1)) return code;
      }
      return simdjson::SUCCESS;
    }
    case ondemand::json_type::number: {
      double number;
      return value.get_double().get(number);
    }
    case ondemand::json_type::string: {
      std::string_view string;
      return value.get_string().get(string);
    }
    case ondemand::json_type::boolean: {
      bool boolean;
      return value.get_bool().get(boolean);
    }
    case ondemand::json_type::null: {
      bool null = false;
      if (auto code = value.is_null().get(null)) return code;
      return null ? simdjson::SUCCESS : simdjson::N_ATOM_ERROR;
    }
  }
  return simdjson::TAPE_ERROR;
}

/// The first walk over one request.
struct Outline : Walk {
  stowage_json_limits limits;
  stowage_json_request &request;

  Outline(stowage_json_error &error, stowage_json_limits limits, stowage_json_request &request)
      : Walk{error}, limits(limits), request(request) {}

  /// Takes one typed value; a value of another type is the member's fault, not the JSON's.
  template <class T>
  bool take(ondemand::value value, T &into, const char *member, const char *wanted) {
    const auto code = value.get<T>().get(into);
    if (!code) return true;
    if (code == simdjson::INCORRECT_TYPE || code == simdjson::NUMBER_OUT_OF_RANGE ||
        code == simdjson::NUMBER_ERROR) {
      return fail(STOWAGE_JSON_WRONG_TYPE, member, wanted);
    }
    return fail(code);
  }

  bool take(ondemand::value value, stowage_json_text &into, const char *member) {
    std::string_view string;
    if (!take(value, string, member, a_string)) return false;
    into = {reinterpret_cast<const uint8_t *>(string.data()), string.size()};
    return true;
  }

  bool take(ondemand::value value, int8_t &into, const char *member) {
    bool boolean;
    if (!take(value, boolean, member, a_boolean)) return false;
    into = boolean ? 1 : 0;
    return true;
  }

  bool ignore(ondemand::value value, size_t depth) {
    const auto code = check(value, depth);
    return code ? fail(code) : true;
  }

  /// Calls `member(key, value)` for every member of an object; the key is unescaped.
  template <class Member>
  bool each(ondemand::object object, Member member) {
    for (auto item : object) {
      ondemand::field field;
      std::string_view key;
      if (auto code = std::move(item).get(field)) return fail(code);
      if (auto code = field.unescaped_key().get(key)) return fail(code);
      if (!member(key, field.value())) return false;
    }
    return true;
  }

  /// Marks a member as seen; false when it was seen before.
  bool once(uint32_t &seen, int bit, const char *member) {
    if (seen & (1u << bit)) return fail(STOWAGE_JSON_REPEATED, member);
    seen |= 1u << bit;
    return true;
  }

  bool read(ondemand::document &document, std::vector<stowage_json_tensor> &inputs,
            std::vector<stowage_json_tensor> &outputs) {
    ondemand::object object;
    if (auto code = document.get_object().get(object)) {
      return code == simdjson::INCORRECT_TYPE
                 ? fail(STOWAGE_JSON_WRONG_TYPE, "the request", an_object)
                 : fail(code);
    }
    uint32_t seen = 0;
    const bool read = each(object, [&](std::string_view key, ondemand::value value) {
      if (key == "id") {
        request.has_id = true;
        return once(seen, 0, "id") && take(value, request.id, "id");
      }
      if (key == "inputs") return once(seen, 1, "inputs") && tensors(value, inputs, "inputs");
      if (key == "outputs") return once(seen, 2, "outputs") && tensors(value, outputs, "outputs");
      if (key == "parameters") return once(seen, 3, "parameters") && parameters(value);
      return ignore(value, limits.depth - 1);
    });
    if (!read) return false;
    const char *trailing;
    if (!document.current_location().get(trailing)) return fail(simdjson::TRAILING_CONTENT);
    return seen & (1u << 1) ? true : fail(STOWAGE_JSON_MISSING, "inputs");
  }

  bool parameters(ondemand::value value) {
    ondemand::object object;
    if (!take(value, object, "parameters", an_object)) return false;
    return each(object, [&](std::string_view key, ondemand::value value) {
      if (key == "binary_data_output") {
        return take(value, request.binary_data_output, "parameters.binary_data_output");
      }
      if (key == "priority") return take(value, request.priority, "parameters.priority", a_count);
      if (key == "timeout") return take(value, request.timeout, "parameters.timeout", a_count);
      if (key == "sequence_id" || key == "sequence_start" || key == "sequence_end") {
        return fail(STOWAGE_JSON_UNSUPPORTED, "sequence_id");
      }
      if (key.substr(0, 7) == "triton_") return fail(STOWAGE_JSON_UNSUPPORTED, "triton_");
      return ignore(value, limits.depth - 2);
    });
  }

  bool tensors(ondemand::value value, std::vector<stowage_json_tensor> &into, const char *name) {
    ondemand::array array;
    if (!take(value, array, name, an_array_of_objects)) return false;
    list = name;
    for (auto item : array) {
      ondemand::value element;
      index = into.size();
      if (auto code = item.get(element)) return fail(code);
      if (index == limits.tensors) return fail(STOWAGE_JSON_TOO_MANY);
      into.push_back({});
      if (!tensor(element, into.back())) return false;
    }
    list = nullptr;
    return true;
  }

  bool tensor(ondemand::value value, stowage_json_tensor &tensor) {
    tensor.binary_data_size = -1;
    tensor.binary_data = -1;
    ondemand::object object;
    if (!take(value, object, "", an_object)) return false;
    uint32_t seen = 0;
    const bool read = each(object, [&](std::string_view key, ondemand::value value) {
      if (key == "name") return once(seen, 0, "name") && take(value, tensor.name, "name");
      if (key == "datatype") {
        tensor.has_datatype = true;
        return once(seen, 1, "datatype") && take(value, tensor.datatype, "datatype");
      }
      if (key == "shape") return once(seen, 2, "shape") && shape(value, tensor);
      if (key == "parameters") return once(seen, 3, "parameters") && parameters(value, tensor);
      if (key == "data") {
        // Left alone: moving on skips it, and the second walk reads it.
        tensor.has_data = true;
        return once(seen, 4, "data");
      }
      return ignore(value, limits.depth - 3);
    });
    if (!read) return false;
    return seen & 1u ? true : fail(STOWAGE_JSON_MISSING, "name");
  }

  bool shape(ondemand::value value, stowage_json_tensor &tensor) {
    ondemand::array array;
    if (!take(value, array, "shape", dimensions)) return false;
    tensor.has_shape = true;
    for (auto item : array) {
      ondemand::value element;
      if (auto code = item.get(element)) return fail(code);
      if (tensor.rank == STOWAGE_JSON_MAXIMUM_RANK) return fail(STOWAGE_JSON_RANK, "shape");
      int64_t &dimension = tensor.shape[tensor.rank++];
      if (!take(element, dimension, "shape", dimensions)) return false;
      if (dimension < 0) return fail(STOWAGE_JSON_WRONG_TYPE, "shape", dimensions);
    }
    return true;
  }

  bool parameters(ondemand::value value, stowage_json_tensor &tensor) {
    ondemand::object object;
    if (!take(value, object, "parameters", an_object)) return false;
    return each(object, [&](std::string_view key, ondemand::value value) {
      if (key == "binary_data_size") {
        uint64_t size;
        if (!take(value, size, "parameters.binary_data_size", a_count)) return false;
        if (size > INT64_MAX) {
          return fail(STOWAGE_JSON_WRONG_TYPE, "parameters.binary_data_size", a_count);
        }
        tensor.binary_data_size = static_cast<int64_t>(size);
        return true;
      }
      if (key == "binary_data") return take(value, tensor.binary_data, "parameters.binary_data");
      if (key == "classification") {
        return take(value, tensor.classification, "parameters.classification", a_count);
      }
      if (key.substr(0, 13) == "shared_memory") tensor.has_shared_memory = true;
      return ignore(value, limits.depth - 4);
    });
  }
};

/// The byte at which reading stopped.
size_t offset(stowage_json_reader &reader) {
  const char *location = nullptr;
  const char *start = reinterpret_cast<const char *>(reader.text.data());
  if (reader.document.current_location().get(location) || location < start) return reader.count;
  return std::min(static_cast<size_t>(location - start), reader.count);
}

/// Takes a copy with the padding that simdjson reads beyond the end, and indexes it.
error_code open(stowage_json_reader &reader, const void *text, size_t count) {
  const size_t capacity = count + simdjson::SIMDJSON_PADDING;
  if (reader.text.size() < capacity) reader.text.resize(capacity);
  std::memcpy(reader.text.data(), text, count);
  std::memset(reader.text.data() + count, ' ', simdjson::SIMDJSON_PADDING);
  reader.count = count;
  return reader.parser
      .iterate(simdjson::padded_string_view(reader.text.data(), count, capacity))
      .get(reader.document);
}

/// The second walk: finds each input's `data` and fills its target.
bool fill_all(stowage_json_reader &reader, const stowage_json_target *targets, size_t count,
              Walk &walk) {
  reader.document.rewind();
  ondemand::object object;
  ondemand::array inputs;
  if (auto code = reader.document.get_object().get(object)) return walk.fail(code);
  for (auto item : object) {
    ondemand::field field;
    std::string_view key;
    if (auto code = std::move(item).get(field)) return walk.fail(code);
    if (auto code = field.unescaped_key().get(key)) return walk.fail(code);
    if (key != "inputs") continue;
    if (auto code = field.value().get_array().get(inputs)) return walk.fail(code);
    walk.list = "inputs";
    for (auto element : inputs) {
      ondemand::object input;
      if (auto code = element.get_object().get(input)) return walk.fail(code);
      if (walk.index == count) return walk.fail(simdjson::TAPE_ERROR);
      for (auto member : input) {
        ondemand::array data;
        if (auto code = std::move(member).get(field)) return walk.fail(code);
        if (auto code = field.unescaped_key().get(key)) return walk.fail(code);
        if (key != "data") continue;
        if (auto code = field.value().get_array().get(data)) {
          return code == simdjson::INCORRECT_TYPE
                     ? walk.fail(STOWAGE_JSON_WRONG_TYPE, "data", "an array")
                     : walk.fail(code);
        }
        if (!targets[walk.index].elements) return walk.fail(simdjson::TAPE_ERROR);
        if (!fill(data, targets[walk.index], walk)) return false;
      }
      walk.index += 1;
    }
    walk.list = nullptr;
  }
  // Brackets that do not match can show the two walks different inputs.
  return walk.index == count ? true : walk.fail(simdjson::TAPE_ERROR);
}

}  // namespace

bool Walk::fail(error_code code) {
  switch (code) {
    case simdjson::EMPTY:
      return fail(STOWAGE_JSON_EMPTY);
    case simdjson::UTF8_ERROR:
      return fail(STOWAGE_JSON_NOT_UTF8);
    case simdjson::DEPTH_ERROR:
      return fail(STOWAGE_JSON_TOO_DEEP);
    case simdjson::MEMALLOC:
    case simdjson::CAPACITY:
      return fail(STOWAGE_JSON_NO_MEMORY);
    default:
      return fail(STOWAGE_JSON_SYNTAX);
  }
}

}  // namespace stowage

using namespace stowage;

extern "C" stowage_json_reader *stowage_json_thread_reader(void) {
  static thread_local stowage_json_reader reader;
  return &reader;
}

extern "C" bool stowage_json_read(stowage_json_reader *reader, const void *text, size_t count,
                                  stowage_json_limits limits, stowage_json_request *request,
                                  stowage_json_error *error) try {
  *request = {};
  request->binary_data_output = -1;
  reader->inputs.clear();
  reader->outputs.clear();
  Outline outline(*error, limits, *request);
  if (auto code = open(*reader, text, count)) return outline.fail(code);
  if (!outline.read(reader->document, reader->inputs, reader->outputs)) {
    error->offset = offset(*reader);
    return false;
  }
  request->inputs = reader->inputs.data();
  request->input_count = reader->inputs.size();
  request->outputs = reader->outputs.data();
  request->output_count = reader->outputs.size();
  return true;
} catch (const std::bad_alloc &) {
  return Walk{*error}.fail(STOWAGE_JSON_NO_MEMORY);
}

extern "C" bool stowage_json_fill(stowage_json_reader *reader, const stowage_json_target *targets,
                                  size_t count, stowage_json_error *error) {
  Walk walk{*error};
  if (fill_all(*reader, targets, count, walk)) return true;
  error->offset = offset(*reader);
  return false;
}

extern "C" void stowage_json_trim(stowage_json_reader *reader) {
  if (reader->text.size() <= kept_bytes) return;
  reader->document = {};
  reader->parser = simdjson::ondemand::parser();
  reader->text = std::vector<uint8_t>();
}
