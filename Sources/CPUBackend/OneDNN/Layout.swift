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
struct MemoryDescriptor: @unchecked Sendable {
  // Unchecked: descriptors are never changed.

  private final class Owner {
    let handle: stowage_layout_t

    init(_ handle: stowage_layout_t) { self.handle = handle }

    deinit { stowage_layout_free(handle) }
  }

  private let owner: Owner
  /// Bytes of memory, padding included.
  let byteCount: Int

  /// For calls, while the descriptor lives.
  var raw: stowage_layout_t { owner.handle }

  init(owning handle: stowage_layout_t) {
    owner = Owner(handle)
    byteCount = stowage_layout_size(handle)
  }

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
    guard let type = Self.type(type), !shape.isEmpty, shape.count <= 6,
      let handle = stowage_layout_tagged(Int32(shape.count), shape.map(Int64.init), type, tag)
    else { return nil }
    self.init(owning: handle)
  }

  /// A tensor with a stride for each axis, in elements.
  init?(_ shape: [Int], _ type: ElementType, strides: [Int]) {
    guard let type = Self.type(type), !shape.isEmpty, shape.count <= 6,
      let handle = stowage_layout_strided(
        Int32(shape.count), shape.map(Int64.init), type, strides.map(Int64.init))
    else { return nil }
    self.init(owning: handle)
  }

  static func == (left: MemoryDescriptor, right: MemoryDescriptor) -> Bool {
    withExtendedLifetime((left, right)) { stowage_layout_equal(left.raw, right.raw) != 0 }
  }

  /// A number that tells layouts apart, the same in every process (FNV-1a over the descriptor).
  var fingerprint: String {
    String(withExtendedLifetime(self) { stowage_layout_hash(raw) }, radix: 16)
  }

  /// Channels in a group of the blocked layout.
  static let block = Processor.block

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
