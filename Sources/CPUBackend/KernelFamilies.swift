/// Families of kernels that may be used where the processor has what they need: each has other last
/// bits, and another size of weights.
public struct KernelFamilies: OptionSet, Sendable {
  /// A bit for each family.
  public let rawValue: Int

  /// A set of the families with these bits.
  public init(rawValue: Int) { self.rawValue = rawValue }

  /// Winograd's minimal filtering of 3×3 windows.
  public static let minimalFiltering = KernelFamilies(rawValue: 1)
  /// FP32 as sums of BF16 numbers, on units that multiply matrices of these (AMX).
  public static let matrixUnits = KernelFamilies(rawValue: 2)
  /// Every family.
  public static let all: KernelFamilies = [.minimalFiltering, .matrixUnits]
}
