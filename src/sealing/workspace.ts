import path from 'node:path'

export const proposalEnding = '.proposal'

/** Where whoever seals keeps things, below one directory. */
export interface SealWorkspace {
  readonly directory: string
  /** Plain files, to be edited. */
  readonly draft: string
  /** Private keys, one file a key. Belongs on a medium that is put away. */
  readonly keys: string
  /** The sealed store as of the last seal. */
  readonly store: string
  readonly pin: string
  readonly floor: string
  /** One file a version that is being signed. */
  readonly proposals: string
  /** One file a version: what the machines are given. */
  readonly updates: string
}

export function sealWorkspace(directory: string): SealWorkspace {
  const at = (name: string) => path.join(directory, name)
  return {
    directory,
    draft: at('draft'),
    keys: at('keys'),
    store: at('store'),
    pin: at('pin.json'),
    floor: at('floor.json'),
    proposals: at('proposals'),
    updates: at('updates'),
  }
}

export function updateFile({ updates }: SealWorkspace, version: number): string {
  return path.join(updates, `${version}.update`)
}

export function proposalFile({ proposals }: SealWorkspace, version: number): string {
  return path.join(proposals, `${version}${proposalEnding}`)
}

/** The whole store in one file, for a machine that has none. */
export function wholeFile({ updates }: SealWorkspace): string {
  return path.join(updates, 'whole.update')
}
