import { choiceOf, fieldsOf, integerOf } from './yaml-fields.ts'
import type { YamlNode } from './yaml-node.ts'

/** `low`: only what other programs of dom0 leave of the cores. */
export const priorities = ['low', 'normal'] as const
export type Priority = (typeof priorities)[number]

const KiB = 1024
const uploadKibPerSecondMin = 16
const uploadKibPerSecondMax = 16 * KiB * KiB

/** How much of the machine a backup of the profile may use. */
export interface Budget {
  /** `null`: no limit. */
  readonly uploadBytesPerSecond: number | null
  readonly priority: Priority
}

export const budgetDefault: Budget = { uploadBytesPerSecond: null, priority: 'low' }

export function parseBudget(node: YamlNode): Budget {
  const fields = fieldsOf(node, 'budget', ['upload_kib_per_second', 'priority'])
  const rate = (key: string): number | null => {
    const value = fields.get(key)
    return value === undefined
      ? null
      : KiB * integerOf(value, key, uploadKibPerSecondMin, uploadKibPerSecondMax)
  }
  const priority = fields.get('priority')
  return {
    uploadBytesPerSecond: rate('upload_kib_per_second'),
    priority: priority === undefined ? budgetDefault.priority : choiceOf(priority, 'priority', priorities),
  }
}
