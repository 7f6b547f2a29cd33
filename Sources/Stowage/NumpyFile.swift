import Vocabulary

/// An array as `numpy.save` writes it: format versions 1 to 3, C order, numbers or booleans.
///
/// The format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
struct NumpyFile: Equatable {
  /// Why a file cannot be read, as a sentence.
  struct Problem: Error, CustomStringConvertible, Equatable {
    let description: String
  }

  /// The type of the elements.
  let type: ElementType
  /// The dimensions; empty for a scalar.
  let shape: [Int]
  /// The elements: little-endian, row-major.
  let elements: [UInt8]

  /// Reads the bytes of a file.
  ///
  /// - Throws: `Problem` for anything but a whole array of numbers in C order.
  init(_ bytes: [UInt8]) throws(Problem) {
    guard bytes.count >= 10, bytes.starts(with: [0x93] + Array("NUMPY".utf8)) else {
      throw Problem(description: "This is no .npy file: it does not begin with the NUMPY mark.")
    }
    let version = Int(bytes[6])
    guard (1...3).contains(version) else {
      throw Problem(description: "Format version \(version) of .npy is not known; 1 to 3 are.")
    }
    // Version 1 has a two-byte length; later ones four bytes.
    let lengthBytes = version == 1 ? 2 : 4
    guard bytes.count >= 8 + lengthBytes else { throw Self.cutOff }
    let length = bytes[8..<8 + lengthBytes].reversed().reduce(0) { $0 << 8 | Int($1) }
    let start = 8 + lengthBytes + length
    guard start <= bytes.count else { throw Self.cutOff }
    let header = String(decoding: bytes[8 + lengthBytes..<start], as: UTF8.self)

    guard Self.value(of: "fortran_order", in: header)?.hasPrefix("False") == true else {
      throw Problem(
        description: "The array is in Fortran order: save numpy.ascontiguousarray(array) instead.")
    }
    (type, shape) = (try Self.type(in: header), try Self.shape(in: header))
    var size = type.byteSize
    for dimension in shape {
      let (product, overflow) = size.multipliedReportingOverflow(by: dimension)
      guard !overflow else { throw Self.cutOff }
      size = product
    }
    guard bytes.count - start == size else { throw Self.cutOff }
    elements = Array(bytes[start...])
  }

  private static let cutOff = Problem(
    description: "The .npy file is not as long as its header says: save it again.")

  /// What follows a key of the header, which is a Python dictionary.
  private static func value(of key: String, in header: String) -> Substring? {
    guard let range = header.firstRange(of: "'\(key)':") else { return nil }
    return header[range.upperBound...].drop { $0 == " " }
  }

  private static func type(in header: String) throws(Problem) -> ElementType {
    let value = Self.value(of: "descr", in: header) ?? ""
    let description = value.dropFirst().prefix { $0 != "'" }
    let known: [Substring: ElementType] = [
      "|b1": .bool, "|u1": .uint8, "|i1": .int8, "<u2": .uint16, "<i2": .int16, "<u4": .uint32,
      "<i4": .int32, "<u8": .uint64, "<i8": .int64, "<f2": .float16, "<f4": .float32,
      "<f8": .float64,
    ]
    guard value.first == "'", let type = known[description] else {
      throw Problem(
        description: "Arrays of '\(description)' cannot be sent: save numbers in little-endian "
          + "order, as with array.astype('<f4').")
    }
    return type
  }

  private static func shape(in header: String) throws(Problem) -> [Int] {
    let value = Self.value(of: "shape", in: header) ?? ""
    let problem = Problem(description: "The header of the .npy file has no shape.")
    guard value.first == "(", let end = value.firstIndex(of: ")") else { throw problem }
    var shape: [Int] = []
    for word in value[..<end].dropFirst().split(separator: ",") {
      let digits = word.filter { $0 != " " }
      guard let dimension = Int(digits), dimension >= 0 else { throw problem }
      shape.append(dimension)
    }
    return shape
  }
}
