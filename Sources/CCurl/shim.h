#include <curl/curl.h>

// libcurl's setopt is variadic, which Swift cannot call.
static inline CURLcode stowage_curl_set_string(CURL *handle, CURLoption option, const char *value) {
  return curl_easy_setopt(handle, option, value);
}
static inline CURLcode stowage_curl_set_long(CURL *handle, CURLoption option, long value) {
  return curl_easy_setopt(handle, option, value);
}
