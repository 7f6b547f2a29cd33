import Glibc

/// The files beside a model that hold its larger tensors.
struct ExternalData {
  /// The model's folder; nil when the model did not come from a file.
  let folder: String?
  private var files: [String: MappedFile] = [:]

  init(folder: String?) { self.folder = folder }

  /// What tells the files read so far from other states of them, by name.
  var stamps: [FileStamp] {
    files.values.map(\.stamp).sorted { $0.description < $1.description }
  }

  /// Where a tensor says its elements lie.
  struct Place {
    var location = ""
    var offset = 0
    var length: Int?

    /// Takes one key and value of the tensor's `external_data`.
    mutating func set(_ key: String, to value: String) throws(ModelError) {
      switch key {
      case "location": location = value
      case "offset": offset = try size(value, key)
      case "length": length = try size(value, key)
      default: break
      }
    }

    private func size(_ text: String, _ key: String) throws(ModelError) -> Int {
      guard let number = Int(text), number >= 0 else {
        throw ModelError("The \(key) '\(text)' of external data is not a size.")
      }
      return number
    }
  }

  /// Finds a tensor's bytes: a file inside the model's folder, and the part of it asked for.
  mutating func bytes(
    at place: Place, count: Int
  ) throws(ModelError) -> (bytes: UnsafeRawBufferPointer, owner: MappedFile) {
    let file = try file(place.location)
    let available = file.bytes.count
    guard place.length ?? count == count else {
      throw ModelError(
        "External data gives a length of \(place.length ?? 0) bytes where \(count) are needed.")
    }
    guard place.offset <= available, count <= available - place.offset else {
      throw ModelError(
        "External data reaches past the end of '\(place.location)', which has \(available) bytes.")
    }
    return (UnsafeRawBufferPointer(rebasing: file.bytes[place.offset..<place.offset + count]), file)
  }

  private mutating func file(_ location: String) throws(ModelError) -> MappedFile {
    if let known = files[location] { return known }
    guard let folder else {
      throw ModelError("External data needs a model that was read from a file.")
    }
    let parts = location.split(separator: "/", omittingEmptySubsequences: false)
    guard !location.isEmpty, !location.utf8.contains(0), !parts.contains(""),
      !parts.contains("..")
    else {
      throw ModelError(
        "External data at '\(location)' is refused: it must be a path inside the model's folder.")
    }
    // A link may still lead out of the folder, so the resolved paths are compared as well.
    let root = try resolved(folder)
    let path = try resolved(folder + "/" + location)
    guard path.hasPrefix(root == "/" ? root : root + "/") else {
      throw ModelError(
        "External data at '\(location)' is refused: it leads out of the model's folder.")
    }
    let file = try MappedFile(path: path)
    files[location] = file
    return file
  }

  private func resolved(_ path: String) throws(ModelError) -> String {
    guard let real = realpath(path, nil) else {
      throw ModelError("The file '\(path)' does not exist.")
    }
    defer { free(real) }
    return String(cString: real)
  }
}
