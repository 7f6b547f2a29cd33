import HTTP
import Testing

@testable import API

@Suite("Plans of models, in words")
struct PlanTests {
  /// What an API says of a plan; nil unless the query has exactly one answer.
  private func ask(_ path: String, _ query: String?) -> Response? {
    let harness = Harness()
    let inbox = Inbox()
    harness.api.handle(
      Request(
        method: "GET", path: path, query: query, headers: Headers(),
        body: UnsafeRawBufferPointer(start: nil, count: 0)), sink: inbox)
    return inbox.responses.count == 1 ? inbox.responses.first : nil
  }

  @Test("Samples that fit together have one segment; a version can be named")
  func together() {
    let plan = ask("/v2/models/pair/versions/1/plan", "samples=2")
    #expect(plan?.status == 200)
    #expect(plan?.header("Content-Type") == "application/json")
    #expect(
      plan?.text
        == #"{"model_name":"pair","model_version":"1","samples":2,"largest_batch":380,"#
        + #""fits":true,"reason":"20.5 KiB of 20.5 KiB of weights come in, each once.","units":2,"#
        + #""predicted_ms":10.000,"compute_ms":10.000,"page_in_ms":0.021,"#
        + #""budget_bytes":80000,"needed_bytes":64200,"page_in_bytes":21000,"resident_bytes":0,"#
        + #""segments":[{"first_layer":"large","last_layer":"small","layers":2,"chunk":2,"#
        + #""layer_batches":[2,2],"compute_ms":10.000,"weight_bytes":21000,"#
        + #""activation_bytes":44200,"reason":"2 samples fit together."}]}"#)
  }

  @Test("Samples that do not fit together go in chunks, and the plan says why")
  func chunks() {
    let text = ask("/v2/models/pair/plan", "x=1&samples=8")?.text ?? ""
    #expect(text.contains(#""fits":true"#))
    #expect(text.contains("8 samples together would need "))
    #expect(!text.contains(#""chunk":8,"layer_batches":[8,8]"#))
  }

  @Test("Samples that can never fit have no segments, and the plan says how many do")
  func tooMany() {
    let text = ask("/v2/models/pair/plan", "samples=900")?.text ?? ""
    #expect(text.contains(#""fits":false"#))
    #expect(text.contains(#""segments":[]"#))
    #expect(text.contains("900 samples need "))
    #expect(text.contains("more than the 78.1 KiB for plans; at most 380 fit"))
  }

  @Test("A plan is for one sample unless the query says otherwise, and for no less")
  func queries() {
    for query in [nil, "", "samples=1", "other=3", "samples"] {
      let plan = ask("/v2/models/pair/plan", query)
      #expect(plan?.status == (query == "samples" ? 400 : 200))
      if query != "samples" { #expect(plan?.text.contains(#""samples":1,"#) == true) }
    }
    for query in ["samples=0", "samples=-1", "samples=two", "samples="] {
      let plan = ask("/v2/models/pair/plan", query)
      #expect(plan?.status == 400)
      #expect(plan?.text.contains("names no number of samples; ask with samples=8.") == true)
    }
    #expect(ask("/v2/models/nobody/plan", nil)?.status == 404)
    #expect(ask("/v2/models/broken/plan", nil)?.status == 503)
    #expect(Harness().ask("POST", "/v2/models/pair/plan")?.status == 405)
  }
}
