#ifndef STOWAGE_CSIMDJSON_H
#define STOWAGE_CSIMDJSON_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Bytes that must be readable after the end of a JSON text.
size_t stowage_json_padding(void);

#ifdef __cplusplus
}
#endif

#endif
