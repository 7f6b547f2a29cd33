import Models
import Testing

@testable import Compiler

@Suite("Fusion")
struct FusionTests {
  /// The operators of a graph compiled with all passes, whose answers are checked.
  private func operations(
    _ shapes: [[Int]], _ build: (GraphBuilder) -> ValueID
  ) throws -> [String] {
    let builder = GraphBuilder()
    let output = build(builder)
    return try expectSameAnswers(builder.finish(output), shapes: shapes).graph.nodes
      .map(\.operation)
  }

  @Test("Activations that are spelled out are recognised")
  func patterns() throws {
    let silu = try operations([[2, 5]]) { builder in
      let x = builder.input("x", ["N", 5])
      return builder.node("Mul", [builder.node("Sigmoid", [x]), x])
    }
    #expect(silu == ["Silu"])
    let hardSwish = try operations([[2, 5]]) { builder in
      let x = builder.input("x", ["N", 5])
      let gate = builder.node("HardSigmoid", [x], ["alpha": .float(1 / 6), "beta": .float(0.5)])
      return builder.node("Mul", [x, gate])
    }
    #expect(hardSwish == ["HardSwish"])
    let mish = try operations([[2, 5]]) { builder in
      let x = builder.input("x", ["N", 5])
      return builder.node(
        "Mul", [x, builder.node("Tanh", [builder.node("Softplus", [x])])])
    }
    #expect(mish == ["Mish"])
  }

  @Test("A gate that is read elsewhere stays")
  func sharedGate() throws {
    let kept = try operations([[2, 5]]) { builder in
      let x = builder.input("x", ["N", 5])
      let gate = builder.node("Sigmoid", [x])
      return builder.node("Add", [builder.node("Mul", [x, gate]), gate])
    }
    #expect(kept == ["Sigmoid", "Mul", "Add"])
  }

  @Test(
    "Convolutions take in activations",
    arguments: [
      ("Relu", [:]), ("LeakyRelu", ["alpha": .float(0.3)]), ("Sigmoid", [:]), ("Tanh", [:]),
      ("HardSwish", [:]), ("Elu", ["alpha": .float(0.5)]), ("HardSigmoid", [:]),
    ] as [(String, [String: Attribute])])
  func activations(name: String, attributes: [String: Attribute]) throws {
    let fused = try operations([[2, 3, 5, 5]]) { builder in
      let x = builder.input("x", ["N", 3, 5, 5])
      let y = builder.node("Conv", [x, builder.weight([4, 3, 3, 3])])
      return builder.node(name, [y], attributes)
    }
    #expect(fused == ["FusedConv"])
  }

  @Test("Constants around a convolution move into its weights")
  func constants() throws {
    let fused = try operations([[2, 3, 5, 5]]) { builder in
      let x = builder.input("x", ["N", 3, 5, 5])
      var y = builder.node("Conv", [x, builder.weight([4, 3, 3, 3]), builder.weight([4])])
      y = builder.node("Mul", [builder.weight([4, 1, 1]), y])
      y = builder.node("Sub", [y, builder.weight([1, 4, 1, 1])])
      y = builder.node("Div", [y, builder.scalar(0.3)])
      let limits = (builder.scalar(-0.2), builder.scalar(0.6))
      return builder.node("Clip", [y, limits.0, limits.1])
    }
    #expect(fused == ["FusedConv"])
  }

  @Test("Padding with zeros moves into the convolution, other padding stays", arguments: [0, 1])
  func padding(value: Float) throws {
    let fused = try operations([[2, 3, 5, 5]]) { builder in
      let x = builder.input("x", ["N", 3, 5, 5])
      let pads = builder.ints([0, 0, 1, 0, 0, 0, 2, 1])
      let padded = builder.node("Pad", [x, pads, builder.scalar(value)])
      return builder.node(
        "Conv", [padded, builder.weight([4, 3, 3, 3])], ["pads": .ints([1, 1, 0, 0])])
    }
    #expect(fused == (value == 0 ? ["FusedConv"] : ["Pad", "FusedConv"]))
  }

  @Test("A constant that varies over the image does not move into weights")
  func imageConstant() throws {
    let kept = try operations([[2, 3, 3, 3]]) { builder in
      let x = builder.input("x", ["N", 3, 3, 3])
      let y = builder.node("Conv", [x, builder.weight([3, 3, 1, 1])])
      return builder.node("Mul", [y, builder.weight([3])])
    }
    #expect(kept == ["FusedConv", "Mul"])
  }

  @Test("Normalisation followed by scale and shift is one normalisation")
  func normalization() throws {
    let joined = try operations([[2, 3, 4, 4]]) { builder in
      let x = builder.input("x", ["N", 3, 4, 4])
      let parameters = [
        builder.weight([3]), builder.weight([3]), builder.weight([3]),
        builder.weight([3], from: 0.5, to: 2),
      ]
      let y = builder.node("BatchNormalization", [x] + parameters)
      let z = builder.node("Mul", [y, builder.weight([3, 1, 1])])
      return builder.node("Add", [z, builder.weight([3, 1, 1])])
    }
    #expect(joined == ["BatchNormalization"])
  }

  @Test("Normalisation takes in Relu where nothing else reads it", arguments: [false, true])
  func normalizationAndRelu(isShared: Bool) throws {
    let found = try operations([[2, 3, 4, 4]]) { builder in
      let x = builder.input("x", ["N", 3, 4, 4])
      let parameters = [
        builder.weight([3]), builder.weight([3]), builder.weight([3]),
        builder.weight([3], from: 0.5, to: 2),
      ]
      let y = builder.node("BatchNormalization", [x] + parameters)
      let cut = builder.node("Relu", [y])
      return isShared ? builder.node("Sub", [cut, y]) : cut
    }
    #expect(
      found == (isShared ? ["BatchNormalization", "Relu", "Sub"] : ["FusedBatchNormalization"]))
  }

  @Test("A product takes in bias, residual and activation")
  func product() throws {
    let fused = try operations([[2, 3, 4], [2, 3, 5]]) { builder in
      let x = builder.input("x", ["N", 3, 4])
      let z = builder.input("z", ["N", 3, 5])
      let y = builder.node("MatMul", [x, builder.weight([4, 5])])
      let biased = builder.node("Add", [builder.weight([5]), y])
      return builder.node("Relu", [builder.node("Add", [biased, z])])
    }
    #expect(fused == ["FusedMatMul"])
  }

  @Test("An activation with parameters stays beside Gemm, whose parameters have the same names")
  func parameters() throws {
    let found = try operations([[2, 4]]) { builder in
      let x = builder.input("x", ["N", 4])
      let y = builder.node(
        "Gemm", [x, builder.weight([4, 3]), builder.weight([3])],
        ["alpha": .float(0.5), "beta": .float(2)])
      return builder.node("LeakyRelu", [y], ["alpha": .float(0.2)])
    }
    #expect(found == ["FusedGemm", "LeakyRelu"])
  }

  @Test("A residual that is broadcast stays an addition")
  func broadcastResidual() throws {
    let kept = try operations([[2, 3, 4, 4], [2, 3, 1, 1]]) { builder in
      let x = builder.input("x", ["N", 3, 4, 4])
      let z = builder.input("z", ["N", 3, 1, 1])
      let y = builder.node("Conv", [x, builder.weight([3, 3, 1, 1])])
      return builder.node("Add", [y, z])
    }
    #expect(kept == ["FusedConv", "Add"])
  }

  @Test("Of two convolutions that are added the later one takes the sum")
  func twoConvolutions() throws {
    let fused = try operations([[2, 3, 4, 4]]) { builder in
      let x = builder.input("x", ["N", 3, 4, 4])
      let a = builder.node("Conv", [x, builder.weight([3, 3, 1, 1])])
      let b = builder.node("Conv", [x, builder.weight([3, 3, 1, 1])])
      return builder.node("Relu", [builder.node("Add", [a, b])])
    }
    #expect(fused == ["FusedConv", "FusedConv"])
  }
}
