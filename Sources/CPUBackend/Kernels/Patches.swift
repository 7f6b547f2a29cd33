import Models
import Reference

/// The parts of an image, with all channels of a pixel side by side, that a window takes one after
/// another: a row of 8-bit integers for each pixel of the result.
struct Patches: Sendable {
  /// With three axes, as are the shapes: samples, channels, depth, height, width.
  let window: Window
  let input: [Int]
  let output: [Int]
  let groups: Int

  /// Rows of one sample.
  var rows: Int { output[2...].reduce(1, *) }
  /// Channels of a group.
  var channels: Int { input[1] / groups }
  /// Elements of a row.
  var size: Int { channels * window.kernel.reduce(1, *) }
  /// Bytes of one sample.
  var sampleSize: Int { input[1...].reduce(1, *) }

  /// Whether a row is just what lies there.
  var areThere: Bool {
    groups == 1 && window.kernel.allSatisfy { $0 == 1 } && window.strides.allSatisfy { $0 == 1 }
      && (window.before + window.after).allSatisfy { $0 == 0 }
  }

  /// Copies the rows of one group of one sample: a channel of the whole window after another.
  ///
  /// - Parameter zero: What stands outside of the image.
  func gather(
    _ from: UnsafePointer<UInt8>, group: Int, zero: UInt8, _ to: UnsafeMutablePointer<UInt8>
  ) {
    let places = window.kernel.reduce(1, *)
    let first = group * channels
    Quantizing.share(rows, grain: max(16, Quantizing.grain / max(size, 1))) { range in
      for row in range {
        let target = to + row * size
        for place in 0..<places {
          guard let pixel = source(row, place) else {
            for channel in 0..<channels { target[channel * places + place] = zero }
            continue
          }
          let source = from + pixel * input[1] + first
          for channel in 0..<channels { target[channel * places + place] = source[channel] }
        }
      }
    }
  }

  /// The pixel under a place of the window, or nil outside of the image.
  @inline(__always)
  private func source(_ row: Int, _ place: Int) -> Int? {
    let (height, width) = (output[3], output[4])
    let at = (row / (height * width), row / width % height, row % width)
    let (kernelHeight, kernelWidth) = (window.kernel[1], window.kernel[2])
    let tap = (
      place / (kernelHeight * kernelWidth), place / kernelWidth % kernelHeight, place % kernelWidth
    )
    func coordinate(_ axis: Int, _ at: Int, _ tap: Int) -> Int? {
      let place = at * window.strides[axis] + tap * window.dilations[axis] - window.before[axis]
      return place >= 0 && place < input[axis + 2] ? place : nil
    }
    guard let z = coordinate(0, at.0, tap.0), let y = coordinate(1, at.1, tap.1),
      let x = coordinate(2, at.2, tap.2)
    else { return nil }
    return (z * input[3] + y) * input[4] + x
  }
}
