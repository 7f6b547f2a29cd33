import HTTP
import Testing

@testable import API

@Suite("Paths and methods")
struct RouteTests {
  @Test(
    "A path leads to its route",
    arguments: [
      ("/v2", .server), ("/v2/", .server), ("/v2/health/live", .live),
      ("/v2/health/ready", .ready), ("/v2/models", .models), ("/metrics", .metrics),
      ("/v2/models/m", .model("m", version: nil)),
      ("/v2/models/m/versions/2", .model("m", version: "2")),
      ("/v2/models/m/ready", .modelReady("m", version: nil)),
      ("/v2/models/m/versions/2/ready", .modelReady("m", version: "2")),
      ("/v2/models/m/infer", .infer("m", version: nil)),
      ("/v2/models/m/versions/2/infer", .infer("m", version: "2")),
      ("/v2/models/a%20b%2Fc%C3%BC/infer", .infer("a b/cü", version: nil)),
      ("/v2/models/versions", .model("versions", version: nil)),
    ] as [(String, Route)])
  func known(path: String, route: Route) throws {
    #expect(try Route(path: path) == route)
  }

  @Test(
    "A path that names nothing is 404",
    arguments: [
      "", "/", "v2", "/v1", "/v2/health", "/v2/health/", "/v2/health/live/", "/v2/health/x",
      "/v2/models/", "/v2/models//infer", "/v2/models/m/", "/v2/models/m/x",
      "/v2/models/m/infer/x", "/v2/models/m/versions", "/v2/models/m/versions/",
      "/v2/models/m/versions//infer", "/v2/models/m/versions/1/x", "/metrics/", "/V2", "/v2//",
    ])
  func unknown(path: String) {
    #expect(throws: APIError.self) { try Route(path: path) }
    #expect(Harness().ask("GET", path)?.status == 404)
  }

  @Test("A name that is not percent-encoded UTF-8 is 400", arguments: ["%", "%2", "%zz", "%ff"])
  func undecodable(name: String) {
    let response = Harness().ask("GET", "/v2/models/\(name)")
    #expect(response?.status == 400)
    #expect(response?.text.contains("percent-encoded") == true)
  }

  @Test(
    "A wrong method is 405 and says which are right",
    arguments: [
      ("POST", "/v2", "GET, HEAD"), ("DELETE", "/v2/models/pair", "GET, HEAD"),
      ("GET", "/v2/models/pair/infer", "POST"), ("PUT", "/v2/models/pair/infer", "POST"),
      ("POST", "/metrics", "GET, HEAD"), ("OPTIONS", "/v2/health/live", "GET, HEAD"),
    ])
  func wrongMethod(method: String, path: String, allow: String) {
    let response = Harness().ask(method, path)
    #expect(response?.status == 405)
    #expect(response?.header("Allow") == allow)
    #expect(response?.header("Content-Type") == "application/json")
  }
}
