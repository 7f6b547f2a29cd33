import HTTP
import Testing

@testable import API

@Suite("What the server and its models say of themselves")
struct MetadataTests {
  @Test("Server metadata has name, version and extensions, with and without the last slash")
  func server() {
    for path in ["/v2", "/v2/"] {
      let response = Harness().ask("GET", path)
      #expect(response?.status == 200)
      #expect(response?.header("Content-Type") == "application/json")
      #expect(
        response?.text
          == #"{"name":"stowage","version":"1.2.3","extensions":["binary_tensor_data","#
          + #""classification","parameters","schedule_policy"]}"#)
    }
  }

  @Test("Health answers have a body in both states")
  func health() {
    let ready = Harness()
    #expect(ready.ask("GET", "/v2/health/live")?.text == #"{"live":true}"#)
    #expect(ready.ask("GET", "/v2/health/ready")?.text == #"{"live":true,"ready":true}"#)
    let starting = Harness(FakeService(isReady: false)).ask("GET", "/v2/health/ready")
    #expect(starting?.status == 503)
    #expect(starting?.text == #"{"live":true,"ready":false}"#)
  }

  @Test("The list of models has every version, its state and why one was refused")
  func models() {
    let text = Harness().ask("GET", "/v2/models")?.text
    #expect(text?.hasPrefix(#"{"models":[{"name":"echo","version":"1","state":"READY"},"#) == true)
    #expect(
      text?.contains(
        #"{"name":"pair","version":"2","state":"READY"},{"name":"pair","version":"1","#) == true)
    #expect(text?.contains(#"{"name":"loading","version":"1","state":"LOADING"}"#) == true)
    #expect(
      text?.hasSuffix(
        #"{"name":"broken","version":"1","state":"UNAVAILABLE","reason":"#
          + #""Node 'n' uses operator 'Nope'."}]}"#) == true)
  }

  @Test("A model's metadata has its versions, inputs and outputs")
  func model() {
    let tensors = #"[{"name":"x","datatype":"FP32","shape":[-1,2]}]"#
    let rest =
      #""platform":"onnx_onnxv1","inputs":\#(tensors),"outputs":\#(tensors),"#
      + #""parameters":{"precision":"fp32"}}"#
    #expect(
      Harness().ask("GET", "/v2/models/pair")?.text
        == #"{"name":"pair","versions":["2","1"],"# + rest)
    #expect(
      Harness().ask("GET", "/v2/models/pair/versions/1")?.text
        == #"{"name":"pair","versions":["1"],"# + rest)
    #expect(Harness().ask("GET", "/v2/models/a%20b%2F%c3%bc")?.status == 200)
  }

  @Test("A model that takes no requests says why")
  func notReady() {
    let harness = Harness()
    #expect(
      harness.ask("GET", "/v2/models/pair/ready")?.text == #"{"name":"pair","ready":true}"#)
    let broken = harness.ask("GET", "/v2/models/broken/ready")
    #expect(broken?.status == 503)
    #expect(broken?.text.contains("Node 'n' uses operator 'Nope'.") == true)
    #expect(harness.ask("GET", "/v2/models/broken")?.status == 503)
    #expect(harness.infer("broken", "{}")?.status == 503)
    let loading = harness.ask("GET", "/v2/models/loading")
    #expect(loading?.status == 503)
    #expect(loading?.header("Retry-After") == "1")
  }

  @Test("A model or version that is not there is 404 and says which")
  func missing() {
    let harness = Harness()
    let model = harness.ask("GET", "/v2/models/nobody/ready")
    #expect(model?.status == 404)
    #expect(model?.text.contains("There is no model 'nobody'.") == true)
    let version = harness.ask("GET", "/v2/models/pair/versions/9")
    #expect(version?.status == 404)
    #expect(version?.text.contains("has no version '9'") == true)
  }

  @Test("Metrics are Prometheus text and count every answer by its status")
  func metrics() {
    let harness = Harness()
    for path in ["/v2", "/v2/models/broken", "/nothing", "/nowhere"] {
      _ = harness.ask("GET", path)
    }
    _ = harness.infer("pair", "{")
    let response = harness.ask("GET", "/metrics")
    let counted = response?.text.split(separator: "\n").filter {
      $0.hasPrefix("stowage_http_answers_total{") && !$0.hasSuffix(" 0")
    }
    #expect(
      counted
        == [200: 1, 400: 1, 404: 2, 503: 1].sorted { $0.key < $1.key }.map {
          "stowage_http_answers_total{code=\"\($0.key)\"} \($0.value)"
        })
    #expect(response?.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8")
  }
}
