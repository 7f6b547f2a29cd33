#ifndef STOWAGE_CURL_H
#define STOWAGE_CURL_H

// The calls of libcurl that a client makes. The library is opened by the first of them: with all
// that it brings along (TLS, Kerberos, LDAP) it takes 7 ms of a start, and a server asks nobody.

#include <curl/curl.h>

/// A handle for requests one after another; null where there is no libcurl. The calls below need
/// one, except for the sentence of an error.
CURL *stowage_curl_start(void);

void stowage_curl_end(CURL *handle);

/// Forgets what was set for the last request.
void stowage_curl_reset(CURL *handle);

CURLcode stowage_curl_perform(CURL *handle);

const char *stowage_curl_sentence(CURLcode code);

struct curl_slist *stowage_curl_append(struct curl_slist *list, const char *line);

void stowage_curl_free(struct curl_slist *list);

// libcurl's setopt takes any type, which Swift cannot call.
CURLcode stowage_curl_set_string(CURL *handle, CURLoption option, const char *value);
CURLcode stowage_curl_set_long(CURL *handle, CURLoption option, long value);
CURLcode stowage_curl_set_pointer(CURL *handle, CURLoption option, void *value);
CURLcode stowage_curl_set_writer(
    CURL *handle, CURLoption option, size_t (*writer)(char *, size_t, size_t, void *));

/// The status code of the last answer.
long stowage_curl_response_code(CURL *handle);

#endif
