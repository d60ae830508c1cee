import { Fault } from './fault.ts'
import { readPartitions } from './partitions.ts'
import type { Region } from './region.ts'

/** File systems that can be checked. */
export const checkedKinds = ['ext', 'xfs', 'btrfs', 'fat'] as const
export type CheckedKind = (typeof checkedKinds)[number]
/** `closed`: known, and nothing here can look into it. `unknown`: everything else, zeros too. */
export type Kind = CheckedKind | 'swap' | 'closed' | 'unknown'

export interface Content {
  readonly region: Region
  readonly kind: Kind
  /** Counted from 1; `null`: the whole volume. */
  readonly partition: number | null
  /** Part of a partition that is for a boot loader. */
  readonly isRaw: boolean
}

interface Signature {
  readonly kind: Exclude<Kind, 'unknown'>
  readonly at: number
  /** latin1 */
  readonly text: string
}

/** As libblkid has them. */
const signatures: readonly Signature[] = [
  { kind: 'ext', at: 0x438, text: '\x53\xef' },
  { kind: 'xfs', at: 0, text: 'XFSB' },
  { kind: 'btrfs', at: 0x10040, text: '_BHRfS_M' },
  { kind: 'swap', at: 4086, text: 'SWAPSPACE2' },
  { kind: 'swap', at: 65526, text: 'SWAPSPACE2' },
  { kind: 'fat', at: 54, text: 'FAT12   ' },
  { kind: 'fat', at: 54, text: 'FAT16   ' },
  { kind: 'fat', at: 82, text: 'FAT32   ' },
  { kind: 'closed', at: 0, text: 'LUKS\xba\xbe' },
  { kind: 'closed', at: 0, text: 'hsqs' },
  { kind: 'closed', at: 0, text: 'bcachefs' },
  { kind: 'closed', at: 3, text: 'NTFS    ' },
  { kind: 'closed', at: 3, text: 'EXFAT   ' },
  { kind: 'closed', at: 3, text: '-FVE-FS-' },
  { kind: 'closed', at: 1024, text: '\xe2\xe1\xf5\xe0' },
  { kind: 'closed', at: 1024, text: '\x10\x20\xf5\xf2' },
  { kind: 'closed', at: 4096, text: '\xfc\x4e\x2b\xa9' },
  { kind: 'closed', at: 32769, text: 'CD001' },
  ...[0, 512, 1024, 1536].map(at => ({ kind: 'closed' as const, at, text: 'LABELONE' })),
]

async function kindOf(region: Region): Promise<Kind> {
  const found = new Set<Kind>()
  for (const { kind, at, text } of signatures)
    if ((await region.read(at, text.length))?.toString('latin1') === text) found.add(kind)
  if (found.size > 1) throw new Fault('CONTENT_AMBIGUOUS')
  return [...found][0] ?? 'unknown'
}

/** What a volume is made of: one thing, or partitions. Throws `Fault`. */
export async function contentsOf(volume: Region): Promise<readonly Content[]> {
  const kind = await kindOf(volume)
  // The first sector of FAT and NTFS ends as a partition table does, and has code where that has partitions.
  const partitions = kind === 'fat' || kind === 'closed' ? null : await readPartitions(volume)
  if (partitions === null) return [{ region: volume, kind, partition: null, isRaw: false }]
  if (kind !== 'unknown') throw new Fault('CONTENT_AMBIGUOUS')
  const contents: Content[] = []
  for (const [index, { region, isRaw }] of partitions.entries())
    try {
      contents.push({ region, kind: await kindOf(region), partition: index + 1, isRaw })
    } catch (error) {
      throw error instanceof Fault ? new Fault(error.finding.finding, { partition: index + 1 }) : error
    }
  return contents
}
