#include "CCurl.h"

#include <dlfcn.h>
#include <pthread.h>

static struct {
  CURL *(*init)(void);
  void (*cleanup)(CURL *);
  void (*reset)(CURL *);
  CURLcode (*perform)(CURL *);
  const char *(*strerror)(CURLcode);
  struct curl_slist *(*append)(struct curl_slist *, const char *);
  void (*free_all)(struct curl_slist *);
  CURLcode (*setopt)(CURL *, CURLoption, ...);
  CURLcode (*getinfo)(CURL *, CURLINFO, ...);
} curl;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int is_whole;

static int find(void *library, const char *name, void **place) {
  return (*place = dlsym(library, name)) != NULL;
}

static void open_library(void) {
  void *library = dlopen("libcurl.so.4", RTLD_LAZY | RTLD_LOCAL);
  if (!library) return;
  is_whole = find(library, "curl_easy_init", (void **)&curl.init) &&
             find(library, "curl_easy_cleanup", (void **)&curl.cleanup) &&
             find(library, "curl_easy_reset", (void **)&curl.reset) &&
             find(library, "curl_easy_perform", (void **)&curl.perform) &&
             find(library, "curl_easy_strerror", (void **)&curl.strerror) &&
             find(library, "curl_slist_append", (void **)&curl.append) &&
             find(library, "curl_slist_free_all", (void **)&curl.free_all) &&
             find(library, "curl_easy_setopt", (void **)&curl.setopt) &&
             find(library, "curl_easy_getinfo", (void **)&curl.getinfo);
}

CURL *stowage_curl_start(void) {
  pthread_once(&once, open_library);
  return is_whole ? curl.init() : NULL;
}

void stowage_curl_end(CURL *handle) { curl.cleanup(handle); }

void stowage_curl_reset(CURL *handle) { curl.reset(handle); }

CURLcode stowage_curl_perform(CURL *handle) { return curl.perform(handle); }

const char *stowage_curl_sentence(CURLcode code) {
  return is_whole ? curl.strerror(code) : "libcurl is missing";
}

struct curl_slist *stowage_curl_append(struct curl_slist *list, const char *line) {
  return curl.append(list, line);
}

void stowage_curl_free(struct curl_slist *list) { curl.free_all(list); }

CURLcode stowage_curl_set_string(CURL *handle, CURLoption option, const char *value) {
  return curl.setopt(handle, option, value);
}

CURLcode stowage_curl_set_long(CURL *handle, CURLoption option, long value) {
  return curl.setopt(handle, option, value);
}

CURLcode stowage_curl_set_pointer(CURL *handle, CURLoption option, void *value) {
  return curl.setopt(handle, option, value);
}

CURLcode stowage_curl_set_writer(
    CURL *handle, CURLoption option, size_t (*writer)(char *, size_t, size_t, void *)) {
  return curl.setopt(handle, option, writer);
}

long stowage_curl_response_code(CURL *handle) {
  long code = 0;
  curl.getinfo(handle, CURLINFO_RESPONSE_CODE, &code);
  return code;
}
