import { equalConstantTime } from '../base/bytes.ts'
import { compareCopies, entryText, lastThatHolds } from '../ledger/copies.ts'
import type { CopyOnDisk } from '../ledger/copy-on-disk.ts'
import type { WitnessState } from '../ledger/witness.ts'
import { readRecord, readWitness } from './store.ts'

/*
 * dom0's copy of its ledger, the management VM's and what this VM has cosigned: are they one history, and where do they part?
 * This VM keeps no entries but a checkpoint for each release, so that it can say of either copy which is its own.
 */

/** `rolled-back`: dom0 lacks what others have seen of it, and an honest dom0 never does. */
export type Standing = 'same' | 'behind' | 'rolled-back' | 'forked'

export interface Comparison {
  readonly standing: Standing
  /** The first entry that differs is one of `from` to `to`; `null`: none does. */
  readonly first: { readonly from: number; readonly to: number } | null
  readonly copies: readonly {
    readonly name: string
    readonly size: number
    /** Whether it has all that this VM has cosigned, as far as it goes. */
    readonly agrees: boolean
    /** What stands at `first.from`. */
    readonly entry: string | null
  }[]
  /** The sizes that this VM has cosigned and remembers. */
  readonly cosigned: readonly number[]
}

/** The checkpoints that this VM remembers to have cosigned, the smallest first. The service may run. */
export async function rememberedCheckpoints(home: string): Promise<readonly WitnessState[]> {
  const found = new Map<number, WitnessState>()
  for await (const { witness } of readRecord(home))
    if (witness !== undefined) found.set(witness.size, witness)
  const last = await readWitness(home)
  if (last !== null) found.set(last.size, last)
  return [...found.values()].sort((one, other) => one.size - other.size)
}

interface Finding {
  readonly standing: Standing
  readonly from: number
  readonly to: number
}

/** `copies` are dom0's, the management VM's, or both, by those names. */
export async function compareLedgers(
  copies: ReadonlyMap<'dom0' | 'management', CopyOnDisk>,
  cosigned: readonly WitnessState[],
): Promise<Comparison> {
  const findings: Finding[] = []
  const strangers = new Set<string>()
  for (const [name, copy] of copies) {
    const found = await compareWithMemory(name, copy, cosigned)
    if (found !== null) findings.push(found)
    if (found?.standing === 'forked') strangers.add(name)
  }
  const difference = await compareCopies(copies)
  if (difference !== null) {
    const { index, kind, copies: parted } = difference
    const standing = kind === 'forked' ? 'forked' : parted[1] === 'dom0' ? 'rolled-back' : 'behind'
    findings.push({ standing, from: index, to: index })
  }
  // The gravest; of those the earliest, said as exactly as it is known: two copies of entries part at one place.
  const [gravest = null] = findings.sort(
    (one, other) =>
      gravity[other.standing] - gravity[one.standing] || one.to - other.to || other.from - one.from,
  )
  const at = gravest?.from
  const described = [...copies].map(async ([name, copy]) => ({
    name,
    size: copy.size,
    agrees: !strangers.has(name),
    entry: at === undefined ? null : entryText(await copy.entry(at)),
  }))
  return {
    standing: gravest?.standing ?? 'same',
    first: gravest === null ? null : { from: gravest.from, to: gravest.to },
    copies: await Promise.all(described),
    cosigned: cosigned.map(({ size }) => size),
  }
}

const gravity: Readonly<Record<Standing, number>> = { same: 0, behind: 1, 'rolled-back': 2, forked: 3 }

/** An entry that differs makes every later root differ, so halving finds the first checkpoint that is another. */
async function compareWithMemory(
  name: string,
  copy: CopyOnDisk,
  cosigned: readonly WitnessState[],
): Promise<Finding | null> {
  const within = cosigned.filter(({ size }) => size <= copy.size)
  const same = await lastThatHolds(within.length, async count => {
    const known = within[count - 1]
    return known !== undefined && equalConstantTime(known.root, await copy.root(known.size))
  })
  const other = within[same]
  if (other !== undefined)
    return { standing: 'forked', from: within[same - 1]?.size ?? 0, to: other.size - 1 }
  const newest = cosigned.at(-1)?.size ?? 0
  if (newest <= copy.size) return null
  return { standing: name === 'dom0' ? 'rolled-back' : 'behind', from: copy.size, to: copy.size }
}
