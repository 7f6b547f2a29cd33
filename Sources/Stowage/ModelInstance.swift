import ArgumentParser
import Scheduling
import Simulation
import Vocabulary

/// The instance that a network, a device and a memory make.
enum ModelInstance {
  /// Samples of a network on a device.
  ///
  /// The scratch of a layer is set aside for all samples, so that
  /// every layer batch has it.
  static func make(
    _ network: NetworkProfile, on device: DeviceProfile, samples: Int, memory: ByteCount,
    objective: Instance.Objective
  ) -> Instance {
    let layers = zip(network.layers, network.layerProfiles(on: device)).map { layer, profile in
      let points = (1...max(samples, 1)).map { batch in
        StepTime.Point(
          samples: batch,
          milliseconds: profile.cost.seconds(batch: batch, units: device.units) * 1e3)
      }
      return Instance.Layer(
        name: layer.name ?? "", activations: layer.activationMegabytes,
        kernels: [
          Instance.Kernel(
            weights: layer.weightsMegabytes,
            scratch: (layer.scratchMegabytes ?? 0) * Double(samples), time: .table(points))
        ])
    }
    return Instance(
      layers: layers, input: network.inputMegabytes, samples: samples,
      memory: Double(memory.bytes) / 1e6, linkRate: device.link.gigabytesPerSecond,
      linkLatency: device.link.latencyMicroseconds / 1e3, prefetch: true, objective: objective,
      page: Double(device.page.bytes) / 1e6)
  }

  /// This machine, for a network whose layers were measured on it.
  static func thisMachine(units: Int, linkRate: Double) -> DeviceProfile {
    DeviceProfile(
      name: "this machine", source: "measured layer times, a stated link", units: units,
      link: .init(gigabytesPerSecond: linkRate, latencyMicroseconds: 30))
  }

  /// The bytes of `512MiB`, `0.5GB` or `1048576`.
  ///
  /// - Throws: `ValidationError` for anything else.
  static func bytes(_ text: String) throws -> ByteCount {
    let digits = text.prefix { $0.isNumber || $0 == "." }
    let factors = [
      "": 1.0, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1024, "MiB": 1_048_576,
      "GiB": 1_073_741_824,
    ]
    let unit = text.dropFirst(digits.count).trimmingPrefix(" ")
    guard let number = Double(digits), let factor = factors[String(unit)],
      number * factor >= 1, number * factor < 1e18
    else { throw ValidationError("'\(text)' is no size; write it as 512MiB or 0.5GB.") }
    return ByteCount(Int(number * factor))
  }
}
