/// What convolutions and products of a network are computed with.
public enum Precision: String, CaseIterable, Sendable {
  /// As the file says.
  case float32 = "fp32"
  /// Weights and activations that the file keeps in FP32 are rounded to BF16, sums are FP32: half
  /// the memory, and on processors with matrix units a fraction of the time.
  case bfloat16 = "bf16"
}
