import Models
import Testing
import Vocabulary

@testable import Reference

@Suite("Reference: resizing and sampling")
struct ResizingTests {
  private func resize(
    _ x: Tensor, _ scales: [Float], _ attributes: [String: Attribute]
  ) throws -> Tensor {
    try apply("Resize", [x, nil, floats(scales, [scales.count])], attributes)
  }

  @Test("Nearest neighbours are repeated, lines are drawn between corners")
  func known() throws {
    let x = floats([1, 2], [1, 1, 1, 2])
    let twice = try resize(x, [1, 1, 1, 2], ["mode": .string("nearest")])
    #expect(twice.floats() == [1, 1, 2, 2])
    let corners: [String: Attribute] = [
      "mode": .string("linear"), "coordinate_transformation_mode": .string("align_corners"),
    ]
    #expect(
      try resize(floats([0, 3], [1, 1, 1, 2]), [1, 1, 1, 2], corners).floats() == [0, 1, 2, 3])
    let half = try resize(x, [1, 1, 1, 2], ["mode": .string("linear")])
    #expect(half.floats() == [1, 1.25, 1.75, 2])
  }

  @Test("A plain image stays plain in every mode", arguments: ["nearest", "linear", "cubic"])
  func constant(mode: String) throws {
    let x = floats([Float](repeating: 7, count: 30), [1, 1, 5, 6])
    for transformation in ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"] {
      for scale in [0.4, 0.8, 1.7] as [Float] {
        for antialias in mode == "nearest" ? [0] : [0, 1] {
          let y = try resize(
            x, [1, 1, scale, scale],
            [
              "mode": .string(mode), "antialias": .int(antialias),
              "coordinate_transformation_mode": .string(transformation),
            ])
          #expect(y.floats().allSatisfy { abs($0 - 7) < 1e-5 })
        }
      }
    }
  }

  @Test("PyTorch's pixels begin at the first one where a single one is left")
  func single() throws {
    let x = floats([1, 5, 9, 2], [1, 1, 1, 4])
    let sizes = integers([1, 1, 1, 1], [4])
    for mode in ["nearest", "linear", "cubic"] {
      let y = try apply(
        "Resize", [x, nil, nil, sizes],
        [
          "mode": .string(mode),
          "coordinate_transformation_mode": .string("pytorch_half_pixel"),
        ])
      #expect(y.floats() == [1])
    }
  }

  @Test("Sampling on the identity's grid gives the image", arguments: [0, 1])
  func identityGrid(corners: Int) throws {
    var random = Seeded(3)
    let x = random.tensor([1, 2, 4, 5])
    let align: [String: Attribute] = ["align_corners": .int(corners)]
    let grid = try apply(
      "AffineGrid", [floats([1, 0, 0, 0, 1, 0], [1, 2, 3]), integers([1, 2, 4, 5], [4])], align)
    for mode in ["linear", "nearest", "cubic"] {
      let y = try apply("GridSample", [x, grid], align.merging(["mode": .string(mode)]) { $1 })
      expectClose(y, x, within: 1e-5)
    }
  }

  @Test("A deformable convolution without offsets is a convolution")
  func noOffsets() throws {
    var random = Seeded(4)
    let (x, w) = (random.tensor([1, 4, 6, 5]), random.tensor([6, 2, 3, 3]))
    let attributes: [String: Attribute] = ["group": .int(2), "pads": .ints([1, 1, 1, 1])]
    let still = floats([Float](repeating: 0, count: 18 * 30), [1, 18, 6, 5])
    let deformed = try apply("DeformConv", [x, w, still], attributes)
    expectClose(deformed, try apply("Conv", [x, w], attributes))
  }

  @Test("A region of a plain image is plain")
  func region() throws {
    let x = floats([Float](repeating: 3, count: 64), [1, 1, 8, 8])
    let y = try apply(
      "RoiAlign", [x, floats([1, 1.5, 5, 6], [1, 4]), integers([0], [1])],
      ["output_height": .int(2), "output_width": .int(3), "sampling_ratio": .int(2)])
    #expect(y.shape == [1, 1, 2, 3])
    #expect(y.floats().allSatisfy { abs($0 - 3) < 1e-6 })
  }

  @Test("Of boxes that overlap the best is kept, in every class for itself")
  func suppression() throws {
    let boxes = floats([0, 0, 1, 1, 0, 0, 1, 0.9, 2, 2, 3, 3], [1, 3, 4])
    let scores = floats([0.8, 0.9, 0.7, 0.6, 0.1, 0.5], [1, 2, 3])
    let picks = try apply(
      "NonMaxSuppression",
      [boxes, scores, integers([3], [1]), floats([0.5], [1]), floats([0.2], [1])])
    #expect(picks.integers() == [0, 0, 1, 0, 0, 2, 0, 1, 0, 0, 1, 2])
  }

  @Test("A transposed convolution is the adjoint of its convolution", arguments: 0..<6)
  func adjoint(seed: Int) throws {
    var random = Seeded(UInt64(seed))
    let attributes: [String: Attribute] = [
      "group": .int(1 + seed % 2), "strides": .ints([1 + seed % 3, 2]),
      "pads": .ints([seed % 2, 1, 0, 1]), "dilations": .ints([1, 1 + seed / 3]),
    ]
    // Sizes that the windows fill exactly, so that every element is read.
    let height = 3 * (1 + seed % 3) + 3 - seed % 2
    let width = 3 * 2 + 1 + (1 + seed / 3) - 2
    let x = random.tensor([2, 4, height, width])
    let w = random.tensor([6, 4 / (1 + seed % 2), 3, 2])
    let forth = try apply("Conv", [x, w], attributes)
    let y = random.tensor(forth.shape)
    let back = try apply("ConvTranspose", [y, w], attributes)
    #expect(back.shape == x.shape)
    let left = zip(forth.reals(), y.reals()).reduce(0) { $0 + $1.0 * $1.1 }
    let right = zip(x.reals(), back.reals()).reduce(0) { $0 + $1.0 * $1.1 }
    #expect(abs(left - right) < 1e-3, "seed \(seed)")
  }
}
