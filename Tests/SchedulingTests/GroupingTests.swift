@testable import Scheduling
import Testing

/// The groups of one model and when each is through, when groups are chosen as the scheduler does.
private func groups(
  of count: Int, others: Double = 0, time: (Int) -> Double
) -> (sizes: [Int], sum: Double) {
  var (left, now, sum): (Int, Double, Double) = (count, 0, 0)
  var (sizes, scratch): ([Int], [Double]) = ([], [])
  while left > 0 {
    let size = Grouping.first(
      waiting: left, others: others, largest: left, scratch: &scratch, time: time)
    sizes.append(size)
    now += time(size)
    sum += now * Double(size)
    left -= size
  }
  return (sizes, sum)
}

@Suite("How many go together")
struct GroupingTests {
  /// A group costs `fixed` and a millisecond for each request.
  struct Story {
    var fixed: Double
    var requests: Int
    var mean: Double
    /// The sizes where only one choice is best.
    var sizes: [Int]?
  }

  private static let stories = [
    Story(fixed: 1, requests: 10, mean: 8.5, sizes: [4, 3, 2, 1]),
    Story(fixed: 1, requests: 15, mean: 175.0 / 15, sizes: [5, 4, 3, 2, 1]),
    Story(fixed: 1, requests: 6, mean: 35.0 / 6, sizes: [3, 2, 1]),
    Story(fixed: 0, requests: 10, mean: 5.5, sizes: Array(repeating: 1, count: 10)),
    Story(fixed: 100, requests: 10, mean: 110, sizes: [10]),
    Story(fixed: 3, requests: 10, mean: 11.8), Story(fixed: 4, requests: 16, mean: 17.6875),
  ]

  @Test("T2, T3, T4: the first group of those that wait is the best one", arguments: stories)
  func sBatch(story: Story) {
    let (sizes, sum) = groups(of: story.requests) { story.fixed + Double($0) }
    #expect(abs(sum / Double(story.requests) - story.mean) < 1e-9)
    if let expected = story.sizes { #expect(sizes == expected) }
    #expect(sizes == sizes.sorted(by: >), "Groups never grow.")
  }

  @Test("T2: all in one batch or one by one takes 11, in groups 8.5")
  func extremes() {
    let time = { (size: Int) in 1 + Double(size) }
    #expect(time(10) == 11)
    #expect((1...10).reduce(0.0) { $0 + Double($1) * time(1) } / 10 == 11)
    #expect(groups(of: 10, time: time).sum == 85)
  }

  @Test("T6: two models share the device by worth per time, groups chosen for all that wait")
  func twoModels() {
    let times: [(Int) -> Double] = [{ 2 + Double($0) }, { 2 + 4 * Double($0) }]
    var waiting = [8, 8]
    var (now, sum): (Double, Double) = (0, 0)
    var (order, scratch): ([Int], [Double]) = ([], [])
    while waiting != [0, 0] {
      var best: (model: Int, size: Int, value: Double)?
      for model in 0..<2 where waiting[model] > 0 {
        let size = Grouping.first(
          waiting: waiting[model], others: Double(waiting[1 - model]), largest: waiting[model],
          scratch: &scratch, time: times[model])
        let value = Double(size) / times[model](size)
        if best.map({ value > $0.value }) ?? true { best = (model, size, value) }
      }
      guard let best else { break }
      now += times[best.model](best.size)
      sum += now * Double(best.size)
      waiting[best.model] -= best.size
      order.append(best.model)
    }
    #expect(abs(sum - 358) < 1e-9)
    #expect(order.first == 0 && order.dropFirst().allSatisfy { $0 == 1 })
  }
}
