import { fault } from './errors.ts'
import { choiceOf, fieldsOf, integerOf, missing } from './yaml-fields.ts'
import type { YamlNode } from './yaml-node.ts'

/** `low`: only what other programs of dom0 leave of the cores. */
const priorities = ['low', 'normal'] as const
export type Priority = (typeof priorities)[number]
const onBattery = ['run', 'wait', 'slow'] as const
const onMetered = ['run', 'wait', 'limit'] as const
const afterWait = ['run', 'fail'] as const

const KiB = 1024
const uploadKibPerSecondMin = 16
const uploadKibPerSecondMax = 16 * KiB * KiB
const waitHoursMost = 24 * 7

/** How much of the machine a backup of the profile may use, and when. */
export interface Budget {
  /** `null`: no limit. */
  readonly uploadBytesPerSecond: number | null
  readonly priority: Priority
  /** `slow`: on one core. */
  readonly onBattery: (typeof onBattery)[number]
  /** When the VM that orders says that the network is. */
  readonly onMetered: (typeof onMetered)[number]
  /** With `limit`, and only then. */
  readonly meteredBytesPerSecond: number | null
  /** Of a backup that waits, from its order on. */
  readonly waitHoursMax: number
  readonly afterWait: (typeof afterWait)[number]
}

export const budgetDefault: Budget = {
  uploadBytesPerSecond: null,
  priority: 'low',
  onBattery: 'run',
  onMetered: 'run',
  meteredBytesPerSecond: null,
  waitHoursMax: 24,
  afterWait: 'run',
}

export function parseBudget(node: YamlNode): Budget {
  const fields = fieldsOf(node, 'budget', [
    'upload_kib_per_second',
    'priority',
    'on_battery',
    'on_metered',
    'metered_kib_per_second',
    'wait_hours_max',
    'after_wait',
  ])
  const rate = (key: string): number | null => {
    const value = fields.get(key)
    return value === undefined
      ? null
      : KiB * integerOf(value, key, uploadKibPerSecondMin, uploadKibPerSecondMax)
  }
  const choice = <const T extends string>(key: string, choices: readonly T[], otherwise: T): T => {
    const value = fields.get(key)
    return value === undefined ? otherwise : choiceOf(value, key, choices)
  }
  const hours = fields.get('wait_hours_max')
  const budget: Budget = {
    uploadBytesPerSecond: rate('upload_kib_per_second'),
    priority: choice('priority', priorities, budgetDefault.priority),
    onBattery: choice('on_battery', onBattery, budgetDefault.onBattery),
    onMetered: choice('on_metered', onMetered, budgetDefault.onMetered),
    meteredBytesPerSecond: rate('metered_kib_per_second'),
    waitHoursMax:
      hours === undefined ? budgetDefault.waitHoursMax : integerOf(hours, 'wait_hours_max', 1, waitHoursMost),
    afterWait: choice('after_wait', afterWait, budgetDefault.afterWait),
  }
  requireEffect(budget, node, fields)
  return budget
}

/** Nobody seals a key in the belief that it has an effect. */
function requireEffect(budget: Budget, node: YamlNode, fields: ReadonlyMap<string, YamlNode>): void {
  const limits = budget.onMetered === 'limit'
  if (limits && budget.meteredBytesPerSecond === null) throw missing('metered_kib_per_second', node.at)
  const waits = budget.onBattery === 'wait' || budget.onMetered === 'wait'
  for (const [key, hasEffect, condition] of [
    ['metered_kib_per_second', limits, 'on_metered: limit'],
    ['wait_hours_max', waits, 'on_battery: wait or on_metered: wait'],
    ['after_wait', waits, 'on_battery: wait or on_metered: wait'],
  ] as const) {
    const value = fields.get(key)
    if (value !== undefined && !hasEffect)
      throw fault('PROFILE_VALUE', value.at, `'${key}' has an effect only with ${condition}`)
  }
}
