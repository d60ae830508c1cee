import { existsSync } from 'node:fs'
import { systemClock } from '../base/environment.ts'
import { type ProfileName, parseProfileName } from '../base/names.ts'
import { HsmError } from '../hsm/errors.ts'
import { explainBinding } from '../hsm/explain.ts'
import type { TokenProcess } from '../hsm/token-process.ts'
import type { HsmBinding } from '../profiles/binding.ts'
import { type AnchoredCounter, anchorCounter } from '../sealing/counter.ts'
import { sealedPlace } from '../sealing/place.ts'
import type { Answer } from './command-line.ts'
import { openConfiguration } from './sealed-configuration.ts'

/* `strongroom hsm anchor` and `explain`: this VM's own copy of the sealed store, which is verified for each. */

/** The token counts the versions of the store in `directory`, which an old disk of this VM does not bring back. */
export function countedBy(token: TokenProcess, directory: string, signal: AbortSignal): AnchoredCounter {
  return {
    counter: {
      read: stop => token.counter('read', stop),
      increment: stop => token.counter('increment', stop),
    },
    basePath: sealedPlace(directory).counterBase,
    signal,
  }
}

export async function anchor(token: TokenProcess, directory: string, signal: AbortSignal): Promise<Answer> {
  const { version, digest } = (await openConfiguration(directory, systemClock)).current()
  await token.counter('make', signal)
  const base = await anchorCounter(countedBy(token, directory, signal), version)
  return { result: { version, digest, base }, text: [`anchored  version ${version}, ${digest}`] }
}

/** As it is sealed now; `null`: it is not. A store is made with the digest of the first epoch, so there may be none yet. */
export function sealedBinding(directory: string): (profile: ProfileName) => Promise<HsmBinding | null> {
  return async profile => {
    if (!existsSync(sealedPlace(directory).store)) return null
    const sealed = await openConfiguration(directory, systemClock)
    return sealed.current().value.bindings.get(profile) ?? null
  }
}

export async function explain(directory: string, untrustedProfile: string | undefined): Promise<Answer> {
  const sealed = await openConfiguration(directory, systemClock)
  const { bindings } = sealed.current().value
  const wanted = untrustedProfile === undefined ? null : parseProfileName(untrustedProfile)
  const found = [...bindings].filter(([profile]) => wanted === null || profile === wanted)
  if (wanted !== null && found.length === 0)
    throw new HsmError('HSM_REFUSED_PROFILE', `the sealed configuration has no profile '${wanted}'`)
  return {
    result: found.map(([profile, binding]) => ({ profile, ...binding })),
    text: found.flatMap(([profile, binding]) => explainBinding(profile, binding)),
  }
}
