import CSimdJSON
import Vocabulary

extension APIError {
  /// The sentence for what the JSON reader found; `input` names the input whose data it read.
  static func json(_ error: stowage_json_error, input: String? = nil) -> APIError {
    let place = JSONPlace(error)
    switch error.problem {
    case STOWAGE_JSON_EMPTY:
      return .invalid("The request has no body. Send a JSON object with 'inputs'.")
    case STOWAGE_JSON_NOT_UTF8:
      return .invalid("The request body is not UTF-8, which JSON must be.")
    case STOWAGE_JSON_TOO_DEEP:
      return .invalid(
        "The request body nests deeper than any request needs, at byte \(place.byte).")
    case STOWAGE_JSON_NO_MEMORY:
      return APIError(503, "There is no memory to read this request now.", retryAfter: 1)
    case STOWAGE_JSON_WRONG_TYPE:
      return .invalid("\(place.member) must be \(place.wanted), at byte \(place.byte).")
    case STOWAGE_JSON_REPEATED:
      return .invalid("\(place.member) is given twice, at byte \(place.byte).")
    case STOWAGE_JSON_MISSING:
      return .invalid("\(place.member) is missing.")
    case STOWAGE_JSON_TOO_MANY:
      return .invalid("'\(place.list)' holds more than \(error.index) tensors.")
    case STOWAGE_JSON_RANK:
      return .invalid(
        "\(place.member) has more than \(Limits.tensorRank) dimensions.")
    case STOWAGE_JSON_UNSUPPORTED: return unsupported(place)
    default: return data(error, input: input ?? "\(error.index)")
    }
  }

  private static func unsupported(_ place: JSONPlace) -> APIError {
    if place.name == "sequence_id" {
      return APIError(
        501, "Sequences are not offered: leave out sequence_id, sequence_start and sequence_end.")
    }
    return .invalid("Parameters that begin with 'triton_' are reserved: leave them out.")
  }

  /// The sentence for trouble inside an input's `data`, or in the JSON as such.
  private static func data(_ error: stowage_json_error, input: String) -> APIError {
    let element = "Element \(error.element) of input '\(input)'"
    switch error.problem {
    case STOWAGE_JSON_ELEMENT:
      return .invalid(
        "\(element) is not of the input's datatype, at byte \(error.offset): numbers for numeric "
          + "types (whole ones for integers), true or false for BOOL, strings for BYTES.")
    case STOWAGE_JSON_ELEMENT_RANGE:
      return .invalid("\(element) is out of the range of its datatype, at byte \(error.offset).")
    case STOWAGE_JSON_NOT_FINITE:
      return .invalid(
        "\(element) is NaN or Infinity, which JSON does not have: send this input as binary data.")
    case STOWAGE_JSON_RAGGED:
      return .invalid(
        "The nested arrays of input '\(input)' differ in length or depth near element "
          + "\(error.element), at byte \(error.offset).")
    default:
      return .invalid("The request body is not JSON at byte \(error.offset).")
    }
  }
}

/// Where in a request the reader stopped, in words.
private struct JSONPlace {
  /// The byte.
  let byte: Int
  /// `inputs` or `outputs`.
  let list: String
  /// The member's bare name.
  let name: String
  /// The member with its place, such as `'shape' of inputs[0]`.
  let member: String
  /// What the member must be.
  let wanted: String

  init(_ error: stowage_json_error) {
    byte = error.offset
    list = error.list.map { String(cString: $0) } ?? ""
    name = error.member.map { String(cString: $0) } ?? ""
    wanted = error.wanted.map { String(cString: $0) } ?? ""
    let entry = "\(list)[\(error.index)]"
    if list.isEmpty {
      member = "'\(name)'"
    } else {
      member = name.isEmpty ? "'\(entry)'" : "'\(name)' of \(entry)"
    }
  }
}
