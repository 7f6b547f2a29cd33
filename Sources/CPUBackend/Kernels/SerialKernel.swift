import Models

/// A kernel that runs on the calling thread alone, whatever the units of its run: where another
/// process keeps a core busy, waiting for a second thread takes longer than all of a small kernel.
struct SerialKernel: Kernel {
  let kernel: any Kernel
  /// The units of the run, for what comes after it.
  let units: Int

  var scratch: Int { kernel.scratch }

  var parts: [OperandPart] { kernel.parts }

  func prepare() throws(ModelError) {
    OneDNN.use(units: 1)
    defer { OneDNN.use(units: units) }
    try kernel.prepare()
  }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    OneDNN.use(units: 1)
    defer { OneDNN.use(units: units) }
    try kernel.run(operands, scratchpad: scratchpad)
  }
}
