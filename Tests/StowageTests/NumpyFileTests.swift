import Testing
import Vocabulary

@testable import Stowage

@Suite("Arrays as numpy saves them")
struct NumpyFileTests {
  private func file(
    _ header: String, version: UInt8 = 1, _ elements: [UInt8] = []
  ) -> [UInt8] {
    let count = header.utf8.count
    let length: [UInt8] =
      version == 1
      ? [UInt8(count & 255), UInt8(count >> 8)] : [UInt8(count & 255), UInt8(count >> 8), 0, 0]
    return [0x93] + Array("NUMPY".utf8) + [version, 0] + length + Array(header.utf8) + elements
  }

  @Test("Type, shape and elements are read from every format version", arguments: [1, 2, 3])
  func versions(version: UInt8) throws {
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }   \n"
    let array = try NumpyFile(file(header, version: version, [0, 0, 128, 63, 0, 0, 0, 64]))
    #expect(array.type == .float32)
    #expect(array.shape == [1, 2])
    #expect(Numbers.read(array.elements, as: array.type) == [1, 2])
  }

  @Test("Scalars, vectors and empty arrays keep their shapes")
  func shapes() throws {
    let header = { (shape: String) in
      "{'descr': '|u1', 'fortran_order': False, 'shape': \(shape), }\n"
    }
    #expect(try NumpyFile(file(header("()"), [7])).shape == [])
    #expect(try NumpyFile(file(header("(2,)"), [7, 8])).shape == [2])
    #expect(try NumpyFile(file(header("(0, 3)"))).shape == [0, 3])
  }

  @Test(
    "What cannot be sent is refused with what to do",
    arguments: [
      ("{'descr': '<f4', 'fortran_order': True, 'shape': (0,), }", "ascontiguousarray"),
      ("{'descr': '>f4', 'fortran_order': False, 'shape': (0,), }", "'>f4'"),
      ("{'descr': '|O', 'fortran_order': False, 'shape': (0,), }", "'|O'"),
      ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (0,), }", "cannot be sent"),
      ("{'fortran_order': False, 'shape': (0,), }", "cannot be sent"),
      ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "no shape"),
      ("{'descr': '<f4', 'fortran_order': False, 'shape': (1", "no shape"),
      ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "not as long"),
      (
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }",
        "not as long"
      ),
      ("", "Fortran order"),
    ])
  func refused(header: String, says: String) {
    let problem = #expect(throws: NumpyFile.Problem.self) { try NumpyFile(file(header)) }
    #expect(problem?.description.contains(says) == true)
  }

  @Test("No prefix of a file is taken for a file")
  func prefixes() {
    let whole = file("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", [0, 0, 0, 0])
    for count in whole.indices {
      #expect(throws: NumpyFile.Problem.self) { try NumpyFile(Array(whole[..<count])) }
    }
    #expect(throws: NumpyFile.Problem.self) { try NumpyFile(whole + [0]) }
  }

  @Test("Numbers become a model's floats, but never its integers")
  func conversion() {
    #expect(
      Numbers.convert([1, 255], from: .uint8, to: .float32) == [0, 0, 128, 63, 0, 0, 127, 67])
    #expect(Numbers.convert([0, 60], from: .float16, to: .float32) == [0, 0, 128, 63])
    #expect(Numbers.convert([1, 2], from: .int8, to: .int8) == [1, 2])
    #expect(Numbers.convert([1, 2], from: .int8, to: .int64) == nil)
  }
}
