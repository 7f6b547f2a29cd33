import ArgumentParser

/// `stowage healthcheck`: for container runtimes, whose images have no curl.
struct HealthcheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "healthcheck",
    abstract: "Exit with 0 when the server at --url is ready for requests.")

  @Option(help: "Where the server is.")
  var url = "http://127.0.0.1:8000"

  @Option(help: "Seconds to wait for the answer.")
  var timeout = 2

  @Flag(help: "Ask only whether the process answers, not whether its models are loaded.")
  var live = false

  func run() throws {
    let path = live ? "/v2/health/live" : "/v2/health/ready"
    let answer = try HTTPClient(url: url, timeout: timeout).send(path)
    guard answer.status == 200 else {
      throw HTTPClient.Failure(description: "\(url)\(path) answered \(answer.status).")
    }
  }
}
