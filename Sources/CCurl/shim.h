#include <curl/curl.h>

// libcurl's setopt is variadic, which Swift cannot call.
static inline CURLcode stowage_curl_set_string(CURL *handle, CURLoption option, const char *value) {
  return curl_easy_setopt(handle, option, value);
}
static inline CURLcode stowage_curl_set_long(CURL *handle, CURLoption option, long value) {
  return curl_easy_setopt(handle, option, value);
}
static inline CURLcode stowage_curl_set_pointer(CURL *handle, CURLoption option, void *value) {
  return curl_easy_setopt(handle, option, value);
}
static inline CURLcode stowage_curl_set_writer(CURL *handle, CURLoption option,
                                               size_t (*writer)(char *, size_t, size_t, void *)) {
  return curl_easy_setopt(handle, option, writer);
}
static inline long stowage_curl_response_code(CURL *handle) {
  long code = 0;
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &code);
  return code;
}
