/// What a path asks for.
enum Route: Equatable {
  case server
  case live
  case ready
  case models
  case model(String, version: String?)
  case modelReady(String, version: String?)
  case plan(String, version: String?)
  case infer(String, version: String?)
  case metrics

  /// The methods that the route takes, as an `Allow` header says them.
  var methods: String {
    if case .infer = self { return "POST" }
    return "GET, HEAD"
  }

  /// Whether the route takes a method.
  func takes(_ method: String) -> Bool {
    if case .infer = self { return method == "POST" }
    return method == "GET" || method == "HEAD"
  }

  /// The route of a path, whose segments may be percent-encoded.
  ///
  /// - Throws: 404 for a path that names nothing, 400 for a name that cannot be decoded.
  init(path: String) throws(APIError) {
    var segments = Segments(path)
    guard let first = segments.next() else { throw Self.unknown(path) }
    if first.elementsEqual("metrics".utf8), segments.isAtEnd {
      self = .metrics
      return
    }
    guard first.elementsEqual("v2".utf8) else { throw Self.unknown(path) }
    guard let second = segments.next() else {
      self = .server
      return
    }
    if second.isEmpty, segments.isAtEnd {
      self = .server
    } else if second.elementsEqual("health".utf8), let third = segments.next(), segments.isAtEnd {
      if third.elementsEqual("live".utf8) {
        self = .live
      } else if third.elementsEqual("ready".utf8) {
        self = .ready
      } else {
        throw Self.unknown(path)
      }
    } else if second.elementsEqual("models".utf8) {
      guard let name = segments.next() else {
        self = .models
        return
      }
      self = try Self.model(name, &segments, path)
    } else {
      throw Self.unknown(path)
    }
  }

  /// The route of what follows `/v2/models/NAME`.
  private static func model(
    _ encoded: Substring.UTF8View, _ segments: inout Segments, _ path: String
  ) throws(APIError) -> Route {
    guard !encoded.isEmpty else { throw unknown(path) }
    let name = try decoded(encoded)
    var version: String?
    var segment = segments.next()
    if let word = segment, word.elementsEqual("versions".utf8) {
      guard let number = segments.next(), !number.isEmpty else { throw unknown(path) }
      version = try decoded(number)
      segment = segments.next()
    }
    guard let last = segment else { return .model(name, version: version) }
    guard segments.isAtEnd else { throw unknown(path) }
    if last.elementsEqual("infer".utf8) { return .infer(name, version: version) }
    if last.elementsEqual("plan".utf8) { return .plan(name, version: version) }
    if last.elementsEqual("ready".utf8) { return .modelReady(name, version: version) }
    throw unknown(path)
  }

  private static func unknown(_ path: String) -> APIError {
    APIError(
      404,
      "There is nothing at \(path). GET /v2/models lists the models; a model answers at "
        + "/v2/models/NAME/infer.")
  }

  /// Takes percent-encoding off one segment (RFC 3986 §2.1).
  private static func decoded(_ segment: Substring.UTF8View) throws(APIError) -> String {
    guard segment.contains(UInt8(ascii: "%")) else { return String(Substring(segment)) }
    let problem = APIError.invalid(
      "The path segment '\(Substring(segment))' is not percent-encoded UTF-8.")
    var bytes: [UInt8] = []
    var rest = segment.makeIterator()
    while let byte = rest.next() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard let high = rest.next().flatMap(hexadecimal), let low = rest.next().flatMap(hexadecimal)
      else { throw problem }
      bytes.append(high << 4 | low)
    }
    guard let string = String(validating: bytes, as: UTF8.self) else { throw problem }
    return string
  }

  private static func hexadecimal(_ digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}

/// The segments of a path, one after the other, without copies.
private struct Segments {
  private var rest: Substring.UTF8View?

  /// Begins after the leading slash; a path without one has no segments.
  init(_ path: String) {
    rest = path.utf8.first == UInt8(ascii: "/") ? path.dropFirst().utf8 : nil
  }

  /// Whether no segment is left.
  var isAtEnd: Bool { rest == nil }

  mutating func next() -> Substring.UTF8View? {
    guard let current = rest else { return nil }
    guard let slash = current.firstIndex(of: UInt8(ascii: "/")) else {
      rest = nil
      return current
    }
    rest = current[current.index(after: slash)...]
    return current[..<slash]
  }
}
