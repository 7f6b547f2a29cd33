/// Every upper bound on what comes from outside, with its reason.
public enum Limits {
  /// Bytes of a request line and its headers together.
  public static let requestHeadBytes = 32 << 10

  /// Headers in one request.
  public static let headerCount = 100

  /// Bytes of a request body, also after decoding: Triton's default, which clients expect.
  public static let requestBodyBytes = 64 << 20

  /// Chunks in one chunked body: more is an attack on memory, not a client.
  public static let chunksPerBody = 65_536

  /// Bytes of a chunk's size line, extensions included.
  public static let chunkLineBytes = 4096

  /// Bytes of a chunked body beside its data: sizes, extensions, line ends.
  public static let chunkOverheadBytes = 2 << 20

  /// Bytes of all request bodies that are being received: many large ones must not fill the memory.
  public static let bodyBytesTogether = 1 << 30

  /// Bytes of a body that is not counted among those, so that small requests always get in.
  public static let smallBodyBytes = 64 << 10

  /// Requests of one connection that wait for their answers: more are not read until some are sent.
  public static let pipelinedRequests = 16

  /// Bytes of answers that a client has not taken: more requests are not read until it does.
  public static let unsentBytes = 4 << 20

  /// Nesting of a JSON body.
  public static let jsonDepth = 100

  /// Dimensions of a tensor.
  public static let tensorRank = 8

  /// Elements of one tensor, so that byte sizes never overflow.
  public static let tensorElements = 1 << 40

  /// Elements of one tensor that plain Swift computes: a request's values can ask for any number,
  /// a model for all weights of a layer (VGG-19: 103 million).
  public static let computedElements = 1 << 27

  /// Rounds of one Loop: its end may depend on what a request holds.
  public static let loopRounds = 1 << 20

  /// Inputs or outputs named in one request.
  public static let tensorsPerRequest = 256

  /// Nodes of one graph, subgraphs included.
  public static let graphNodes = 200_000

  /// Subgraphs and functions inside one another: the reader calls itself for each.
  public static let graphNesting = 16

  /// The oldest operator set version whose operators all behave as implemented.
  public static let oldestOpset = 7

  /// The newest operator set version whose changes are implemented.
  public static let newestOpset = 28

  /// Bytes of one ONNX file: the wire format's own bound.
  public static let modelFileBytes = 1 << 40

  /// Bytes that folding constants of one model may make: a few bytes of file can ask for any.
  public static let foldedBytes = 4 << 30

  /// Open connections.
  public static let connections = 4096

  /// Requests waiting for one model when nothing else is asked for.
  public static let queuedRequestsPerModel = 256

  /// Plans of one model that a backend keeps: one for each shape and number of samples.
  public static let plansPerModel = 256

  /// Ranges of layers of one plan for which a backend keeps where buffers lie.
  public static let arenasPerPlan = 512

  /// Models whose kernels are made at a start; the others wait for their first request.
  ///
  /// 200 of them took 5 s and 470 MB.
  public static let modelsPreparedAtStart = 8

  /// The memory budget below which kernels for batch sizes that nobody has asked for are not made.
  public static let budgetForAllKernels = 1 << 30

  /// Bytes of one model's sheet.
  public static let sheetBytes = 1 << 26

  /// Bytes of weights from which on a layer that is paged is cut into tiles.
  public static let tileBytes = 32 << 20

  /// Bytes of page-ins that the pager carries out together.
  ///
  /// Layers of 64 to 320 KiB came in at 0.5 GB/s one by one; as one read of 2 MiB takes a
  /// millisecond, nothing urgent waits for them.
  public static let gatheredPageInBytes = 2 << 20

  /// Shapes of one model's requests that are told apart at a time.
  public static let shapeClasses = 1024

  /// Samples of one batch when nothing else is asked for.
  public static let samplesPerBatch = 32

  /// Layers of an instance given to the planner: its time grows with their square.
  public static let planLayers = 2000

  /// Samples of an instance given to the planner.
  public static let planSamples = 4096
}
