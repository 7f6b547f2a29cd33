import Vocabulary

extension Scheduler {
  /// Takes note of a run that was done: learns its time, moves its batch on, answers requests.
  mutating func finish(_ id: RunID, took: Duration, at now: Instant, _ plan: inout Plan) {
    guard let place = running.firstIndex(where: { $0.run == id }) else { return }
    let ended = running.remove(at: place)
    freeUnits += ended.units
    guard let index = batches.firstIndex(where: { $0.id == ended.batch }) else { return }
    let model = batches[index].model
    let kernels = batches[index].program.kernels[ended.layers]
    learn(ended, kernels, model: model, took: took.inSeconds)
    for kernel in kernels { models[model].lastUse[kernel] = now }
    batches[index].run = nil
    batches[index].idleSince = now
    let chunk = batches[index].chunk
    let isLast = ended.layers.upperBound == models[model].profile.layers.count
    let isOver = batches[index].advance(past: ended.layers)
    if isLast { answer(index, upTo: chunk.upperBound, at: now, &plan) }
    if isOver {
      noteBatch(of: model, samples: batches[index].members.last?.end ?? 0)
      close(index, &plan)
    } else if budget != nil {
      // What only the run needed is free for the weights that come next.
      setReservation(
        index, to: min(activationsAtBorders(of: batches[index]), batches[index].reserved))
    }
  }

  private mutating func learn(
    _ run: Running, _ kernels: ArraySlice<Int>, model: Int, took: Double
  ) {
    if run.wasBeside, models[model].costs.isKnown, run.predicted > 0 {
      let slower = min(max(took / run.predicted - 1, 0), 1)
      interference += (slower - interference) * 0.05
      return
    }
    models[model].costs.learn(
      kernels: kernels, predicted: run.predicted, took: took, samples: run.samples)
    // Programs are made anew only when the times they were made with are clearly off.
    if models[model].costs.drift > 0.25 {
      models[model].costs.settle()
      models[model].forgetPrograms()
    }
    refresh(model)
  }

  private mutating func answer(
    _ index: Int, upTo end: Int, at now: Instant, _ plan: inout Plan
  ) {
    let before = batches[index].answered
    while batches[index].answered < batches[index].members.count {
      let member = batches[index].members[batches[index].answered]
      guard member.end <= end else { break }
      plan.answers.append(member.request.id)
      batches[index].answered += 1
    }
    let model = batches[index].model
    models[model].habit.answered(
      batches[index].answered - before, at: now,
      sampleSeconds: models[model].costs.secondsPerSample)
    refresh(model)
  }

  /// Takes note of a run that could not be done.
  ///
  /// What a single request asks for may be the cause, and nobody can tell which: where several
  /// travelled together, each waits again to travel alone. A request that fails alone is lost.
  mutating func fail(_ id: RunID, _ plan: inout Plan) {
    guard let place = running.firstIndex(where: { $0.run == id }) else { return }
    let ended = running.remove(at: place)
    freeUnits += ended.units
    guard let index = batches.firstIndex(where: { $0.id == ended.batch }) else { return }
    let batch = batches[index]
    guard batch.members.count - batch.answered > 1 else { return lose(index, .failed, &plan) }
    for place in batch.answered..<batch.members.count {
      batches[index].members[place].request.travelsAlone()
    }
    putBack(index, &plan)
  }

  /// Rejects what of a batch is not answered, and ends it.
  mutating func lose(_ index: Int, _ reason: Rejection.Reason, _ plan: inout Plan) {
    for member in batches[index].members[batches[index].answered...] {
      plan.rejections.append(Rejection(request: member.request.id, reason: reason))
    }
    close(index, &plan)
  }

  /// Lets the batches formed last give way when none can go on: after a cut of the budget, live
  /// batches may hold so much together that the rest is enough for none of them.
  ///
  /// Their requests wait again, for smaller batches.
  ///
  /// - Returns: Whether one did.
  mutating func giveWay(_ plan: inout Plan) -> Bool {
    guard let budget, running.isEmpty, let last = batches.indices.last else { return false }
    for batch in batches {
      let need = batch.program.segments[batch.top.segment].need + reservedBytes - batch.reserved
      if need <= budget { return false }
    }
    putBack(last, &plan)
    return true
  }

  /// Ends a batch and has its requests wait again, unless their model is being removed.
  mutating func putBack(_ index: Int, _ plan: inout Plan) {
    let batch = batches[index]
    guard !models[batch.model].isLeaving else { return lose(index, .modelRemoved, &plan) }
    for member in batch.members[batch.answered...] {
      enqueue(member.request, at: member.arrived)
    }
    plan.returns.append(batch.id)
    close(index, &plan)
    // Memory may have shrunk since it was formed.
    rejectTooLarge(batch.model, &plan)
  }

  private mutating func close(_ index: Int, _ plan: inout Plan) {
    var batch = batches.remove(at: index)
    if plan.returns.last != batch.id { plan.completions.append(batch.id) }
    reservedBytes -= batch.reserved
    let model = batch.model
    batch.members.removeAll(keepingCapacity: true)
    batch.cohorts.removeAll(keepingCapacity: true)
    spareMembers.append(batch.members)
    spareCohorts.append(batch.cohorts)
    models[model].live -= 1
    if models[model].isLeaving, models[model].live == 0 { leave(model, &plan) }
  }
}
