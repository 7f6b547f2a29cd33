public import Vocabulary

extension ElementType {
  /// The type behind a `TensorProto.DataType`.
  ///
  /// - Throws: `ModelError` with the type's name, when the server cannot carry it.
  public init(onnx code: Int) throws(ModelError) {
    let carried: [Int: ElementType] = [
      1: .float32, 2: .uint8, 3: .int8, 4: .uint16, 5: .int16, 6: .int32, 7: .int64, 8: .string,
      9: .bool, 10: .float16, 11: .float64, 12: .uint32, 13: .uint64, 16: .bfloat16,
    ]
    guard let type = carried[code] else {
      let others = [
        0: "UNDEFINED", 14: "COMPLEX64", 15: "COMPLEX128", 17: "FLOAT8E4M3FN",
        18: "FLOAT8E4M3FNUZ", 19: "FLOAT8E5M2", 20: "FLOAT8E5M2FNUZ", 21: "UINT4", 22: "INT4",
        23: "FLOAT4E2M1", 24: "FLOAT8E8M0", 25: "UINT2", 26: "INT2", 27: "FLOAT6E2M3",
        28: "FLOAT6E3M2",
      ]
      throw ModelError("Element type \(others[code] ?? String(code)) is not supported.")
    }
    self = type
  }

  /// The type's number in ONNX files, as attributes such as Cast's `to` give it.
  public var onnxCode: Int {
    switch self {
    case .float32: 1
    case .uint8: 2
    case .int8: 3
    case .uint16: 4
    case .int16: 5
    case .int32: 6
    case .int64: 7
    case .string: 8
    case .bool: 9
    case .float16: 10
    case .float64: 11
    case .uint32: 12
    case .uint64: 13
    case .bfloat16: 16
    }
  }
}
