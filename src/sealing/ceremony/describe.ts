import { hasSigned, keysOf, missingOf } from '../demand.ts'
import { describeRoot } from '../describe-root.ts'
import { countDifference, describeDifference } from '../difference.ts'
import { type PublicKey, shortId } from '../keys.ts'
import { isComplete, type Proposal } from '../proposal.ts'
import { ownerRole } from '../root.ts'
import { roleFile } from '../store-files.ts'

/* A proposal on the screen of the person who decides. */

/**
 * Heading, who may seal what, and the difference of every file: from this machine's own copy. All of it in a few lines at the end,
 * which are on the screen when the question comes, however long the rest is.
 */
export function differenceOf(proposal: Proposal): readonly string[] {
  const { configuration, present, demands } = proposal
  const { version, expires, root, files } = configuration
  return [
    `version ${version}, expires ${expires.toISOString()}, signs ${demands.map(({ file }) => file).join(', ')}`,
    ...describeRoot(present?.root ?? null, root),
    ...describeDifference(present?.files ?? new Map(), files),
    ...inAll(proposal),
  ]
}

function inAll({ configuration, present, demands }: Proposal): readonly string[] {
  const isRootNew = configuration.root.version !== present?.root.version
  const lines = isRootNew
    ? [`in all: root version ${configuration.root.version}: who may seal what, above`]
    : []
  for (const [name, { version, expires, files }] of configuration.roles) {
    if (!demands.some(({ file }) => file === roleFile(name))) continue
    const { added, changed, removed } = countDifference(present?.roles.get(name)?.files ?? new Map(), files)
    lines.push(
      `in all: role ${name} version ${version}, expires ${expires.toISOString()}: ${added} files added, ${changed} changed, ${removed} removed`,
    )
  }
  return lines
}

export interface SignatureState {
  readonly file: string
  readonly signed: readonly string[]
  /** How many more are needed, and whose would count. Twice for a root: holders of the one before, and its own. */
  readonly missing: readonly { readonly count: number; readonly of: readonly string[] }[]
}

export function signaturesOf({ demands }: Proposal): readonly SignatureState[] {
  return demands.map(demand => ({
    file: demand.file,
    signed: keysOf(demand)
      .filter(key => hasSigned(demand, key))
      .map(({ id }) => id),
    missing: missingOf(demand).map(({ count, of }) => ({ count, of: of.map(({ id }) => id) })),
  }))
}

export function describeSignatures(proposal: Proposal): readonly string[] {
  return signaturesOf(proposal).map(({ file, signed, missing }) => {
    const needs = missing.map(({ count, of }) => `${count} more of ${of.map(shown).join(', ')}`)
    const state = needs.length === 0 ? 'complete' : `needs ${needs.join(', and ')}`
    return `signed    ${file}: ${signed.length === 0 ? 'by nobody' : `by ${signed.map(shown).join(', ')}`}; ${state}`
  })
}

/** Keys of a new root that have signed nothing: that somebody holds them is still to be shown. The owner's has nothing to sign. */
export function describeUnproven({ configuration, present, demands }: Proposal): readonly string[] {
  const { root } = configuration
  if (root.version === present?.root.version) return []
  const signed = demands.flatMap(demand => keysOf(demand).filter(key => hasSigned(demand, key)))
  return [...root.roles]
    .filter(([name]) => name !== ownerRole && name !== 'snapshot')
    .flatMap(([name, { keys }]) => keys.map(id => ({ name, id })))
    .filter(({ id }) => !present?.root.keys.has(id) && !signed.some(key => key.id === id))
    .map(
      ({ name, id }) =>
        `careful   key ${shown(id)} of ${name} is new and has signed nothing: let its holder sign first`,
    )
}

/** What to do next with a proposal that has been looked at. */
export function nextStep(proposal: Proposal, file: string, directory: string): string {
  return isComplete(proposal)
    ? `next      all have signed: strongroom seal merge ${file} --dir ${directory}`
    : `next      pass ${file} to the holders of these keys: strongroom seal sign ${file} --dir ${directory}`
}

function shown(id: PublicKey['id'] | string): string {
  return `${shortId(id)}…`
}
