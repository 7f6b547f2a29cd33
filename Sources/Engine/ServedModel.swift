import Backend
import Compiler
import Models
import Threads
import Vocabulary

/// A model that is ready for requests.
final class ServedModel: Sendable {
  let id: ModelID
  let description: ModelDescription
  let program: Program
  let loaded: any LoadedModel
  let metrics: ModelMetrics
  /// The name of the batch dimension; nil when samples are not independent.
  let batchSymbol: String?
  private let shapeClasses = Lock<[[Int]: Int]>([:])
  private let workspaces: Lock<[(key: WorkspaceKey, workspace: any Workspace)]>
  private let keptWorkspaces: Int

  struct WorkspaceKey: Hashable {
    var capacity: Int
    var inputShapes: [[Int]]
  }

  init(
    id: ModelID, description: ModelDescription, program: Program, loaded: any LoadedModel,
    metrics: ModelMetrics, keptWorkspaces: Int
  ) {
    self.id = id
    self.description = description
    self.program = program
    self.loaded = loaded
    self.metrics = metrics
    self.keptWorkspaces = keptWorkspaces
    workspaces = Lock([])
    batchSymbol = if case .independent(let symbol) = program.batching { symbol } else { nil }
  }

  /// What the scheduler needs to know.
  func queuedRequestClass(_ shapes: [[Int]]) -> Int {
    guard !program.freeSymbols.isEmpty || batchSymbol == nil else { return 0 }
    let key = shapes.flatMap { [$0.count] + (batchSymbol == nil ? $0[...] : $0.dropFirst()) }
    return shapeClasses.withLock { classes in
      if let known = classes[key] { return known }
      // A client that sends ever new shapes must not fill the memory with their names.
      if classes.count >= Limits.shapeClasses { classes.removeAll(keepingCapacity: true) }
      let next = (classes.values.max() ?? -1) + 1
      classes[key] = next
      return next
    }
  }

  /// Memory for a batch: one that was used before, or a new one.
  func takeWorkspace(_ key: WorkspaceKey) throws(ModelError) -> any Workspace {
    let kept = workspaces.withLock { kept -> (any Workspace)? in
      guard let place = kept.firstIndex(where: { $0.key == key }) else { return nil }
      return kept.remove(at: place).workspace
    }
    if let kept { return kept }
    return try loaded.makeWorkspace(samples: key.capacity, inputShapes: key.inputShapes)
  }

  /// Keeps memory for the next batch of the same shape; the one used longest ago makes room.
  func returnWorkspace(_ workspace: any Workspace, _ key: WorkspaceKey) {
    let freed = workspaces.withLock { kept -> (any Workspace)? in
      kept.append((key, workspace))
      return kept.count > keptWorkspaces ? kept.removeFirst().workspace : nil
    }
    withExtendedLifetime(freed) {}
  }
}
