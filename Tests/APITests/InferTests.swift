import Engine
import HTTP
import Models
import Synchronization
import Testing
import Vocabulary

@testable import API

@Suite("Inference requests and answers")
struct InferTests {
  private func echo(_ type: String, _ shape: [Int], _ data: String) -> String? {
    Harness().infer(
      "echo",
      #"{"inputs":[{"name":"\#(type)","shape":\#(shape),"datatype":"\#(type)","data":\#(data)}]}"#
    )?.text
  }

  private func answer(_ type: String, _ shape: String, _ data: String) -> String {
    #"{"model_name":"echo","model_version":"1","outputs":[{"name":"\#(type)","#
      + #""datatype":"\#(type)","shape":\#(shape),"data":\#(data)}]}"#
  }

  @Test(
    "Every type goes through JSON unchanged, to the ends of its range",
    arguments: [
      ("BOOL", "[true,false]"), ("UINT8", "[0,255]"), ("UINT16", "[0,65535]"),
      ("UINT32", "[0,4294967295]"), ("UINT64", "[0,18446744073709551615]"),
      ("INT8", "[-128,127]"), ("INT16", "[-32768,32767]"), ("INT32", "[-2147483648,2147483647]"),
      ("INT64", "[-9223372036854775808,9223372036854775807]"),
      ("FP32", "[3.4028235e+38,1e-45]"), ("FP32", "[0.1,16777216]"), ("FP32", "[-0,1.5]"),
      ("FP64", "[1.7976931348623157e+308,5e-324]"), ("FP64", "[0.1,9007199254740991]"),
      ("BYTES", #"["","ü\"\\\u0001"]"#),
    ])
  func roundTrip(type: String, data: String) {
    #expect(echo(type, [2], data) == answer(type, "[2]", data))
  }

  @Test("Floats are the nearest to their text, also where rounding twice would miss")
  func nearest() {
    // Halfway between two floats in double precision, a hair above in the text.
    #expect(echo("FP32", [1], "[1.00000005960464477539062500001]")?.contains("[1.0000001]") == true)
    #expect(echo("FP32", [1], "[1.000000059604644775390625]")?.contains("[1]") == true)
    #expect(echo("FP32", [1], "[7.006492321624086e-46]")?.contains("[1e-45]") == true)
  }

  @Test("Data may be flat or nested, as long as it is rectangular")
  func nested() {
    let expected = answer("FP32", "[2,1,2]", "[1,2,3,4]")
    for data in ["[1,2,3,4]", "[[[1,2]],[[3,4]]]", "[[1,2],[3,4]]", " [ 1 , 2,3\n,4 ] "] {
      #expect(echo("FP32", [2, 1, 2], data) == expected)
    }
    #expect(echo("FP32", [0, 4], "[]") == answer("FP32", "[0,4]", "[]"))
    #expect(echo("FP32", [2, 0], "[[],[]]") == answer("FP32", "[2,0]", "[]"))
    #expect(echo("FP32", [], "[7]") == answer("FP32", "[]", "[7]"))
  }

  @Test("Members may come in any order, escaped, and unknown ones are passed over")
  func order() {
    let text = Harness().infer(
      "pair",
      #"{"model_name":"pair","x":[{"y":[null,-1.5e3,"\n"]}],"inputs":[{"d\u0061ta":[1,2],"#
        + #""parameters":{"z":{}},"datatype":"FP32","shape":[1,2],"name":"x"}],"id":"a\"b"}"#)?.text
    #expect(text?.contains(#""id":"a\"b","outputs":[{"name":"x","#) == true)
    #expect(text?.contains("[1,2]}]") == true)
  }

  @Test("The id is repeated; an empty one, which the C++ client sends, is not")
  func identifier() {
    let input = #""inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]"#
    #expect(Harness().infer("pair", #"{"id":"q-1",\#(input)}"#)?.text.contains("q-1") == true)
    #expect(Harness().infer("pair", #"{"id":"",\#(input)}"#)?.text.contains(#""id""#) == false)
  }

  @Test("Priority and timeout reach the engine; the default priority stands second")
  func parameters() {
    let input = #""inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]"#
    let harness = Harness()
    for parameters in ["{}", #"{"priority":1,"timeout":2500}"#, #"{"priority":0}"#] {
      #expect(
        harness.infer("pair", #"{"parameters":\#(parameters),\#(input)}"#)?.status == 200)
    }
    #expect(harness.infer("pair/versions/1", "{\(input)}")?.status == 200)
    let requests = harness.service.requests
    #expect(requests.map(\.priority) == [1, 0, 1, 1])
    #expect(requests.map(\.timeout) == [nil, .microseconds(2500), nil, nil])
    #expect(requests.map(\.version) == [nil, nil, nil, "1"])
  }

  @Test("Binary inputs and outputs lie behind the JSON in its order")
  func binary() throws {
    let harness = Harness()
    let response = harness.infer(
      "echo",
      #"{"inputs":["#
        + #"{"name":"INT16","shape":[2],"datatype":"INT16","parameters":{"binary_data_size":4}},"#
        + #"{"name":"FP32","shape":[1],"datatype":"FP32","data":[1]},"#
        + #"{"name":"BYTES","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}}],"#
        + #""outputs":[{"name":"BYTES","parameters":{"binary_data":true}},"#
        + #"{"name":"FP32"},{"name":"INT16","parameters":{"binary_data":true}}]}"#,
      [1, 0, 254, 255, 3, 0, 0, 0, 255, 0, 7, 0, 0, 0, 0])
    #expect(response?.status == 200)
    #expect(response?.header("Content-Type") == "application/octet-stream")
    let parts = try #require(response?.parts)
    #expect(
      parts.json
        == #"{"model_name":"echo","model_version":"1","outputs":[{"name":"BYTES","datatype":"#
        + #""BYTES","shape":[2],"parameters":{"binary_data_size":11}},{"name":"FP32","datatype":"#
        + #""FP32","shape":[1],"data":[1]},{"name":"INT16","datatype":"INT16","shape":[2],"#
        + #""parameters":{"binary_data_size":4}}]}"#)
    #expect(parts.blobs == [3, 0, 0, 0, 255, 0, 7, 0, 0, 0, 0, 1, 0, 254, 255])
    let tensor = try #require(harness.service.requests.first?.inputs.first?.tensor)
    #expect(tensor.withElements(as: Int16.self) { Array($0) } == [1, -2])
  }

  @Test("binary_data_output holds for outputs that say nothing else, asked for by name or not")
  func binaryOutput() throws {
    let all = Harness().infer(
      "pair",
      #"{"parameters":{"binary_data_output":true},"#
        + #""inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#)
    #expect(try #require(all?.parts).blobs == [0, 0, 128, 63, 0, 0, 0, 64])
    let named = Harness().infer(
      "pair",
      #"{"parameters":{"binary_data_output":true},"outputs":[{"name":"x","parameters":"#
        + #"{"binary_data":false}}],"#
        + #""inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#)
    #expect(named?.parts == nil)
    #expect(named?.text.contains("[1,2]}]}") == true)
  }

  @Test("A header of 0 makes the body one sample of the only input, answered in binary")
  func raw() throws {
    let harness = Harness()
    let response = harness.ask(
      "POST", "/v2/models/pair/infer", [("inference-header-content-length", "0")],
      body: [0, 0, 128, 63, 0, 0, 0, 64])
    #expect(try #require(response?.parts).blobs == [0, 0, 128, 63, 0, 0, 0, 64])
    #expect(harness.service.requests.first?.inputs.first?.tensor.shape == [1, 2])
    let two = harness.ask(
      "POST", "/v2/models/half/infer", [("inference-header-content-length", "0")])
    #expect(two?.status == 400)
    #expect(two?.text.contains("one input, but 'half' has 2") == true)
  }

  @Test("Half precision goes as bytes only")
  func half() {
    let harness = Harness()
    let bytes = harness.infer(
      "half",
      #"{"parameters":{"binary_data_output":true},"inputs":[{"name":"FP16","shape":[1],"#
        + #""datatype":"FP16","parameters":{"binary_data_size":2}}]}"#, [1, 60])
    #expect(bytes?.parts?.blobs == [1, 60])
    let asJSON = harness.infer(
      "half", #"{"inputs":[{"name":"FP16","shape":[1],"datatype":"FP16","data":[1]}]}"#)
    #expect(asJSON?.status == 400)
    #expect(asJSON?.text.contains("which JSON does not carry") == true)
  }

  @Test("Classification answers with the highest values and their places")
  func classification() {
    let response = Harness().infer(
      "pair",
      #"{"inputs":[{"name":"x","shape":[2,3],"datatype":"FP32","data":[1,3.5,2,4,4,0]}],"#
        + #""outputs":[{"name":"x","parameters":{"classification":2}}]}"#)
    #expect(
      response?.text.contains(
        #""datatype":"BYTES","shape":[2,2],"data":["3.5:1","2.0:2","4.0:0","4.0:1"]"#) == true)
  }

  @Test("An output with NaN is refused in JSON and passes as bytes")
  func notFinite() {
    let tensor = Tensor.make(.float32, [600], as: Float.self) { $0[517] = .nan }
    let service = FakeService { _ in .success(FakeService.result([("x", tensor)])) }
    let input = #""inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]"#
    let json = Harness(service).infer("pair", "{\(input)}")
    #expect(json?.status == 422)
    #expect(json?.text.contains("NaN or Infinity at element 517") == true)
    let binary = Harness(service)
      .infer("pair", #"{"parameters":{"binary_data_output":true},\#(input)}"#)
    #expect(binary?.status == 200)
  }

  @Test(
    "Each kind of engine trouble has its status",
    arguments: [
      (.invalid, 400, nil), (.notFound, 404, nil),
      (.queueFull(retryAfter: .milliseconds(1200)), 429, "2"),
      (.queueFull(retryAfter: .zero), 429, "1"), (.unavailable, 503, "1"),
      (.deadlinePassed, 504, nil), (.insufficientMemory, 507, nil), (.cancelled, 499, nil),
      (.failed, 500, nil),
    ] as [(InferenceError.Kind, Int, String?)])
  func trouble(kind: InferenceError.Kind, status: Int, retryAfter: String?) {
    let service = FakeService { _ in .failure(InferenceError(kind, "A \"reason\".")) }
    let response = Harness(service).infer(
      "pair", #"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#)
    #expect(response?.status == status)
    #expect(response?.text == #"{"error":"A \"reason\"."}"#)
    #expect(response?.header("Content-Type") == "application/json")
    #expect(response?.header("Retry-After") == retryAfter)
  }

  @Test("A client that leaves takes its request back")
  func disconnect() {
    let (harness, inbox) = (Harness(), Inbox())
    let body = #"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#
    harness.ask("POST", "/v2/models/pair/infer", body: Array(body.utf8), inbox: inbox)
    #expect(harness.service.cancellations.isEmpty)
    inbox.disconnect()
    #expect(harness.service.cancellations == [RequestID(1)])
  }

  @Test("Every request leaves one record, errors too")
  func log() {
    let lines = Mutex<[String]>([])
    let records = Mutex<[RequestLog]>([])
    let harness = Harness { record in
      records.withLock { $0.append(record) }
      var still = record
      still.duration = .microseconds(12_034)
      lines.withLock { $0.append(still.line) }
    }
    let input = #""inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]"#
    _ = harness.infer("pair", #"{"id":"i",\#(input)}"#)
    _ = harness.ask("GET", "/nothing")
    let (first, second) = lines.withLock { ($0.first, $0.last) }
    #expect(
      first
        == #"{"method":"POST","path":"/v2/models/pair/infer","model":"pair","version":"1","#
        + #""id":"i","status":200,"request_bytes":79,"response_bytes":120,"duration_ms":12.034,"#
        + #""queue_ms":1.500,"compute_ms":2.000,"batch_samples":4}"#)
    #expect(second?.contains(#""status":404"#) == true)
    #expect(second?.contains(#""error":"There is nothing at"#) == true)
    #expect(records.withLock { $0.count } == 2)
  }

  @Test("A hundred thousand numbers come back as they went in")
  func many() throws {
    var generator = Seeded(seed: 7)
    let values = (0..<100_000).map { _ in Float(bitPattern: generator.finiteBits()) }
    let data = values.map { "\($0)" }.joined(separator: ",")
    let harness = Harness()
    let response = harness.infer(
      "echo",
      #"{"inputs":[{"name":"FP32","shape":[100000],"datatype":"FP32","data":[\#(data)]}]}"#)
    let tensor = try #require(harness.service.requests.first?.inputs.first?.tensor)
    let read = tensor.withElements(as: Float.self) { Array($0) }
    let text = try #require(response?.text)
    let start = try #require(text.firstRange(of: "\"data\":[")?.upperBound)
    let printed = text[start...].dropLast("]}]}".count).split(separator: ",").map { Float($0) }
    // Not the arrays themselves: a failure would print them all.
    let misread = values.indices.first { read[$0].bitPattern != values[$0].bitPattern }
    let misprinted = values.indices.first { printed[$0]?.bitPattern != values[$0].bitPattern }
    #expect(misread == nil, "seed 7")
    #expect(misprinted == nil, "seed 7")
    #expect(printed.count == values.count, "seed 7")
  }
}

/// SplitMix64.
struct Seeded: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var word = state
    word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
    return word ^ (word >> 31)
  }

  /// The bits of some finite float.
  mutating func finiteBits() -> UInt32 {
    while true {
      let bits = UInt32(truncatingIfNeeded: next())
      if Float(bitPattern: bits).isFinite { return bits }
    }
  }
}
