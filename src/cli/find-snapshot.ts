import { printable } from '../base/errors.ts'
import { parseSnapshotsView } from './answers.ts'
import { CliError } from './errors.ts'
import type { Session } from './session.ts'

const shortIdMin = 8
const ambiguousNamedMax = 5

/** The whole id of the one snapshot of a profile whose id begins with what was typed. Throws `CLI_SNAPSHOT_*`. */
export async function findSnapshot(session: Session, profile: string, typed: string): Promise<string> {
  if (!/^[0-9a-f]{8,64}$/.test(typed))
    throw new CliError(
      'CLI_SNAPSHOT_ID',
      `'${printable(typed).slice(0, 80)}' is no id of a snapshot; expected ${shortIdMin} to 64 hex digits, in lower case`,
      lister(profile),
    )
  const { snapshots } = await session.api.request('GET', snapshotsPath(profile), parseSnapshotsView)
  const found = snapshots.map(({ snapshot }) => snapshot).filter(snapshot => snapshot.startsWith(typed))
  const [only, ...others] = found
  if (only === undefined)
    throw new CliError(
      'CLI_SNAPSHOT_UNKNOWN',
      `no snapshot of '${printable(profile)}' begins with ${typed}`,
      lister(profile),
    )
  if (others.length === 0) return only
  const named = found
    .slice(0, ambiguousNamedMax)
    .map(snapshot => snapshot.slice(0, typed.length + shortIdMin))
  throw new CliError(
    'CLI_SNAPSHOT_AMBIGUOUS',
    `${found.length} snapshots begin with ${typed}: ${named.join(', ')}${found.length > named.length ? ', …' : ''}`,
    lister(profile),
  )
}

export function snapshotsPath(profile: string): string {
  return `/v1/profiles/${encodeURIComponent(profile)}/snapshots`
}

function lister(profile: string): { readonly hint: string } {
  return { hint: `list them with: strongroom snapshots ${profile}` }
}
