import Backend
import Models
import Threads
import Vocabulary

/// A model that is ready for requests.
final class ServedModel: Sendable {
  let id: ModelID
  let description: ModelDescription
  let sheet: ModelSheet
  let preparation: Preparation
  /// Its weights in a file; nil where the backend keeps them itself.
  let packed: PackedWeights?
  let metrics: ModelMetrics
  let paging: PagingMetrics
  /// Why its last batch was lost, when that was not a run's fault.
  let failure = Lock<String?>(nil)
  private let shapeClasses = Lock(ShapeClasses())

  init(
    id: ModelID, description: ModelDescription, sheet: ModelSheet, preparation: Preparation,
    packed: PackedWeights?, metrics: ModelMetrics, paging: PagingMetrics
  ) {
    self.id = id
    self.description = description
    self.sheet = sheet
    self.preparation = preparation
    self.packed = packed
    self.metrics = metrics
    self.paging = paging
  }

  /// The name of the batch dimension; nil when samples are not independent.
  var batchSymbol: String? { sheet.batchSymbol }

  /// What the scheduler needs to know.
  func queuedRequestClass(_ shapes: [[Int]]) -> Int {
    guard sheet.hasFreeSizes || batchSymbol == nil else { return 0 }
    let key = shapes.flatMap { [$0.count] + (batchSymbol == nil ? $0[...] : $0.dropFirst()) }
    return shapeClasses.withLock { $0.number(of: key) }
  }
}

/// Numbers of the shapes that requests come with: who has the same number can travel together.
struct ShapeClasses: Sendable {
  private var numbers: [[Int]: Int] = [:]
  /// Never used again, also when names are forgotten: requests with the old number may still wait.
  private var next = 0

  /// The number of a shape; at most `Limits.shapeClasses` of them are remembered.
  mutating func number(of shape: [Int]) -> Int {
    if let known = numbers[shape] { return known }
    // A client that sends ever new shapes must not fill the memory with their names.
    if numbers.count >= Limits.shapeClasses { numbers.removeAll(keepingCapacity: true) }
    defer { next += 1 }
    numbers[shape] = next
    return next
  }
}
