import COneDNN
import Models
import Vocabulary

/// How the elements of a tensor lie in memory.
enum Layout: Hashable {
  /// Row-major, as requests bring them.
  case plain
  /// Channels (axis 1) in groups as wide as a vector, so that a convolution reads them at once;
  /// the last group is padded with zeros.
  case blocked
  /// Pixel by pixel, all channels of one side by side, which the matrix units of processors with
  /// AMX read.
  case channelsLast
}

/// How a value is kept: the order of its elements, and their type, which in a network of reduced
/// precision may be smaller than the graph's.
struct Form: Hashable, Sendable {
  var layout: Layout
  var type: ElementType
}

/// A oneDNN memory descriptor with what we need of it at hand.
struct MemoryDescriptor {
  var raw: dnnl_memory_desc_t
  /// Bytes of memory, padding included.
  var byteCount: Int { withUnsafePointer(to: raw) { Int(dnnl_memory_desc_get_size($0)) } }

  init(raw: dnnl_memory_desc_t) { self.raw = raw }

  /// A tensor in one of our layouts; nil where oneDNN has no such type or rank.
  init?(_ shape: [Int], _ type: ElementType, _ layout: Layout) {
    guard let tag = Self.tag(rank: shape.count, layout) else { return nil }
    self.init(shape, type, tag: tag)
  }

  /// A tensor whose layout oneDNN chooses.
  static func any(_ shape: [Int], _ type: ElementType) -> MemoryDescriptor? {
    MemoryDescriptor(shape, type, tag: dnnl_format_tag_any)
  }

  init?(_ shape: [Int], _ type: ElementType, tag: dnnl_format_tag_t) {
    guard let type = Self.type(type), !shape.isEmpty, shape.count <= 6 else { return nil }
    var raw = dnnl_memory_desc_t()
    guard
      dnnl_memory_desc_init_by_tag(&raw, Int32(shape.count), shape.map(Int64.init), type, tag)
        == dnnl_success
    else { return nil }
    self.raw = raw
  }

  /// A tensor with a stride for each axis, in elements.
  init?(_ shape: [Int], _ type: ElementType, strides: [Int]) {
    guard let type = Self.type(type), !shape.isEmpty, shape.count <= 6 else { return nil }
    var raw = dnnl_memory_desc_t()
    guard
      dnnl_memory_desc_init_by_strides(
        &raw, Int32(shape.count), shape.map(Int64.init), type, strides.map(Int64.init))
        == dnnl_success
    else { return nil }
    self.raw = raw
  }

  static func == (left: MemoryDescriptor, right: MemoryDescriptor) -> Bool {
    withUnsafePointer(to: left.raw) { left in
      withUnsafePointer(to: right.raw) { dnnl_memory_desc_equal(left, $0) != 0 }
    }
  }

  /// A number that tells layouts apart, the same in every process (FNV-1a over the descriptor).
  var fingerprint: String {
    let hash = withUnsafeBytes(of: raw) { bytes in
      bytes.reduce(UInt64(0xCBF2_9CE4_8422_2325)) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
    }
    return String(hash, radix: 16)
  }

  /// Channels in a group of the blocked layout.
  static let block: Int =
    dnnl_get_effective_cpu_isa().rawValue >= dnnl_cpu_isa_avx512_core.rawValue ? 16 : 8

  private static func tag(rank: Int, _ layout: Layout) -> dnnl_format_tag_t? {
    switch (layout, rank) {
    case (.plain, 1): dnnl_a
    case (.plain, 2): dnnl_ab
    case (.plain, 3): dnnl_abc
    case (.plain, 4): dnnl_abcd
    case (.plain, 5): dnnl_abcde
    case (.plain, 6): dnnl_abcdef
    case (.blocked, 3): block == 16 ? dnnl_aBc16b : dnnl_aBc8b
    case (.blocked, 4): block == 16 ? dnnl_aBcd16b : dnnl_aBcd8b
    case (.blocked, 5): block == 16 ? dnnl_aBcde16b : dnnl_aBcde8b
    case (.channelsLast, 3): dnnl_acb
    case (.channelsLast, 4): dnnl_acdb
    case (.channelsLast, 5): dnnl_acdeb
    default: nil
    }
  }

  static func type(_ type: ElementType) -> dnnl_data_type_t? {
    switch type {
    case .float32: dnnl_f32
    case .bfloat16: dnnl_bf16
    case .int8: dnnl_s8
    case .uint8: dnnl_u8
    case .int32: dnnl_s32
    default: nil
    }
  }
}
