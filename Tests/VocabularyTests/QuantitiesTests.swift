import Testing
import Vocabulary

@Suite("Quantities")
struct QuantitiesTests {
  @Test("An instant far away is held at the end of time instead of overflowing")
  func instantSaturates() {
    let late = Instant(nanoseconds: .max - 1)
    #expect(late + .seconds(1) == .distantFuture)
    #expect(Instant.zero + .milliseconds(2) == Instant(nanoseconds: 2_000_000))
  }

  @Test(
    "Byte counts print with a binary unit",
    arguments: [(0, "0 bytes"), (1536, "1.5 KiB"), (512 << 20, "512 MiB"), (5 << 30, "5 GiB")])
  func byteCountPrints(bytes: Int, text: String) {
    #expect(ByteCount(bytes).description == text)
  }
}
