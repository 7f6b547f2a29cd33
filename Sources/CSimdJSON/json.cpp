#include "CSimdJSON.h"

#include <simdjson.h>

extern "C" size_t stowage_json_padding(void) { return simdjson::SIMDJSON_PADDING; }
