import Scheduling
import Testing

@Suite("Plans against the best possible")
struct OracleTests {
  @Test("Without prefetch the oracle agrees with plain value iteration")
  func oracleIsRight() throws {
    for seed in UInt64(0)..<40 {
      let objective: Instance.Objective = seed % 2 == 0 ? .makespan : .sum
      let instance = Instance.random(
        seed: seed, layers: 1...3, samples: 1...3, objective: objective, prefetch: false)
      let best = try #require(try Oracle.plan(instance))
      #expect(Replay.problems(of: best, instance) == [], "seed \(seed)")
      #expect(abs(best.value(objective) - PlainOracle.best(instance)) < 1e-6, "seed \(seed)")
    }
  }

  @Test("300 random small instances are planned as well as is possible")
  func gaps() throws {
    var gaps: [Double] = []
    for seed in UInt64(0)..<300 {
      let objective: Instance.Objective = seed % 2 == 0 ? .makespan : .sum
      let instance = Instance.random(
        seed: seed, objective: objective, prefetch: seed % 4 >= 2)
      let best = try #require(try Oracle.plan(instance)).value(objective)
      let plan = try Planner.plan(instance)
      #expect(Replay.problems(of: plan, instance) == [], "seed \(seed)")
      #expect(plan.lowerBound <= best + 1e-6, "seed \(seed)")
      gaps.append(plan.value(objective) / best - 1)
      #expect(gaps[gaps.count - 1] > -1e-9, "seed \(seed): better than the oracle")
    }
    #expect(gaps.filter { $0 < 1e-6 }.count >= 285)
    #expect(gaps.reduce(0, +) / 300 <= 0.005)
    #expect((gaps.max() ?? 1) <= 0.15)
  }

  @Test("Loop nests alone, which is all that larger networks get, come near the best plan")
  func nestGaps() throws {
    var gaps: [Double] = []
    for seed in UInt64(1000)..<1040 {
      let objective: Instance.Objective = seed % 2 == 0 ? .makespan : .sum
      let instance = Instance.random(
        seed: seed, samples: 1...3, objective: objective, prefetch: seed % 4 >= 2)
      let best = try #require(try Oracle.plan(instance)).value(objective)
      let plan = try Planner.plan(instance, effort: .nest)
      #expect(Replay.problems(of: plan, instance) == [], "seed \(seed)")
      gaps.append(plan.value(objective) / best - 1)
    }
    #expect(gaps.reduce(0, +) / 40 <= 0.03)
  }

  @Test("Plans with pages, many layers and many samples can happen as they are written")
  func feasible() throws {
    for seed in UInt64(0)..<60 {
      let isImproved = seed % 10 == 0
      let instance = Instance.random(
        seed: seed, layers: isImproved ? 3...5 : 5...20, samples: isImproved ? 2...6 : 2...24,
        objective: seed % 2 == 0 ? .makespan : .sum, prefetch: seed % 3 != 0,
        page: seed % 4 == 0 ? nil : 0.5)
      let plan = try Planner.plan(instance, effort: isImproved ? .nest : .quick)
      #expect(Replay.problems(of: plan, instance) == [], "seed \(seed)")
    }
  }
}
