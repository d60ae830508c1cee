import { fieldsOf, integerOf } from './yaml-fields.ts'
import type { YamlNode } from './yaml-node.ts'

const KiB = 1024
const uploadKibPerSecondMin = 16
const uploadKibPerSecondMax = 16 * KiB * KiB

/** How much of the machine a backup of the profile may use. */
export interface Budget {
  /** `null`: no limit. */
  readonly uploadBytesPerSecond: number | null
}

export const budgetDefault: Budget = { uploadBytesPerSecond: null }

export function parseBudget(node: YamlNode): Budget {
  const fields = fieldsOf(node, 'budget', ['upload_kib_per_second'])
  const rate = (key: string): number | null => {
    const value = fields.get(key)
    return value === undefined
      ? null
      : KiB * integerOf(value, key, uploadKibPerSecondMin, uploadKibPerSecondMax)
  }
  return { uploadBytesPerSecond: rate('upload_kib_per_second') }
}
