import Testing
import Vocabulary

@testable import Models

@Suite("ONNX files")
struct OnnxFileTests {
  /// What refusing says, or nil when the model is read.
  private func refusal(_ model: [UInt8]) -> String? {
    do {
      _ = try OnnxFile.read(model)
      return nil
    } catch { return error.description }
  }

  private func chain(_ nodes: (inout OnnxWriter) -> Void) -> [UInt8] {
    OnnxWriter.model { graph in
      graph.value(11, "x", ["N", 4])
      nodes(&graph)
      graph.value(12, "y", ["N", 4])
    }
  }

  @Test("A small graph keeps its names, shapes and attributes")
  func small() throws {
    let graph = try OnnxFile.read(
      chain { graph in
        graph.node("LeakyRelu", ["x"], ["y"], name: "act") { node in
          node.message(5) { attribute in
            attribute.text(1, "alpha")
            attribute.float(2, 0.25)
            attribute.int(20, 1)
          }
        }
      })
    #expect(graph.inputs.count == 1 && graph.outputs.count == 1)
    #expect(graph[graph.inputs[0]].shape == [.symbol("N"), .fixed(4)])
    #expect(graph.nodes[0].float("alpha", default: 0) == 0.25)
    #expect(graph.nodes[0].opset == 13)
    #expect(graph.nodes[0].name == "act")
  }

  @Test("Nodes are put in running order")
  func order() throws {
    let graph = try OnnxFile.read(
      chain { graph in
        graph.node("Relu", ["b"], ["y"])
        graph.node("Relu", ["a"], ["b"])
        graph.node("Relu", ["x"], ["a"])
      })
    #expect(graph.nodes.map(\.name) == ["a", "b", "y"])
  }

  @Test("An initializer that is listed as an input is a constant")
  func initializerInput() throws {
    let graph = try OnnxFile.read(
      OnnxWriter.model { graph in
        graph.value(11, "x", [1])
        graph.value(11, "w", [1])
        graph.tensor(5, "w", type: 1, [1]) { $0.float(4, 2) }
        graph.node("Mul", ["x", "w"], ["y"])
        graph.value(12, "y", [1])
      })
    #expect(graph.inputs.map { graph[$0].name } == ["x"])
  }

  @Test("What a subgraph reads from outside becomes an input of its node")
  func captures() throws {
    let graph = try OnnxFile.read(
      OnnxWriter.model { graph in
        graph.value(11, "c", type: 9, [])
        graph.value(11, "x", ["N"])
        graph.value(11, "z", ["N"])
        graph.node("If", ["c"], ["y"]) { node in
          for (name, operand) in [("then_branch", "x"), ("else_branch", "z")] {
            node.message(5) { attribute in
              attribute.text(1, name)
              attribute.message(6) { branch in
                branch.node("Relu", [operand], ["r"])
                branch.value(12, "r", ["N"])
              }
              attribute.int(20, 5)
            }
          }
        }
        graph.value(12, "y", ["N"])
      })
    let node = graph.nodes[0]
    #expect(node.inputs.compactMap { $0 }.map { graph[$0].name } == ["c", "x", "z"])
    for (name, used) in [("then_branch", "x"), ("else_branch", "z")] {
      let branch = try #require(node.graph(name))
      #expect(branch.captures.map { branch[$0].name }.sorted() == ["x", "z"])
      #expect(branch.nodes[0].inputs.compactMap { $0 }.map { branch[$0].name } == [used])
    }
  }

  @Test("Model-local functions are inlined with their arguments")
  func functions() throws {
    let model = OnnxWriter.model(
      extra: { model in
        model.message(8) { opset in
          opset.text(1, "local")
          opset.int(2, 1)
        }
        model.message(25) { function in
          function.text(1, "Twice")
          function.text(10, "local")
          function.text(4, "a")
          function.text(5, "b")
          function.text(6, "slope")
          function.message(9) { $0.int(2, 14) }
          for (input, output) in [("a", "t"), ("t", "b")] {
            function.node("LeakyRelu", [input], [output], field: 7) { node in
              node.message(5) { attribute in
                attribute.text(1, "alpha")
                attribute.text(21, "slope")
                attribute.int(20, 1)
              }
            }
          }
        }
      },
      graph: { graph in
        graph.value(11, "x", ["N"])
        graph.node("Twice", ["x"], ["m"], name: "first", domain: "local") { node in
          node.message(5) { attribute in
            attribute.text(1, "slope")
            attribute.float(2, 0.5)
            attribute.int(20, 1)
          }
        }
        graph.node("Twice", ["m"], ["y"], name: "second", domain: "local")
        graph.value(12, "y", ["N"])
      })
    let graph = try OnnxFile.read(model)
    #expect(graph.nodes.map(\.operation) == Array(repeating: "LeakyRelu", count: 4))
    #expect(graph.nodes.map(\.opset) == [14, 14, 14, 14])
    #expect(graph.nodes.map { $0.float("alpha", default: 0) } == [0.5, 0.5, 0, 0])
    #expect(graph.nodes.map(\.name) == ["first/t", "first/b", "second/t", "second/b"])
  }

  @Test("A function that calls itself is refused")
  func recursion() throws {
    let model = OnnxWriter.model(
      extra: { model in
        model.message(25) { function in
          function.text(1, "F")
          function.text(4, "a")
          function.text(5, "b")
          function.message(9) { $0.int(2, 14) }
          function.node("F", ["a"], ["b"], field: 7)
        }
      },
      graph: { graph in
        graph.value(11, "x", ["N"])
        graph.node("F", ["x"], ["y"])
        graph.value(12, "y", ["N"])
      })
    #expect(try #require(refusal(model)).contains("deeper"))
  }

  @Test("Broken graphs are refused by name")
  func broken() throws {
    let unknown = chain { $0.node("Relu", ["nowhere"], ["y"], name: "lost") }
    #expect(try #require(refusal(unknown)).contains("'nowhere'"))
    #expect(try #require(refusal(unknown)).contains("'lost'"))
    let twice = chain { graph in
      graph.node("Relu", ["x"], ["y"])
      graph.node("Relu", ["x"], ["y"], name: "again")
    }
    #expect(try #require(refusal(twice)).contains("already defined"))
    let cycle = chain { graph in
      graph.node("Add", ["x", "b"], ["a"])
      graph.node("Relu", ["a"], ["b"])
      graph.node("Relu", ["b"], ["y"])
    }
    #expect(try #require(refusal(cycle)).contains("cycle"))
    #expect(try #require(refusal(chain { _ in })).contains("never computed"))
    #expect(refusal([]) != nil)
    #expect(refusal(Array("PK not a model".utf8)) != nil)
  }

  @Test("Operator sets outside the supported versions are refused", arguments: [6, 29])
  func opsets(version: Int) throws {
    let model = OnnxWriter.model(opset: version) { graph in
      graph.value(11, "x", [1])
      graph.value(12, "x", [1])
    }
    #expect(try #require(refusal(model)).contains("version \(version)"))
  }

  @Test("Every truncation of a model is refused or read, never a crash")
  func truncation() {
    let model = chain { $0.node("Relu", ["x"], ["y"]) }
    for length in 0..<model.count {
      #expect(refusal(Array(model[..<length])) != nil, "\(length) bytes")
    }
  }
}
