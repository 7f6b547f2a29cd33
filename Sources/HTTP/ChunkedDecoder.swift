import Vocabulary

/// Takes the chunked coding off a body, in place: the data ends up at the front of its own bytes.
public struct ChunkedDecoder: Sendable {
  private enum State: Sendable {
    case size
    case data(left: Int)
    case dataEnd
    case trailers
  }

  private var state = State.size
  private var chunks = 0
  private var trailerBytes = 0
  /// Bytes of the coded body read so far.
  public private(set) var consumed = 0
  /// Bytes of the decoded body so far.
  public private(set) var count = 0

  /// A decoder at the start of a body.
  public init() {}

  /// Decodes what has come.
  ///
  /// - Parameter bytes: The body from its first byte on; the same memory on every call, with more
  ///   bytes behind what was consumed.
  /// - Returns: Whether the body is complete; then `count` bytes at the front are its data.
  /// - Throws: `RequestError`, when the coding is malformed or a limit is passed.
  public mutating func decode(_ bytes: UnsafeMutableRawBufferPointer) throws(RequestError) -> Bool {
    while true {
      switch state {
      case .size:
        guard let line = try nextLine(bytes) else { return false }
        let size = try Self.chunkSize(bytes, line)
        chunks += 1
        guard chunks <= Limits.chunksPerBody, size <= Limits.requestBodyBytes - count else {
          throw .bodyTooLarge
        }
        // Sizes and extensions stay in memory until the body is complete.
        guard consumed - count <= Limits.chunkOverheadBytes else { throw .bodyTooLarge }
        state = size == 0 ? .trailers : .data(left: size)
      case .data(let left):
        let length = min(left, bytes.count - consumed)
        guard length > 0, let base = bytes.baseAddress else { return false }
        memmoveBytes(base + count, base + consumed, length)
        consumed += length
        count += length
        state = length == left ? .dataEnd : .data(left: left - length)
      case .dataEnd:
        guard bytes.count > consumed else { return false }
        guard bytes[consumed] == 13 else { throw Self.malformed }
        guard bytes.count - consumed >= 2 else { return false }
        guard bytes[consumed + 1] == 10 else { throw Self.malformed }
        consumed += 2
        state = .size
      case .trailers:
        guard let line = try nextLine(bytes) else { return false }
        trailerBytes += line.count
        guard trailerBytes <= Limits.requestHeadBytes else {
          throw RequestError(status: 431, message: "The trailers are too large.")
        }
        if line.isEmpty { return true }
      }
    }
  }

  private static let malformed = RequestError(
    status: 400, message: "The chunked body is malformed.")

  /// The next line without its CR LF, or nil while it has not come.
  private mutating func nextLine(
    _ bytes: UnsafeMutableRawBufferPointer
  ) throws(RequestError) -> Range<Int>? {
    let limit = min(bytes.count, consumed + Limits.chunkLineBytes)
    guard let feed = bytes[consumed..<limit].firstIndex(of: 10) else {
      guard bytes.count - consumed < Limits.chunkLineBytes else { throw Self.malformed }
      return nil
    }
    guard feed > consumed, bytes[feed - 1] == 13 else { throw Self.malformed }
    let line = consumed..<(feed - 1)
    guard !bytes[line].contains(where: { $0 == 13 || $0 == 0 }) else { throw Self.malformed }
    consumed = feed + 1
    return line
  }

  /// One or more hexadecimal digits, then nothing or an extension, which is ignored.
  private static func chunkSize(
    _ bytes: UnsafeMutableRawBufferPointer, _ line: Range<Int>
  ) throws(RequestError) -> Int {
    var (size, digits) = (0, 0)
    for place in line {
      guard let digit = Characters.hexadecimal(bytes[place]) else {
        guard bytes[place] == UInt8(ascii: ";"), digits > 0 else { throw malformed }
        break
      }
      digits += 1
      guard digits <= 15 else { throw malformed }
      size = size << 4 | digit
    }
    guard digits > 0 else { throw malformed }
    return size
  }

  private func memmoveBytes(
    _ target: UnsafeMutableRawPointer, _ source: UnsafeMutableRawPointer, _ count: Int
  ) {
    guard target != source else { return }
    target.copyMemory(from: source, byteCount: count)
  }
}
