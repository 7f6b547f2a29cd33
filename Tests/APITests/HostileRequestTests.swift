import HTTP
import Testing

@testable import API

/// A request that must be refused, with what must be said.
struct Refusal: Sendable, CustomTestStringConvertible {
  let name: String
  var json: String
  var blobs: [UInt8]?
  var headers: [(name: String, value: String)] = []
  var status = 400
  let says: String

  var testDescription: String { name }

  init(
    _ name: String, _ json: String, blobs: [UInt8]? = nil,
    headers: [(name: String, value: String)] = [], status: Int = 400, says: String
  ) {
    self.name = name
    self.json = json
    self.blobs = blobs
    self.headers = headers
    self.status = status
    self.says = says
  }

  /// A request whose one input is given.
  static func input(_ name: String, _ members: String, says: String, status: Int = 400) -> Refusal {
    Refusal(name, #"{"inputs":[{\#(members)}]}"#, status: status, says: says)
  }

  /// A request whose one input has this type, shape and data.
  static func data(_ type: String, _ shape: String, _ data: String, says: String) -> Refusal {
    input(
      "\(type) \(shape) \(data)",
      #""name":"\#(type)","shape":\#(shape),"datatype":"\#(type)","data":\#(data)"#, says: says)
  }
}

@Suite("Requests that must be refused")
struct HostileRequestTests {
  static let syntax: [Refusal] = [
    Refusal("nothing", "", says: "has no body"),
    Refusal("white space", " \r\n\t", says: "has no body"),
    Refusal("an array", "[]", says: "'the request' must be an object"),
    Refusal("a number", "3", says: "must be an object"),
    Refusal("a bare word", "inputs", says: "must be an object"),
    Refusal("an open object", "{", says: "not JSON"),
    Refusal("an open string", #"{"inputs"#, says: "not JSON"),
    Refusal("no inputs", "{}", says: "'inputs' is missing"),
    Refusal("text behind", #"{"inputs":[]} x"#, says: "not JSON"),
    Refusal("a second object", #"{"inputs":[]}{}"#, says: "not JSON"),
    Refusal("one bracket too many", #"{"inputs":[]}}"#, says: "not JSON"),
    Refusal("brackets that do not match", #"{"inputs":[{"name":"FP32"]}}"#, says: "not JSON"),
    Refusal("a comma at the end", #"{"inputs":[],}"#, says: "not JSON"),
    Refusal("a missing colon", #"{"inputs" []}"#, says: "not JSON"),
    Refusal("a broken word in what is ignored", #"{"x":tru,"inputs":[]}"#, says: "at byte 5"),
    Refusal("a broken null", #"{"x":nul,"inputs":[]}"#, says: "not JSON"),
    Refusal("a broken number in what is ignored", #"{"x":01,"inputs":[]}"#, says: "not JSON"),
    Refusal("a lone surrogate", #"{"id":"\ud800","inputs":[]}"#, says: "not JSON"),
    Refusal("a raw control character", "{\"id\":\"\u{1}\",\"inputs\":[]}", says: "not JSON"),
    Refusal("a comment", "{/* */\"inputs\":[]}", says: "not JSON"),
    Refusal("single quotes", "{'inputs':[]}", says: "not JSON"),
    Refusal("inputs twice", #"{"inputs":[],"inputs":[]}"#, says: "'inputs' is given twice"),
    Refusal("id twice", #"{"id":"a","id":"b","inputs":[]}"#, says: "'id' is given twice"),
    Refusal("a numeric id", #"{"id":7,"inputs":[]}"#, says: "'id' must be a string"),
    Refusal("inputs as object", #"{"inputs":{}}"#, says: "'inputs' must be an array of objects"),
    Refusal("inputs as null", #"{"inputs":null}"#, says: "'inputs' must be an array"),
    Refusal("an input as number", #"{"inputs":[1]}"#, says: "'inputs[0]' must be an object"),
    Refusal(
      "nested too deep",
      #"{"inputs":[],"x":"# + String(repeating: "[", count: 120)
        + String(repeating: "]", count: 120) + "}",
      says: "deeper than any request needs"),
    Refusal(
      "two hundred thousand brackets",
      #"{"inputs":[],"x":\#(String(repeating: "[", count: 200_000))"#, says: "not JSON"),
    Refusal(
      "too many inputs",
      #"{"inputs":[\#(Array(repeating: #"{"name":"x"}"#, count: 257).joined(separator: ","))]}"#,
      says: "more than 256 tensors"),
  ]

  static let members: [Refusal] = [
    .input("no name", #""shape":[1],"datatype":"FP32","data":[1]"#, says: "'name' of inputs[0]"),
    .input("no datatype", #""name":"x","shape":[1],"data":[1]"#, says: "no 'datatype'"),
    .input("no shape", #""name":"x","datatype":"FP32","data":[1]"#, says: "no 'shape'"),
    .input("no data", #""name":"x","datatype":"FP32","shape":[1]"#, says: "neither 'data' nor"),
    .input(
      "both kinds of data",
      #""name":"x","datatype":"FP32","shape":[1],"data":[1],"parameters":{"binary_data_size":4}"#,
      says: "both 'data' and"),
    .input(
      "an unknown datatype", #""name":"x","datatype":"FP8","shape":[1],"data":[1]"#,
      says: "unknown datatype 'FP8'"),
    .input(
      "a datatype in lower case", #""name":"x","datatype":"fp32","shape":[1],"data":[1]"#,
      says: "unknown datatype 'fp32'"),
    .input(
      "a negative dimension", #""name":"x","datatype":"FP32","shape":[-1],"data":[1]"#,
      says: "'shape' of inputs[0] must be an array of whole numbers"),
    .input(
      "a broken dimension", #""name":"x","datatype":"FP32","shape":[1.5],"data":[1]"#,
      says: "must be an array of whole numbers"),
    .input(
      "a dimension beyond Int64",
      #""name":"x","datatype":"FP32","shape":[18446744073709551616],"data":[1]"#,
      says: "must be an array of whole numbers"),
    .input(
      "nine dimensions", #""name":"x","datatype":"FP32","shape":[1,1,1,1,1,1,1,1,1],"data":[1]"#,
      says: "more than 8 dimensions"),
    .input(
      "a product that overflows",
      #""name":"x","datatype":"FP64","shape":[4294967296,4294967296,4],"data":[1]"#,
      says: "more elements than a tensor may have"),
    .input(
      "a product that overflows, then zero",
      #""name":"x","datatype":"FP64","shape":[4294967296,4294967296,0],"data":[]"#,
      says: "more elements than a tensor may have"),
    .input(
      "a terabyte in a few bytes",
      #""name":"x","datatype":"FP64","shape":[137438953472],"data":[]"#,
      says: "has fewer elements"),
    .input(
      "data twice", #""name":"x","datatype":"FP32","shape":[1],"data":[1],"data":[2]"#,
      says: "'data' of inputs[0] is given twice"),
    .input(
      "data as object", #""name":"x","datatype":"FP32","shape":[1],"data":{"a":1}"#,
      says: "'data' of inputs[0] must be an array"),
    .input(
      "data as number", #""name":"x","datatype":"FP32","shape":[1],"data":1"#,
      says: "must be an array"),
    .input(
      "half precision", #""name":"x","datatype":"BF16","shape":[1],"data":[1]"#,
      says: "send it as binary data"),
    .input(
      "shared memory",
      #""name":"x","datatype":"FP32","shape":[1],"parameters":{"shared_memory_region":"r"}"#,
      says: "Shared memory is not offered", status: 501),
    Refusal(
      "one input twice",
      #"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]},"#
        + #"{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}"#, says: "'x' is given twice"),
    Refusal("parameters as array", #"{"inputs":[],"parameters":[]}"#, says: "must be an object"),
    Refusal(
      "a negative priority", #"{"inputs":[],"parameters":{"priority":-1}}"#,
      says: "'parameters.priority' must be a whole number"),
    Refusal(
      "a timeout as text", #"{"inputs":[],"parameters":{"timeout":"1"}}"#,
      says: "'parameters.timeout' must be a whole number"),
    Refusal(
      "binary_data_output as number", #"{"inputs":[],"parameters":{"binary_data_output":1}}"#,
      says: "must be true or false"),
    Refusal(
      "a sequence", #"{"inputs":[],"parameters":{"sequence_id":5}}"#, status: 501,
      says: "Sequences are not offered"),
    Refusal(
      "a reserved parameter", #"{"inputs":[],"parameters":{"triton_x":5}}"#,
      says: "begin with 'triton_'"),
    Refusal(
      "an unknown output", #"{"inputs":[],"outputs":[{"name":"y"}]}"#, says: "no output 'y'"),
    Refusal(
      "an output twice", #"{"inputs":[],"outputs":[{"name":"FP32"},{"name":"FP32"}]}"#,
      says: "asked for twice"),
    Refusal(
      "classes of strings",
      #"{"inputs":[],"outputs":[{"name":"BYTES","parameters":{"classification":1}}]}"#,
      says: "no highest values"),
  ]

  static let elements: [Refusal] = [
    .data("FP32", "[2]", "[1]", says: "has 1 elements, but its shape has 2"),
    .data("FP32", "[1]", "[1,2]", says: "has more elements, but its shape has 1"),
    .data("FP32", "[2]", "[[1],2]", says: "differ in length or depth"),
    .data("FP32", "[2]", "[1,[2]]", says: "differ in length or depth"),
    .data("FP32", "[4]", "[[1,2,3],[4]]", says: "differ in length or depth"),
    .data("FP32", "[1]", "[[[[[[[[[1]]]]]]]]]", says: "differ in length or depth"),
    .data("FP32", "[1]", #"["1"]"#, says: "Element 0 of input 'FP32' is not of the"),
    .data("FP32", "[2]", "[1,null]", says: "Element 1 of input 'FP32' is not of the"),
    .data("FP32", "[1]", "[true]", says: "is not of the input's datatype"),
    .data("FP32", "[2]", "[1,NaN]", says: "Element 1 of input 'FP32' is NaN or Infinity"),
    .data("FP32", "[1]", "[-Infinity]", says: "is NaN or Infinity"),
    .data("FP32", "[1]", "[1e39]", says: "Element 0 of input 'FP32' is out of the range"),
    .data("FP64", "[1]", "[-1e309]", says: "is out of the range"),
    .data("FP64", "[1]", "[1.]", says: "not JSON"),
    .data("FP64", "[1]", "[.5]", says: "not JSON"),
    .data("FP64", "[1]", "[1e]", says: "not JSON"),
    .data("FP64", "[1]", "[00]", says: "not JSON"),
    .data("FP64", "[1]", "[+1]", says: "not JSON"),
    .data("FP64", "[1]", "[0x10]", says: "is not of the input's datatype"),
    .data("FP64", "[2]", "[1 2]", says: "not JSON"),
    .data("FP64", "[2]", "[1,,2]", says: "Element 1"),
    .data("FP64", "[1]", "[1,]", says: "has more elements"),
    .data("UINT8", "[1]", "[256]", says: "out of the range"),
    .data("UINT8", "[1]", "[-1]", says: "out of the range"),
    .data("INT8", "[1]", "[-129]", says: "out of the range"),
    .data("INT64", "[1]", "[9223372036854775808]", says: "out of the range"),
    .data("UINT64", "[1]", "[18446744073709551616]", says: "out of the range"),
    .data("INT32", "[1]", "[1.0]", says: "is not of the input's datatype"),
    .data("INT32", "[1]", "[1e3]", says: "is not of the input's datatype"),
    .data("BOOL", "[1]", "[1]", says: "is not of the input's datatype"),
    .data("BOOL", "[1]", "[truth]", says: "is not of the input's datatype"),
    .data("BYTES", "[1]", "[5]", says: "is not of the input's datatype"),
    .data("BYTES", "[1]", #"["\x"]"#, says: "is not of the input's datatype"),
  ]

  static let framing: [Refusal] = [
    Refusal(
      "a header beyond the body", "{}", headers: [("inference-header-content-length", "3")],
      says: "no count of bytes between 0 and the 2 bytes"),
    Refusal(
      "a negative header", "{}", headers: [("inference-header-content-length", "-1")],
      says: "no count of bytes"),
    Refusal(
      "a header with a sign", "{}", headers: [("inference-header-content-length", "+2")],
      says: "no count of bytes"),
    Refusal(
      "an empty header", "{}", headers: [("inference-header-content-length", "")],
      says: "no count of bytes"),
    Refusal(
      "a header that overflows", "{}",
      headers: [("inference-header-content-length", "99999999999999999999")],
      says: "no count of bytes"),
    Refusal(
      "a coded body", "{}", headers: [("content-encoding", "gzip")], status: 415,
      says: "Bodies coded as 'gzip' are not taken"),
    binary("FP32", "[2]", 8, [0, 0, 0, 0], says: "says it has 8 binary bytes, but only 4 follow"),
    binary("FP32", "[2]", 4, [0, 0, 0, 0], says: "brings 4 bytes, but FP32 of shape [2] is 8"),
    binary("FP32", "[1]", 4, [0, 0, 0, 0, 0], says: "1 bytes are left over"),
    binary("FP32", "[1099511627776]", 4, [0, 0, 0, 0], says: "brings 4 bytes"),
    binary("BYTES", "[1]", 3, [0, 0, 0], says: "needs 1 strings, but brings only 3 bytes"),
    binary("BYTES", "[1]", 5, [2, 0, 0, 0, 7], says: "says it has 2 bytes, but only 1 follow"),
    binary("BYTES", "[1]", 4, [255, 255, 255, 255], says: "has 4294967295 bytes"),
    binary("BYTES", "[1]", 9, [1, 0, 0, 0, 7, 0, 0, 0, 0], says: "4 bytes left over"),
    binary("BYTES", "[1099511627776]", 4, [0, 0, 0, 0], says: "needs 1099511627776 strings"),
    Refusal(
      "a negative binary size",
      #"{"inputs":[{"name":"x","parameters":{"binary_data_size":-4}}]}"#,
      says: "'parameters.binary_data_size' of inputs[0] must be a whole number"),
    Refusal(
      "a binary size beyond Int64",
      #"{"inputs":[{"name":"x","parameters":{"binary_data_size":9223372036854775808}}]}"#,
      says: "must be a whole number"),
  ]

  /// A request with one binary input.
  private static func binary(
    _ type: String, _ shape: String, _ size: Int, _ blobs: [UInt8], says: String
  ) -> Refusal {
    Refusal(
      "\(type) \(shape) in \(size) of \(blobs)",
      #"{"inputs":[{"name":"\#(type)","shape":\#(shape),"datatype":"\#(type)","#
        + #""parameters":{"binary_data_size":\#(size)}}]}"#, blobs: blobs, says: says)
  }

  @Test(
    "Is refused with its status and a sentence",
    arguments: syntax + members + elements + framing)
  func refused(_ refusal: Refusal) {
    let harness = Harness()
    var (headers, body) = (refusal.headers, Array(refusal.json.utf8))
    if let blobs = refusal.blobs {
      headers.append(("inference-header-content-length", String(body.count)))
      body += blobs
    }
    let response = harness.ask("POST", "/v2/models/echo/infer", headers, body: body)
    #expect(response?.status == refusal.status, "\(response?.text ?? "no answer")")
    #expect(
      response?.text.contains(JSONWriter.escaped(refusal.says)) == true,
      "\(response?.text ?? "no answer")")
    #expect(response?.header("Content-Type") == "application/json")
    #expect(harness.service.requests.isEmpty)
    // The reader of this thread has to be as good as new.
    let next = harness.infer(
      "pair", #"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#)
    #expect(next?.status == 200)
  }

  @Test("Bytes that are not UTF-8 are refused")
  func notText() {
    let body = Array(#"{"id":"x","inputs":[]}"#.utf8).map { $0 == UInt8(ascii: "x") ? 0xff : $0 }
    let response = Harness().ask("POST", "/v2/models/pair/infer", body: body)
    #expect(response?.status == 400)
    #expect(response?.text.contains("not UTF-8") == true)
  }

  @Test("Every prefix of a request and every single changed byte get exactly one answer")
  func mutations() {
    let harness = Harness()
    let whole =
      Array(
        #"{"id":"a","parameters":{"timeout":5},"inputs":[{"name":"BYTES","shape":[2],"datatype":"#
          .utf8)
      + Array(#""BYTES","data":["\u00e9","b"]},{"name":"FP32","shape":[],"#.utf8)
      + Array(#""datatype":"FP32","data":[1.5e-3]}],"outputs":[{"name":"FP32"}]}"#.utf8)
    for count in whole.indices {
      let response = harness.ask("POST", "/v2/models/echo/infer", body: Array(whole[..<count]))
      #expect(response?.status == 400, "prefix of \(count) bytes")
    }
    var generator = Seeded(seed: 11)
    for _ in 0..<2000 {
      var body = whole
      let index = Int.random(in: body.indices, using: &generator)
      body[index] = UInt8.random(in: 0...255, using: &generator)
      let response = harness.ask("POST", "/v2/models/echo/infer", body: body)
      #expect([200, 400, 501].contains(response?.status ?? 0), "seed 11, byte \(index)")
    }
  }
}

extension JSONWriter {
  /// The text as it stands inside a JSON string.
  static func escaped(_ text: String) -> String {
    var json = JSONWriter()
    json.string(text)
    return String(decoding: json.bytes.dropFirst().dropLast(), as: UTF8.self)
  }
}
