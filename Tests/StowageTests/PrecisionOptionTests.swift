import Testing
import Vocabulary

@testable import Stowage

@Suite("--precision")
struct PrecisionOptionTests {
  @Test("An argument is for all models or for a named one")
  func forms() {
    #expect(PrecisionOption(argument: "bf16")?.model == nil)
    #expect(PrecisionOption(argument: "bf16")?.precision == .bfloat16)
    #expect(PrecisionOption(argument: "resnet=fp32")?.model == "resnet")
    #expect(PrecisionOption(argument: "resnet=fp32")?.precision == .float32)
  }

  @Test("Anything else is refused", arguments: ["", "fp16", "=bf16", "a=", "a=b=bf16", "bf16="])
  func refusals(argument: String) {
    #expect(PrecisionOption(argument: argument) == nil)
  }
}
