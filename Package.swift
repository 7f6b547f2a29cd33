// swift-tools-version: 6.2
import PackageDescription

// One target per stage, in the order a request lives. A target imports only what stands in its
// `dependencies`, and CI builds with --explicit-target-dependency-import-check error, so this list
// is the layering. The imports of `Scheduling` and `Simulation` are the proof that deciding is pure.

let strict: [SwiftSetting] = [
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

/// Numeric kernels: arithmetic on indices that the callers have already checked.
#if arch(x86_64)
  let kernels: [SwiftSetting] =
    strict + [
      .unsafeFlags(["-Ounchecked", "-Xcc", "-march=x86-64-v3"], .when(configuration: .release))
    ]
#else
  let kernels: [SwiftSetting] =
    strict + [.unsafeFlags(["-Ounchecked"], .when(configuration: .release))]
#endif

/// Where another oneDNN than the system's is installed (Documentation/OneDNN.md).
let oneDNN = Context.environment["STOWAGE_ONEDNN"]
let oneDNNHeaders: [CSetting] = oneDNN.map { [.unsafeFlags(["-I\($0)/include"])] } ?? []
let oneDNNLibrary: [LinkerSetting] =
  oneDNN.map { folder in
    // By its path, so that the system's is not found first.
    [.unsafeFlags(["\(folder)/lib/libdnnl.so", "-Xlinker", "-rpath", "-Xlinker", "\(folder)/lib"])]
  } ?? [.linkedLibrary("dnnl")]
/// Swift reads the headers, too, through those of `COneDNN`.
let oneDNNImport: [SwiftSetting] =
  oneDNN.map { [.unsafeFlags(["-Xcc", "-I\($0)/include"])] } ?? []

let package = Package(
  name: "Stowage",
  products: [.executable(name: "stowage", targets: ["Stowage"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
  ],
  targets: [
    // The command line: reads the configuration, builds the parts, runs them.
    .executableTarget(
      name: "Stowage",
      dependencies: [
        "API", "Network", "HTTP", "Engine", "CPUBackend", "ReferenceBackend", "NullBackend",
        "Backend", "Compiler", "Models", "Scheduling", "Simulation", "Metrics", "Threads",
        "Vocabulary", "CCurl", "CLinux",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: strict),

    // A tool of development: runs ONNX's backend tests (Scripts/operators).
    .executableTarget(
      name: "OperatorCheck",
      dependencies: [
        "CPUBackend", "ReferenceBackend", "Backend", "Compiler", "Reference", "Models",
        "Vocabulary",
      ],
      swiftSettings: strict),

    // Sockets, epoll loops, connections: bytes in, bytes out.
    .target(
      name: "Network", dependencies: ["HTTP", "Threads", "Vocabulary", "CLinux"],
      swiftSettings: strict),
    // Pure HTTP/1.1: request head, chunked bodies, responses.
    .target(name: "HTTP", dependencies: ["Vocabulary"], swiftSettings: strict),
    // The Open Inference Protocol: routes, JSON and binary tensors, errors.
    .target(
      name: "API",
      dependencies: [
        "HTTP", "Engine", "Scheduling", "Models", "Metrics", "Vocabulary", "CSimdJSON",
      ],
      swiftSettings: strict),
    // Threads that carry out plans: scheduler, executors, pager; the model store.
    .target(
      name: "Engine",
      dependencies: [
        "Scheduling", "Backend", "Compiler", "Models", "Metrics", "Threads", "Vocabulary", "CLinux",
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: strict),

    // Pure: step(event, at: now) → Plan.
    .target(
      name: "Scheduling",
      dependencies: ["Vocabulary"],
      swiftSettings: strict),
    // The scheduler under a virtual clock, with the policies it is compared with.
    .target(name: "Simulation", dependencies: ["Scheduling", "Vocabulary"], swiftSettings: strict),

    // Where layers run.
    .target(
      name: "CPUBackend",
      dependencies: [
        "Backend", "Compiler", "Models", "Reference", "Threads", "Vocabulary", "COneDNN",
        "CKernels", "CLinux",
      ],
      swiftSettings: kernels + oneDNNImport),
    .target(
      name: "ReferenceBackend",
      dependencies: ["Backend", "Compiler", "Models", "Reference", "Vocabulary"],
      swiftSettings: strict),
    .target(
      name: "NullBackend",
      dependencies: ["Backend", "Compiler", "Models", "Threads", "Vocabulary"],
      swiftSettings: strict),
    .target(
      name: "Backend", dependencies: ["Compiler", "Models", "Threads", "Vocabulary", "CLinux"],
      swiftSettings: strict),

    // From a graph to a program of layers: shapes, constant folding, batch axis, fusion.
    .target(
      name: "Compiler", dependencies: ["Models", "Reference", "Vocabulary"], swiftSettings: strict),
    // Every operator in plain Swift, obviously right: the oracle, and what folds constants. Checked
    // arithmetic: its inputs come from files and requests.
    .target(name: "Reference", dependencies: ["Models", "Vocabulary"], swiftSettings: strict),
    // ONNX files: wire format, tensors, graphs.
    .target(name: "Models", dependencies: ["Vocabulary", "CLinux"], swiftSettings: strict),

    // Threads, locks and conditions that sanitizers understand.
    .target(name: "Threads", dependencies: ["CLinux"], swiftSettings: strict),
    // Counters, gauges, histograms and their Prometheus text.
    .target(name: "Metrics", dependencies: ["Threads"], swiftSettings: strict),
    // Identifiers, quantities and every limit.
    .target(name: "Vocabulary", swiftSettings: strict),

    // C libraries and the few calls that Swift cannot make itself.
    .target(name: "CLinux"),
    .target(name: "CKernels"),
    .target(name: "CSimdJSON", linkerSettings: [.linkedLibrary("simdjson")]),
    .target(
      name: "COneDNN", cSettings: oneDNNHeaders,
      linkerSettings: oneDNNLibrary),
    .target(name: "CCurl"),

    // Tests mirror Sources.
    .testTarget(name: "VocabularyTests", dependencies: ["Vocabulary"], swiftSettings: strict),
    .testTarget(name: "ThreadsTests", dependencies: ["Threads"], swiftSettings: strict),
    .testTarget(name: "MetricsTests", dependencies: ["Metrics"], swiftSettings: strict),
    .testTarget(name: "HTTPTests", dependencies: ["HTTP", "Vocabulary"], swiftSettings: strict),
    .testTarget(
      name: "NetworkTests", dependencies: ["Network", "HTTP", "Threads", "Vocabulary"],
      swiftSettings: strict),
    .testTarget(
      name: "APITests",
      dependencies: [
        "API", "HTTP", "Engine", "Scheduling", "Models", "Metrics", "Vocabulary",
      ],
      swiftSettings: strict),
    .testTarget(
      name: "EngineTests",
      dependencies: [
        "Engine", "Scheduling", "Backend", "ReferenceBackend", "NullBackend", "Compiler", "Models",
        "Threads", .product(name: "Logging", package: "swift-log"),
        "Metrics", "Vocabulary",
      ],
      swiftSettings: strict),
    .testTarget(
      name: "SchedulingTests", dependencies: ["Scheduling", "Vocabulary"], exclude: ["Scenarios"],
      swiftSettings: strict),
    .testTarget(
      name: "SimulationTests", dependencies: ["Simulation", "Scheduling", "Vocabulary"],
      swiftSettings: strict),
    .testTarget(
      name: "CPUBackendTests",
      dependencies: [
        "CPUBackend", "Backend", "COneDNN", "Compiler", "Models", "Reference", "Vocabulary",
      ],
      swiftSettings: strict + oneDNNImport),
    .testTarget(
      name: "ReferenceBackendTests",
      dependencies: ["ReferenceBackend", "Backend", "Compiler", "Models", "Vocabulary"],
      swiftSettings: strict),
    .testTarget(
      name: "BackendTests", dependencies: ["Backend", "Models"], swiftSettings: strict),
    .testTarget(
      name: "NullBackendTests",
      dependencies: ["NullBackend", "Backend", "Compiler", "Models", "Threads", "Vocabulary"],
      swiftSettings: strict),
    .testTarget(
      name: "CompilerTests",
      dependencies: ["Compiler", "Models", "Reference", "Vocabulary"],
      swiftSettings: strict),
    .testTarget(
      name: "ReferenceTests", dependencies: ["Reference", "Models", "Vocabulary"],
      swiftSettings: strict),
    .testTarget(
      name: "ModelsTests", dependencies: ["Models", "Vocabulary"], swiftSettings: strict),
    // The built binary as its users meet it: real sockets, real files, real signals.
    .testTarget(
      name: "StowageTests", dependencies: ["Stowage", "Vocabulary"], swiftSettings: strict),
    // The house rules, checked on the sources themselves.
    .testTarget(name: "TidyTests", swiftSettings: strict),
  ],
  swiftLanguageModes: [.v6],
  cxxLanguageStandard: .cxx17
)

// Fuzz targets exist only for Scripts/fuzz: they have no `main`, and nothing else needs them.
if Context.environment["STOWAGE_FUZZ"] != nil {
  let targets: [(name: String, dependencies: [Target.Dependency])] = [
    ("Compile", ["Compiler", "Models"]),
    ("HTTP", ["HTTP"]),
    ("Onnx", ["Models"]),
    ("Tensors", ["API", "HTTP", "Engine", "Metrics", "Models", "Vocabulary"]),
  ]
  for target in targets {
    package.targets.append(
      .executableTarget(
        name: "Fuzz\(target.name)", dependencies: target.dependencies, path: "Fuzz",
        exclude: ["README.md", "Seeds", "http.dict", "json.dict"]
          + targets.filter { $0.name != target.name }.map {
            "\($0.name).swift"
          },
        sources: ["\(target.name).swift"],
        swiftSettings: strict + [.unsafeFlags(["-parse-as-library"])]))
  }
}

// Measuring programs exist only on request, too.
if Context.environment["STOWAGE_BENCHMARKS"] != nil {
  package.targets.append(
    .executableTarget(
      name: "JSONBenchmark",
      dependencies: ["API", "HTTP", "Engine", "Metrics", "Models", "Vocabulary"],
      path: "Benchmarks/JSON", swiftSettings: strict + [.unsafeFlags(["-parse-as-library"])]))
  package.targets.append(
    .executableTarget(
      name: "SchedulingBenchmark", dependencies: ["Scheduling", "Vocabulary"],
      path: "Benchmarks/Scheduling", exclude: ["cost", "draw", "evaluate"],
      swiftSettings: strict + [.unsafeFlags(["-parse-as-library"])]))
}
