import CLinux
import Glibc

/// The few socket calls that the server makes.
enum Socket {
  /// A listening TCP socket, and the port it got.
  static func listen(host: String, port: Int) throws(ServerError) -> (descriptor: Int32, port: Int)
  {
    var hints = addrinfo()
    hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var found: UnsafeMutablePointer<addrinfo>?
    guard (0...65_535).contains(port), getaddrinfo(host, "\(port)", &hints, &found) == 0,
      let address = found
    else {
      throw ServerError(
        description: "'\(host)' port \(port) is no address to listen on: give an IPv4 or IPv6 "
          + "address such as 127.0.0.1 or ::, and a port from 0 to 65535.")
    }
    defer { freeaddrinfo(found) }
    let flags =
      Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
      | Int32(SOCK_NONBLOCK.rawValue)
    let descriptor = socket(address.pointee.ai_family, flags, 0)
    enable(descriptor, SOL_SOCKET, SO_REUSEADDR)
    guard descriptor >= 0,
      bind(descriptor, address.pointee.ai_addr, address.pointee.ai_addrlen) == 0,
      Glibc.listen(descriptor, 1024) == 0
    else {
      let reason = String(cString: strerror(errno))
      if descriptor >= 0 { close(descriptor) }
      throw ServerError(description: "Port \(port) of \(host) cannot be listened on: \(reason).")
    }
    return (descriptor, boundPort(descriptor) ?? port)
  }

  /// Sends small answers at once instead of waiting for more.
  static func disableDelay(_ descriptor: Int32) {
    enable(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY)
  }

  private static func enable(_ descriptor: Int32, _ level: Int32, _ option: Int32) {
    var one: Int32 = 1
    setsockopt(descriptor, level, option, &one, socklen_t(MemoryLayout<Int32>.size))
  }

  private static func boundPort(_ descriptor: Int32) -> Int? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let known = withUnsafeMutablePointer(to: &storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        getsockname(descriptor, $0, &length) == 0
      }
    }
    guard known else { return nil }
    // The port stands at the same place in IPv4 and IPv6 addresses.
    return withUnsafeBytes(of: &storage) { Int($0[2]) << 8 | Int($0[3]) }
  }
}
