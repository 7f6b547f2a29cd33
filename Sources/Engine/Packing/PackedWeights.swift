import Backend
import Glibc
import Models
import Synchronization
import Threads

/// The weights of a model in a file, so that they can leave memory and come back.
///
/// New ones are written while the backend asks for their places, one constant at a time, so that
/// packing takes no more memory than the largest constant. Addresses are set aside once, beyond the
/// end of the file: places are right before their bytes are there. What is asked for after sealing,
/// such as a form for shapes that nobody expected, stays in memory of its own.
final class PackedWeights: WeightStore {
  /// A piece of a kernel's weights: whole pages of the file.
  struct Extent: Equatable {
    var offset: Int
    var byteCount: Int
  }

  private struct Key: Hashable {
    var owner: LayerKernel
    var name: String
  }

  private struct State {
    var table: PackedTable
    var places: [Key: Int] = [:]
    var extents: [LayerKernel: [Extent]] = [:]
    /// Whose weights were written last.
    var lastOwner: LayerKernel?
    /// The end of the last constant.
    var end = 0
    var isSealed = false
    /// Bytes from the beginning of each kernel's weights that are in memory.
    var resident: [LayerKernel: Int] = [:]
    var checked = CheckedPages()

    func byteCount(_ owner: LayerKernel) -> Int {
      extents[owner]?.reduce(0) { $0 + $1.byteCount } ?? 0
    }
  }

  /// Some bytes of the weights of a layer's kernel.
  struct Piece: Equatable {
    var owner: LayerKernel
    var bytes: Range<Int>

    init(layer: Int, kernel: Int = 0, bytes: Range<Int>) {
      owner = LayerKernel(layer: layer, kernel: kernel)
      self.bytes = bytes
    }
  }

  let file: PackedFile
  private let memory: WeightMemory
  private let state: Lock<State>
  private let extras = MemoryWeights()

  /// New weights, to be sealed when the backend has what it needs.
  ///
  /// - Parameter limit: The most bytes that they may take.
  /// - Throws: `ModelError`, when there are no addresses for so many.
  init(
    writing file: PackedFile, key: String, limit: Int, _ source: WeightMemory.Source
  ) throws(ModelError) {
    self.file = file
    memory = try WeightMemory(file, byteCount: limit, source)
    state = Lock(State(table: PackedTable(key: key)))
  }

  /// Weights that were packed before.
  ///
  /// - Throws: `ModelError`, when there are no addresses for them.
  init(
    reading file: PackedFile, _ table: PackedTable, _ source: WeightMemory.Source
  ) throws(ModelError) {
    self.file = file
    memory = try WeightMemory(file, byteCount: table.dataBytes, source)
    var state = State(table: table)
    for constant in table.constants { Self.note(constant, &state) }
    state.isSealed = true
    self.state = Lock(state)
    arrange()
  }

  /// Whether the backend asked for something that was not packed.
  var isIncomplete: Bool { state.withLock { _ in extrasBytes.load(ordering: .relaxed) > 0 } }

  /// Bytes that stay in memory whatever the pager does.
  private let extrasBytes = Atomic<Int>(0)

  /// What the weights depend on.
  var key: String { state.withLock { $0.table.key } }

  /// Whether nothing was packed.
  var isEmpty: Bool { state.withLock { $0.places.isEmpty } }

  // MARK: WeightStore

  func byteCount(layer: Int, kernel: Int) -> Int {
    state.withLock { $0.byteCount(LayerKernel(layer: layer, kernel: kernel)) }
  }

  func place(
    layer: Int, kernel: Int, name: String, byteCount: Int,
    fill: (UnsafeMutableRawPointer) throws(ModelError) -> Void
  ) throws(ModelError) -> UnsafeMutableRawPointer {
    let owner = LayerKernel(layer: layer, kernel: kernel)
    let key = Key(owner: owner, name: name)
    let (known, isSealed) = state.withLock { ($0.places[key], $0.isSealed) }
    if let known { return memory.base + known }
    guard !isSealed else {
      return try extras.place(layer: layer, kernel: kernel, name: name, byteCount: byteCount) {
        (memory) throws(ModelError) in
        try fill(memory)
        extrasBytes.add(byteCount, ordering: .relaxed)
      }
    }
    let bytes = UnsafeMutableRawPointer.allocate(byteCount: max(byteCount, 64), alignment: 64)
    defer { bytes.deallocate() }
    try fill(bytes)
    return try state.withLock { (state) throws(ModelError) in
      let isNext = state.lastOwner == owner
      // What fills large pages begins at one, so that it comes and goes by large pages.
      let border =
        byteCount >= PageFrames.frameBytes ? PageFrames.frameBytes : PackedTable.pageBytes
      let offset = Self.round(state.end, to: isNext ? 64 : border)
      guard offset + byteCount <= memory.byteCount else {
        throw ModelError("Its weights become far larger by packing than they are in its file.")
      }
      try file.write(UnsafeRawBufferPointer(start: bytes, count: byteCount), at: offset)
      let constant = PackedTable.Constant(
        layer: layer, kernel: kernel, name: name, offset: offset, byteCount: byteCount)
      state.table.constants.append(constant)
      Self.note(constant, &state)
      return memory.base + offset
    }
  }

  private static func note(_ constant: PackedTable.Constant, _ state: inout State) {
    let owner = LayerKernel(layer: constant.layer, kernel: constant.kernel)
    state.places[Key(owner: owner, name: constant.name)] = constant.offset
    state.end = constant.offset + constant.byteCount
    var extents = state.extents[owner, default: []]
    let start = state.lastOwner == owner ? extents.popLast()?.offset : nil
    let offset = start ?? constant.offset
    extents.append(Extent(offset: offset, byteCount: pages(state.end) - offset))
    state.extents[owner] = extents
    state.lastOwner = owner
  }

  private static func round(_ bytes: Int, to unit: Int) -> Int { (bytes + unit - 1) / unit * unit }

  private static func pages(_ bytes: Int) -> Int { round(bytes, to: PackedTable.pageBytes) }

  /// Finishes new weights: hashes, table, and the name under which others find them.
  ///
  /// - Throws: `ModelError`, when the disk does not take them.
  func seal() throws(ModelError) {
    let table = try state.withLock { (state) throws(ModelError) -> PackedTable? in
      guard !state.isSealed else { return nil }
      state.isSealed = true
      state.table.dataBytes = Self.pages(state.end)
      try file.resize(to: state.table.dataBytes)
      state.table.hashes = try file.hashes(
        pages: state.table.dataBytes / PackedTable.pageBytes)
      return state.table
    }
    guard let table else { return }
    try file.finish(table)
    arrange()
  }

  private func arrange() {
    for extent in state.withLock({ $0.extents.values.joined() }) {
      memory.useLargePages(in: extent.offset..<extent.offset + extent.byteCount)
    }
  }

  // MARK: Paging

  /// Brings some bytes of a kernel's weights into memory, behind those that are there.
  ///
  /// - Throws: `ModelError`, when the file was cut short, cannot be read, or was changed.
  func pageIn(layer: Int, kernel: Int = 0, bytes: Range<Int>) throws(ModelError) {
    try pageIn([Piece(layer: layer, kernel: kernel, bytes: bytes)])
  }

  /// Brings pieces of several kernels' weights into memory; what lies side by side is read at once.
  ///
  /// - Throws: `ModelError`, when the file was cut short, cannot be read, or was changed: then none
  ///   of them count as being there.
  func pageIn(_ pieces: [Piece]) throws(ModelError) {
    var pending = pieces.flatMap(ranges)[...]
    while let first = pending.popFirst() {
      var together = [first]
      while let next = pending.first, next.lowerBound == together[together.count - 1].upperBound {
        together.append(next)
        pending.removeFirst()
      }
      let before = file.version
      try memory.pageIn(together)
      let end = together[together.count - 1].upperBound
      try check(
        first.lowerBound / PackedTable.pageBytes..<end / PackedTable.pageBytes, before,
        file.version)
    }
    state.withLock { state in
      for piece in pieces {
        let (there, bytes) = (state.resident[piece.owner] ?? 0, piece.bytes)
        // Behind a page-in that failed there may be others, which count for nothing then.
        if bytes.lowerBound <= there { state.resident[piece.owner] = max(bytes.upperBound, there) }
      }
    }
  }

  /// Compares pages that have just been read with their hashes, unless they were found right since
  /// the file changed last: hashing takes ten times as long as reading.
  private func check(
    _ pages: Range<Int>, _ before: PackedFile.Version?, _ after: PackedFile.Version?
  ) throws(ModelError) {
    let unknown = state.withLock { $0.checked.unknown(of: pages, in: after) }
    for page in unknown where state.withLock({ $0.table.hashes[page] }) != memory.hash(page: page) {
      throw ModelError(
        "Its packed weights were changed on the disk. They are packed anew; ask again soon.")
    }
    state.withLock { $0.checked.note(unknown, before, after) }
  }

  /// Lets some bytes of a kernel's weights go, down to their end.
  func evict(layer: Int, kernel: Int = 0, bytes: Range<Int>) {
    let piece = Piece(layer: layer, kernel: kernel, bytes: bytes)
    state.withLock {
      $0.resident[piece.owner] = min(bytes.lowerBound, $0.resident[piece.owner] ?? 0)
    }
    for range in ranges(piece) { memory.evict(range) }
  }

  /// Whether all weights of some layers are in memory, or come by themselves.
  ///
  /// - Parameter kernels: Which kernel computes each of the layers; empty for the first everywhere.
  func isResident(_ layers: Range<Int>, kernels: [Int] = []) -> Bool {
    if case .mapping = memory.source { return true }
    return state.withLock { state in
      layers.allSatisfy { layer in
        let kernel = kernels.isEmpty ? 0 : kernels[layer - layers.lowerBound]
        let owner = LayerKernel(layer: layer, kernel: kernel)
        return state.resident[owner] ?? 0 >= state.byteCount(owner)
      }
    }
  }

  /// Where a piece lies in the file: its extents one after another.
  func ranges(_ piece: Piece) -> [Range<Int>] {
    var start = 0
    var found: [Range<Int>] = []
    for extent in state.withLock({ $0.extents[piece.owner, default: []] }) {
      let part = piece.bytes.clamped(to: start..<start + extent.byteCount)
      if !part.isEmpty {
        let offset = extent.offset - start
        found.append(part.lowerBound + offset..<part.upperBound + offset)
      }
      start += extent.byteCount
    }
    return found
  }
}
