import Models

/// What a file of packed weights says about itself.
///
/// ```
/// ┌ layer 0 ┬ layer 1 ┬ … ┬ table: key, constants, a hash for each page ┬ trailer ┐
/// └─ each begins at a page                                              └─ 32 bytes
/// ```
///
/// The trailer comes last: a file that was not finished has none.
struct PackedTable: Equatable {
  /// Weights come, go and are hashed in pages of this size.
  static let pageBytes = 64 << 10
  static let trailerBytes = 32
  private static let magic: UInt64 = 0x3230_5345_4741_5453

  /// One constant in one form.
  struct Constant: Equatable {
    var layer: Int
    /// Which of the layer's kernels reads it.
    var kernel = 0
    var name: String
    /// Where it lies in the file.
    var offset: Int
    var byteCount: Int
  }

  /// Everything that the weights depend on.
  var key: String
  var constants: [Constant] = []
  /// Bytes of all layers: whole pages.
  var dataBytes = 0
  /// The hash of each page.
  var hashes: [UInt64] = []

  /// The table and the trailer, to be put after the data.
  func encoded() -> [UInt8] {
    var writer = ByteWriter()
    writer.put(key)
    writer.put(constants.count)
    for constant in constants {
      writer.put(constant.layer)
      writer.put(constant.kernel)
      writer.put(constant.offset)
      writer.put(constant.byteCount)
      writer.put(constant.name)
    }
    var bytes = writer.bytes
    hashes.withUnsafeBytes { bytes += $0 }
    let hash = bytes.withUnsafeBytes(XXH64.hash)
    for word in [Self.magic, UInt64(dataBytes), UInt64(bytes.count), hash] {
      withUnsafeBytes(of: word.littleEndian) { bytes += $0 }
    }
    return bytes
  }

  init(key: String) { self.key = key }

  /// Bytes of data and of the table that a trailer tells; nil when it is none.
  static func sizes(trailer: [UInt8], fileBytes: Int) -> (data: Int, table: Int)? {
    var reader = ByteReader(bytes: trailer)
    guard reader.word() == magic, let data = reader.number(), let table = reader.number(),
      data % pageBytes == 0, data <= fileBytes, table <= fileBytes,
      data + table + trailerBytes == fileBytes
    else { return nil }
    return (data, table)
  }

  /// Reads a table with its trailer; nil when a bit of it is wrong.
  init?(_ bytes: [UInt8], dataBytes: Int) {
    guard bytes.count >= Self.trailerBytes else { return nil }
    let body = Array(bytes.dropLast(Self.trailerBytes))
    var trailer = ByteReader(bytes: Array(bytes.suffix(8)))
    guard trailer.word() == body.withUnsafeBytes(XXH64.hash) else { return nil }
    var reader = ByteReader(bytes: body)
    guard let key = reader.text(), let count = reader.number(), count <= body.count else {
      return nil
    }
    self.key = key
    self.dataBytes = dataBytes
    for _ in 0..<count {
      guard let layer = reader.number(), let kernel = reader.number(),
        let offset = reader.number(), let size = reader.number(), let name = reader.text(),
        offset <= dataBytes, size <= dataBytes - offset
      else { return nil }
      constants.append(
        Constant(layer: layer, kernel: kernel, name: name, offset: offset, byteCount: size))
    }
    for _ in 0..<dataBytes / Self.pageBytes {
      guard let hash = reader.word() else { return nil }
      hashes.append(hash)
    }
  }
}
