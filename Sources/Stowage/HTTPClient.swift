import CCurl

/// A small HTTP client over libcurl, for the commands that ask a running server.
final class HTTPClient {
  /// What a server answered.
  struct Answer {
    /// The status code.
    var status: Int
    /// The fields; names in lower case.
    var headers: [String: String]
    /// The body.
    var body: [UInt8]
  }

  /// Why there is no answer, as a sentence that says what to do.
  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  private let base: String
  private let timeout: Int
  private let handle: UnsafeMutableRawPointer

  /// A client of the server at a URL; `timeout` is in seconds.
  init(url: String, timeout: Int) throws {
    guard let handle = stowage_curl_start() else {
      throw Failure(description: "libcurl could not be started: install libcurl 4.")
    }
    self.handle = handle
    self.timeout = timeout
    base = url.hasSuffix("/") ? String(url.dropLast()) : url
  }

  deinit { stowage_curl_end(handle) }

  /// Gets a path, or posts a body to it.
  ///
  /// - Throws: `Failure` when no answer comes.
  func send(
    _ path: String, body: [UInt8]? = nil, headers: [String] = []
  ) throws -> Answer {
    stowage_curl_reset(handle)
    let reception = Reception()
    let pointer = Unmanaged.passUnretained(reception).toOpaque()
    // `Expect` would cost a second round trip for bodies above a megabyte.
    var list: UnsafeMutablePointer<curl_slist>?
    for header in headers + ["Expect:"] { list = stowage_curl_append(list, header) }
    defer { stowage_curl_free(list) }

    let code = (body ?? []).withUnsafeBytes { bytes in
      stowage_curl_set_string(handle, CURLOPT_URL, base + path)
      stowage_curl_set_string(handle, CURLOPT_PROTOCOLS_STR, "http,https")
      stowage_curl_set_string(handle, CURLOPT_USERAGENT, "stowage")
      stowage_curl_set_long(handle, CURLOPT_TIMEOUT, timeout)
      stowage_curl_set_long(handle, CURLOPT_NOSIGNAL, 1)
      stowage_curl_set_pointer(handle, CURLOPT_HTTPHEADER, list)
      stowage_curl_set_pointer(handle, CURLOPT_WRITEDATA, pointer)
      stowage_curl_set_pointer(handle, CURLOPT_HEADERDATA, pointer)
      stowage_curl_set_writer(handle, CURLOPT_WRITEFUNCTION, receiveBody)
      stowage_curl_set_writer(handle, CURLOPT_HEADERFUNCTION, receiveHeader)
      if body != nil {
        stowage_curl_set_long(handle, CURLOPT_POST, 1)
        stowage_curl_set_long(handle, CURLOPT_POSTFIELDSIZE, bytes.count)
        stowage_curl_set_pointer(
          handle, CURLOPT_POSTFIELDS, UnsafeMutableRawPointer(mutating: bytes.baseAddress))
      }
      return withExtendedLifetime(reception) { stowage_curl_perform(handle) }
    }
    guard code == CURLE_OK else { throw failure(code) }
    return Answer(
      status: stowage_curl_response_code(handle), headers: reception.headers, body: reception.body)
  }

  private func failure(_ code: CURLcode) -> Failure {
    let remedy =
      switch code {
      case CURLE_COULDNT_CONNECT:
        "No server answers at \(base): start one with `stowage serve`, or name another with --url."
      case CURLE_COULDNT_RESOLVE_HOST: "The host in \(base) is not known: check --url."
      case CURLE_OPERATION_TIMEDOUT:
        "\(base) gave no answer within \(timeout) s: try again, or wait longer with --timeout."
      case CURLE_URL_MALFORMAT, CURLE_UNSUPPORTED_PROTOCOL:
        "'\(base)' is no URL like http://127.0.0.1:8000: check --url."
      default: "\(base) gave no answer: \(String(cString: stowage_curl_sentence(code)))."
      }
    return Failure(description: remedy)
  }
}

/// What has arrived of one answer.
private final class Reception {
  var headers: [String: String] = [:]
  var body: [UInt8] = []
}

private func receiveBody(
  _ bytes: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int,
  _ pointer: UnsafeMutableRawPointer?
) -> Int {
  guard let pointer else { return 0 }
  let reception = Unmanaged<Reception>.fromOpaque(pointer).takeUnretainedValue()
  reception.body.append(contentsOf: UnsafeRawBufferPointer(start: bytes, count: size * count))
  return size * count
}

private func receiveHeader(
  _ bytes: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int,
  _ pointer: UnsafeMutableRawPointer?
) -> Int {
  guard let pointer else { return 0 }
  let reception = Unmanaged<Reception>.fromOpaque(pointer).takeUnretainedValue()
  let line = String(
    decoding: UnsafeRawBufferPointer(start: bytes, count: size * count), as: UTF8.self)
  if let colon = line.firstIndex(of: ":") {
    let value = line[line.index(after: colon)...].drop { $0 == " " }
    reception.headers[line[..<colon].lowercased()] = String(value.prefix { !$0.isNewline })
  }
  return size * count
}
