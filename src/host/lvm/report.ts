import { MiB, utf8 } from '../../base/bytes.ts'
import { CodedError } from '../../base/errors.ts'
import { fields, is, parseJson } from '../../base/json.ts'
import { HostError } from '../errors.ts'

/** A thin volume, as `lvs` reports it. */
export interface ThinVolume {
  readonly name: string
  readonly uuid: string
  readonly bytes: number
  readonly thin: {
    readonly pool: string
    /** Its id in the pool; given to another volume when this one is gone. */
    readonly device: number
    /** The pool's last one before this volume was made. */
    readonly transaction: number
  }
  readonly tags: readonly string[]
}

export const reportBytesMax = 16 * MiB
const rowsMax = 50_000
/** The columns that `parseReport` understands, as an argument of lvs. */
export const reportColumns = 'lv_name,lv_uuid,lv_size,pool_lv,thin_id,transaction_id,lv_tags'

const text = is.string(1000)
const parseRow = fields('a row of lvs', {
  lv_name: text,
  lv_uuid: text,
  lv_size: text,
  pool_lv: text,
  thin_id: text,
  transaction_id: text,
  lv_tags: text,
})
const parseRows = fields('the report of lvs', {
  report: is.array(fields('a report of lvs', { lv: is.array(parseRow, rowsMax) }), 1),
  // Newer versions can be told to add one; it says nothing to us.
  log: is.optional(() => null),
})

/** The thin volumes in what `lvs --reportformat json --units b --nosuffix -o <reportColumns>` prints. Throws `VOLUME_MAP`. */
export function parseReport(untrustedText: string): readonly ThinVolume[] {
  try {
    const { report } = parseRows(parseJson(utf8(untrustedText), { bytesMax: reportBytesMax }))
    return report.flatMap(({ lv }) => lv.flatMap(row => (row.thin_id === '' ? [] : [volumeOf(row)])))
  } catch (cause) {
    const why = cause instanceof CodedError ? cause.message : 'it is not a report'
    throw new HostError('VOLUME_MAP', `lvs: ${why}`, { cause })
  }
}

function volumeOf(row: ReturnType<typeof parseRow>): ThinVolume {
  return {
    name: nameOf(row.lv_name),
    uuid: row.lv_uuid,
    bytes: numberOf(row.lv_size),
    thin: {
      pool: nameOf(row.pool_lv),
      device: numberOf(row.thin_id),
      transaction: numberOf(row.transaction_id),
    },
    tags: row.lv_tags === '' ? [] : row.lv_tags.split(','),
  }
}

/** lvm(8): letters, digits and `+_.-`, not beginning with a dash. */
export function isLvmName(name: string): boolean {
  return /^[A-Za-z0-9+_.][A-Za-z0-9+_.-]{0,126}$/.test(name) && name !== '.' && name !== '..'
}

function nameOf(text: string): string {
  if (!isLvmName(text)) throw new HostError('VOLUME_MAP', 'a name that LVM does not allow')
  return text
}

function numberOf(text: string): number {
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(Number(text)))
    throw new HostError('VOLUME_MAP', `'${text.slice(0, 40)}' where a number should be`)
  return Number(text)
}
