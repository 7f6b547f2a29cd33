import Backend
import COneDNN
import Compiler
import Models
import Threads
import Vocabulary

extension CPUModel {
  /// Has direct kernels for the layers that filter minimally.
  ///
  /// They are slower, and their weights take a quarter of the memory. Where it is known what they
  /// take, they are made when they are asked for.
  func offerAlternatives(
    _ single: Plan, _ shapes: [[Int]], _ units: Int
  ) throws(ModelError) {
    let choices = layersWithWinograd
    guard !choices.isEmpty else { return }
    let direct = CPUModel(
      directFormOf: self, weights: AlternativeWeights(weights, layers: choices))
    defer { direct.isLoading = false }
    guard layers.allSatisfy(\.alternatives.isEmpty) else {
      alternative = direct
      return
    }
    let plan = try direct.plan(samples: 1, inputShapes: shapes, units: units)
    // A batch goes from the kernels of one to those of the other at any border between layers.
    guard plan.borders == single.borders else { return }
    let footprints = direct.footprints(plan)
    for layer in choices where footprints[layer].weights < layers[layer].weights {
      layers[layer].alternatives = [
        KernelFootprint(weights: footprints[layer].weights, scratch: footprints[layer].scratch)
      ]
      alternative = direct
    }
    direct.forgetPlans()
  }

  private var layersWithWinograd: Set<Int> {
    let values = pins.withLock { pins in
      Set(
        pins.filter { $0.value.convolution?.algorithm == dnnl_convolution_winograd }
          .map(\.key.value))
    }
    return Set(
      program.layers.indices.filter { layer in
        program.graph.nodes[program.layers[layer].nodes].contains { node in
          node.outputs.contains { $0.map(values.contains) ?? false }
        }
      })
  }

  /// How far one set of kernels goes: layers without a choice go along with those before them, so
  /// that what passes between them stays in the arena.
  func stretch(
    _ layers: Range<Int>, _ kernels: ArraySlice<Int>
  ) -> (end: Int, isAlternative: Bool) {
    guard alternative != nil, !kernels.isEmpty else { return (layers.upperBound, false) }
    var chosen: Int?
    for (layer, kernel) in zip(layers, kernels) where !self.layers[layer].alternatives.isEmpty {
      if chosen ?? kernel != kernel { return (layer, chosen == 1) }
      chosen = kernel
    }
    return (layers.upperBound, chosen == 1)
  }
}
