/// The pages of a packed file that were found right since the file changed last.
struct CheckedPages {
  private var version: PackedFile.Version?
  private var isRight: [Bool] = []

  /// The pages whose bytes have to be compared with their hashes after they were read.
  ///
  /// - Parameter after: The version of the file after they were read.
  mutating func unknown(of pages: Range<Int>, in after: PackedFile.Version?) -> [Int] {
    if after == nil || after != version {
      version = after
      isRight = []
    }
    return pages.filter { !isRight.indices.contains($0) || !isRight[$0] }
  }

  /// Takes note of pages that were right.
  ///
  /// Only when the file was not changed while they were read, nor so recently that another change
  /// would leave its times as they are.
  mutating func note(
    _ pages: [Int], _ before: PackedFile.Version?, _ after: PackedFile.Version?
  ) {
    guard let last = pages.last, let after, before == after, after == version, after.isSettled
    else { return }
    if isRight.count <= last {
      isRight += Array(repeating: false, count: last + 1 - isRight.count)
    }
    for page in pages { isRight[page] = true }
  }
}
