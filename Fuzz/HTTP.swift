import HTTP

/// Reads any bytes as a connection would: requests one behind the other, each with its body.
///
/// Findings, besides what the sanitizers see: requests that differ when the same bytes come in
/// one piece, byte by byte, or in sevens.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzHTTP(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: start, count: count))
  let whole = transcript(of: bytes, step: max(count, 1))
  for step in [1, 7] {
    let pieces = transcript(of: bytes, step: step)
    precondition(pieces == whole, "in steps of \(step):\n\(pieces)\nat once:\n\(whole)")
  }
  return 0
}

/// What a connection understands, a line a request, until it waits for more or gives up.
private func transcript(of bytes: [UInt8], step: Int) -> [String] {
  var (lines, buffer) = ([String](), [UInt8]())
  var (head, body) = (RequestHead(), ChunkedDecoder())
  var isInBody = false
  var position = 0
  while position < bytes.count {
    buffer += bytes[position..<min(position + step, bytes.count)]
    position += step
    do {
      while let request = try next(&buffer, &head, &body, &isInBody) { lines.append(request) }
    } catch {
      lines.append("\(error.status) \(error.message)")
      break
    }
  }
  return lines
}

/// Takes one request off the front of the buffer; nil while it is not complete.
private func next(
  _ buffer: inout [UInt8], _ head: inout RequestHead, _ body: inout ChunkedDecoder,
  _ isInBody: inout Bool
) throws(RequestError) -> String? {
  var outcome = Result<(text: String, length: Int)?, RequestError>.success(nil)
  buffer.withUnsafeMutableBytes { bytes in
    do throws(RequestError) {
      if !isInBody {
        guard try head.parse(bytes) else { return }
        (body, isInBody) = (ChunkedDecoder(), true)
      }
      let start = head.byteCount
      var (count, length) = (0, 0)
      switch head.framing {
      case .length(let size):
        guard bytes.count - start >= size else { return }
        (count, length) = (size, size)
      case .chunked:
        guard try body.decode(UnsafeMutableRawBufferPointer(rebasing: bytes[start...])) else {
          return
        }
        (count, length) = (body.count, body.consumed)
      }
      let view = UnsafeRawBufferPointer(bytes)
      let request = head.request(
        view, body: UnsafeRawBufferPointer(rebasing: view[start..<start + count]))
      outcome = .success((describe(request, keepsAlive: head.keepsAlive), start + length))
    } catch {
      outcome = .failure(error)
    }
  }
  guard let (text, length) = try outcome.get() else { return nil }
  isInBody = false
  buffer.removeFirst(length)
  return text
}

private func describe(_ request: borrowing Request, keepsAlive: Bool) -> String {
  "\(request.method) \(request.path) \(request.query ?? "-") \(request.headers["host"] ?? "-") "
    + "\(keepsAlive) \(Array(request.body))"
}
