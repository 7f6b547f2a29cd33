import Models

/// Reads any bytes as an ONNX model; anything but an answer or a `ModelError` is a finding.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOnnx(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: start, count: count))
  _ = try? OnnxFile.read(bytes)
  return 0
}
