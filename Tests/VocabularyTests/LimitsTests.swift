import Testing
import Vocabulary

@Suite("Limits")
struct LimitsTests {
  @Test("The weights of VGG-19's largest layer may be computed")
  func largestLayer() {
    #expect(Limits.computedElements >= 4096 * 25_088)
  }
}
