export interface Command {
  readonly argv: readonly string[]
  readonly directory?: string
  readonly environment?: Readonly<Record<string, string>>
}

/** Where one run of one tool takes place. */
export interface Place {
  readonly day1: string
  readonly day2: string
  /** Not yet there. */
  readonly repository: string
  /** An empty directory; the images of day 2 are to appear in it. */
  readonly restored: string
  /** Which ranges of each image are other ones on day 2, for a tool that can make use of it. */
  readonly changes: string
  /** Caches and configuration of the tool. */
  readonly home: string
}

export const steps = ['full', 'incremental', 'delta', 'check', 'restore'] as const
export type Step = (typeof steps)[number]

export interface Tool {
  readonly name: string
  readonly version: Command
  init(place: Place): Command
  step(step: Exclude<Step, 'delta'>, place: Place): Command
  /** A backup of day 2 behind `full` that is told what has changed; where there is none, `incremental` counts. */
  delta?(place: Place): Command
}

const script = new URL('ours.ts', import.meta.url).pathname

export const ours: Tool = {
  name: 'strongroom',
  version: { argv: [process.execPath, '--version'] },
  init: ({ repository }) => ({ argv: [process.execPath, script, 'init', repository] }),
  step: (step, { day1, day2, repository, restored }) => {
    const argv = {
      full: ['backup', repository, day1],
      incremental: ['backup', repository, day2],
      check: ['check', repository],
      restore: ['restore', repository, restored],
    }[step]
    return { argv: [process.execPath, script, ...argv] }
  },
  delta: ({ day2, repository, changes }) => ({
    argv: [process.execPath, script, 'backup', repository, day2, changes],
  }),
}

/** Format 2, its own compression, all data read by check. Version 0.14 knows no sparse restore. */
export const restic: Tool = {
  name: 'restic',
  version: { argv: ['restic', 'version'] },
  init: place => ofRestic(place, ['init']),
  step: (step, place) =>
    ({
      full: ofRestic(place, ['backup', '.'], place.day1),
      incremental: ofRestic(place, ['backup', '.'], place.day2),
      check: ofRestic(place, ['check', '--read-data']),
      restore: ofRestic(place, ['restore', 'latest', '--target', place.restored]),
    })[step],
}

/** With encryption, and the compression that the others use. */
export const borg: Tool = {
  name: 'borg',
  version: { argv: ['borg', '--version'] },
  init: place => ofBorg(place, ['init', '--encryption', 'repokey-blake2', place.repository]),
  step: (step, place) =>
    ({
      full: ofBorg(
        place,
        ['create', '--compression', 'zstd,3', `${place.repository}::day1`, '.'],
        place.day1,
      ),
      incremental: ofBorg(
        place,
        ['create', '--compression', 'zstd,3', `${place.repository}::day2`, '.'],
        place.day2,
      ),
      check: ofBorg(place, ['check', '--verify-data', place.repository]),
      restore: ofBorg(place, ['extract', '--sparse', `${place.repository}::day2`], place.restored),
    })[step],
}

function ofRestic({ repository, home }: Place, args: readonly string[], directory?: string): Command {
  return {
    argv: ['restic', '--quiet', '--repo', repository, ...args],
    environment: { RESTIC_PASSWORD: 'benchmark', RESTIC_CACHE_DIR: home },
    ...(directory === undefined ? {} : { directory }),
  }
}

function ofBorg({ home }: Place, args: readonly string[], directory?: string): Command {
  return {
    argv: ['borg', ...args],
    environment: { BORG_PASSPHRASE: 'benchmark', BORG_BASE_DIR: home },
    ...(directory === undefined ? {} : { directory }),
  }
}
