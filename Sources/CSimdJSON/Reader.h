#ifndef STOWAGE_READER_H
#define STOWAGE_READER_H

#include "CSimdJSON.h"

// Every error is a value: nothing may throw through Swift.
#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

#include <vector>

namespace stowage {

namespace ondemand = simdjson::ondemand;
using simdjson::error_code;

/// What a walk needs to say where it stands.
struct Walk {
  stowage_json_error &error;
  const char *list = nullptr;
  size_t index = 0;

  /// Records trouble; always false, so that callers can return it.
  bool fail(stowage_json_problem problem, const char *member = nullptr,
            const char *wanted = nullptr) {
    error = {problem, 0, list, index, member, wanted, 0};
    return false;
  }

  /// Records trouble with the JSON itself.
  bool fail(error_code code);
};

/// Writes one `data` array to its target.
bool fill(ondemand::array data, const stowage_json_target &target, Walk &walk);

}  // namespace stowage

struct stowage_json_reader {
  simdjson::ondemand::parser parser;
  simdjson::ondemand::document document;
  std::vector<uint8_t> text;
  size_t count = 0;
  std::vector<stowage_json_tensor> inputs;
  std::vector<stowage_json_tensor> outputs;
};

#endif
