import { readFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseJobId, parseSnapshotId } from '../../src/base/names.ts'
import { wholeSnapshot } from '../../src/base/restore-choice.ts'
import { EngineError } from '../../src/engine/errors.ts'
import type { Job } from '../../src/qrexec/calls/orders.ts'
import { QrexecError } from '../../src/qrexec/errors.ts'
import { finished, summary } from '../api/fake-dom0.ts'
import { eventually } from '../api/harness.ts'
import { runHere, type Stand, startCli, startStand } from './harness.ts'

let stand: Stand
beforeAll(async () => {
  stand = await startStand()
})
afterAll(() => stand[Symbol.asyncDispose]())

const lines = (text: string) =>
  text
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))

const reading = (bytesDone: number): Partial<Job> => ({
  state: 'running',
  started: new Date('2026-11-24T03:15:01Z'),
  progress: { phase: 'reading', bytesDone, bytesTotal: 3_000_000, bytesStored: 0 },
})

/** Runs `order … --wait` and gives the test the job while it is watched. */
async function watched(argv: readonly string[], script: (job: Job['id']) => Promise<void> | void) {
  const { dom0 } = stand.api
  const before = dom0.board.size
  const cli = stand.start(argv)
  await eventually(() => dom0.board.size > before && dom0.followers > 0)
  const id = [...dom0.board.keys()].at(-1)
  if (id === undefined) throw new Error('no job')
  await script(id)
  return { id, ...(await cli.ended) }
}

describe('order', () => {
  test('prints the job’s id and nothing else on stdout', async () => {
    const { code, stdout, stderr } = await stand.start(['order', 'work']).ended
    expect(code).toBe(0)
    expect(stdout).toMatch(/^20261124T031500Z-[0-9a-f]{8}\n$/)
    expect(stderr).toBe(`backup of work is waiting; follow it with: strongroom jobs ${stdout}`)
  })

  test('--key makes two orders one job', async () => {
    const one = await stand.run(['order', 'work', '--key', 'monday-morning'])
    const two = await stand.run(['order', 'work', '--key', 'monday-morning', '--quiet'])
    expect([one.code, two.code, two.stdout, two.stderr]).toEqual([0, 0, one.stdout, ''])
  })

  test('--wait follows the job: plain lines on stderr, one line of result', async () => {
    const { code, stdout, stderr, id } = await watched(['order', 'work', '--wait'], job => {
      for (const bytes of [0, 1_000, 1_500_000, 1_500_001]) stand.api.dom0.change(job, reading(bytes))
      stand.api.dom0.change(job, finished)
    })
    expect(code).toBe(0)
    expect(stdout).toBe(
      'backup of work done, snapshot cdcdcdcdcdcd, 2 volumes, 2.9 MiB read, 976.6 KiB stored, 0:42\n',
    )
    expect(stderr).toBe(
      [
        `job ${id}`,
        'backup work: queued',
        'backup work: reading volumes, 0 B of 2.9 MiB (0 %)',
        'backup work: reading volumes, 1.4 MiB of 2.9 MiB (50 %)',
        'backup work: ended, 2.9 MiB of 2.9 MiB (100 %)',
        '',
      ].join('\n'),
    )
  })

  test('--json --wait prints one object a line, the last of them the result', async () => {
    const { code, stdout, stderr, id } = await watched(['order', 'work', '--wait', '--json'], job => {
      stand.api.dom0.change(job, reading(1_000))
      stand.api.dom0.change(job, finished)
    })
    expect([code, stderr]).toEqual([0, ''])
    const objects = lines(stdout)
    expect(objects.map(({ v, type, job }) => [v, type, job.state])).toEqual([
      [1, 'event', 'waiting'],
      [1, 'event', 'running'],
      [1, 'event', 'done'],
      [1, 'job', 'done'],
    ])
    expect(objects.at(-1).job.id).toBe(id)
  })

  test('a job that failed gives its own error and exit code', async () => {
    const error = {
      code: 'REPOSITORY_PIN',
      kind: 'integrity',
      message: 'another key file',
      hint: 'look',
    } as const
    const { code, stdout, stderr } = await watched(
      ['check', 'work', '--read-data', '--wait'],
      job => void stand.api.dom0.change(job, { ...finished, state: 'failed', outcome: null, error }),
    )
    expect([code, stdout]).toEqual([4, ''])
    expect(stderr.endsWith('error: another key file [REPOSITORY_PIN]\nhint: look\n')).toBe(true)
  })

  test('an order that joins a job, and a cancellation that is still to come, say so', async () => {
    const { dom0 } = stand.api
    const argv = ['order', 'work', '--key', 'tuesday-morning']
    const id = (await stand.run(argv)).stdout.trim()
    dom0.change(parseJobId(id), reading(0))
    expect((await stand.run(argv)).stderr).toContain('backup of work is running already; follow it with')
    dom0.cancelsLater = true
    const { code, stdout, stderr } = await stand.run(['cancel', id])
    dom0.cancelsLater = false
    expect([code, stdout]).toEqual([0, `${id} running\n`])
    expect(stderr).toBe(`it ends as soon as it can; follow it with: strongroom jobs ${id}\n`)
  })

  test('a restore says where it has put the volumes, and what is one is not many', async () => {
    const outcome = {
      ...(finished.outcome as NonNullable<Job['outcome']>),
      bytesStored: undefined,
      volumes: 1,
    }
    const { id, stdout, stderr } = await watched(
      ['restore', 'work', '--wait'],
      job => void stand.api.dom0.change(job, { ...finished, outcome }),
    )
    expect(stdout).toContain(', 1 volume, ')
    expect(stderr).toContain(`what was restored is in dom0, in restored/${id} of its own directory\n`)
  })

  test('a job that another cancels ends the watching with 130', async () => {
    const { code, stderr } = await watched(['restore', 'work', '--wait'], async job => {
      const cancelled = await stand.run(['cancel', job])
      expect([cancelled.code, cancelled.stdout]).toEqual([0, `${job} cancelled\n`])
    })
    expect(code).toBe(130)
    expect(stderr).toContain('[CLI_JOB_CANCELLED]')
  })

  test('a prune says what it did, and a dry run what it would do', async () => {
    const prune = {
      dryRun: false,
      forgotten: 3,
      packsRemoved: 12,
      packsRewritten: 2,
      bytesFreed: 200_000_000,
    }
    const outcome = { ...(finished.outcome as NonNullable<Job['outcome']>), bytesStored: 1_000_000 }
    const ended = (dryRun: boolean): Partial<Job> => ({
      ...finished,
      outcome: {
        ...outcome,
        snapshot: undefined,
        bytes: undefined,
        volumes: undefined,
        snapshots: 9,
        prune: { ...prune, dryRun },
      },
    })
    const real = await watched(
      ['prune', 'work', '--wait'],
      job => void stand.api.dom0.change(job, ended(false)),
    )
    expect(real.stdout).toBe(
      'prune of work done, 3 snapshots forgotten, 9 stay, 12 packs removed, 2 of them rewritten, 190.7 MiB freed, 976.6 KiB stored, 0:42\n',
    )
    const dry = await watched(
      ['prune', 'work', '--dry-run', '--wait'],
      job => void stand.api.dom0.change(job, ended(true)),
    )
    expect(dry.stdout).toContain(
      'dry run, nothing was changed, 3 snapshots to forget, 9 stay, 12 packs to remove',
    )
    expect(
      stand.api.dom0.calls.filter(one => one.startsWith('prune')).map(one => one.split(' ').at(-1)),
    ).toEqual(['dryRun=false', 'dryRun=true'])
  })

  test('warnings of a finished job are told on stderr', async () => {
    const outcome = {
      ...(finished.outcome as NonNullable<Job['outcome']>),
      warnings: ['@tag:old matches nothing'],
    }
    const { code, stderr } = await watched(
      ['order', 'work', '--wait'],
      job => void stand.api.dom0.change(job, { ...finished, outcome }),
    )
    expect(code).toBe(0)
    expect(stderr.endsWith('warning: @tag:old matches nothing\n')).toBe(true)
  })

  test('Ctrl-C detaches: the job goes on, and the way to cancel it is told', async () => {
    const { dom0 } = stand.api
    const before = dom0.board.size
    const cli = stand.start(['order', 'work', '--wait'])
    await eventually(() => dom0.board.size > before && cli.said.stderr.includes('queued'))
    cli.child.kill('SIGINT')
    const { code, stdout, stderr } = await cli.ended
    const id = [...dom0.board.keys()].at(-1) ?? ''
    expect([code, stdout]).toEqual([130, ''])
    expect(stderr).toContain(`job ${id} goes on`)
    expect(stderr).toContain(`hint: cancel it with: strongroom cancel ${id}\n`)
    expect(dom0.board.get(parseJobId(id))?.state).toBe('waiting')
    await eventually(() => dom0.followers === 0)
  })

  test('a stream that is cut off is taken up again', async () => {
    const { code, stdout } = await watched(['order', 'work', '--wait', '--quiet'], async job => {
      const { dom0 } = stand.api
      const asked = () => dom0.calls.filter(call => call === 'events work').length
      const before = asked()
      dom0.endEvents()
      await eventually(() => asked() > before && dom0.followers > 0)
      dom0.change(job, finished)
    })
    expect(code).toBe(0)
    expect(stdout).toContain('backup of work done')
  })
})

describe('order --metered', () => {
  test('is in the order, and what it waits for is told in words', async () => {
    const { stdout, stderr } = await watched(['order', 'work', '--metered', '--wait'], async job => {
      const progress = { phase: 'metered', bytesDone: 0, bytesTotal: 0, bytesStored: 0 } as const
      stand.api.dom0.change(job, { progress })
      await eventually(() => stand.api.dom0.followers > 0)
      setTimeout(() => stand.api.dom0.change(job, finished), 300)
    })
    expect(stand.api.dom0.calls.some(call => call.endsWith(' metered=true'))).toBe(true)
    expect(stderr).toContain('backup work: waiting for a network that is not metered')
    expect(stdout).toContain('backup of work done')
  })
})

describe('order --limit-upload', () => {
  test('is in the order', async () => {
    const { code } = await stand.run(['order', 'work', '--limit-upload', '2M'])
    expect(code).toBe(0)
    expect(stand.api.dom0.calls.at(-1)).toMatch(/ uploadBytesPerSecond=2097152$/)
  })

  test('that is no rate, or too low, orders nothing', async () => {
    const before = stand.api.dom0.calls.length
    for (const rate of ['fast', '-1', '2m', '1K'])
      expect((await stand.run(['order', 'work', '--limit-upload', rate])).code, rate).toBe(2)
    expect(stand.api.dom0.calls.length).toBe(before)
  })
})

describe('check', () => {
  test.each([
    [[], 'check', ' read=structure'],
    [['--read-data'], 'check', ' read=all'],
    [['--read-data-subset', '5%'], 'check', ' read=5%'],
    [['--read-data-subset', '1/7'], 'check', ' read=1/7'],
    [['--read-data-cycle', '30d'], 'check', ' read=30d'],
    [['--scrub'], 'scrub', ''],
  ])('%j orders what it says', async (options, kind, rest) => {
    const { code } = await stand.run(['check', 'work', ...options])
    expect(code).toBe(0)
    expect(stand.api.dom0.calls.at(-1)).toMatch(new RegExp(`^${kind} work [0-9a-f]{32}${rest}$`))
  })

  test('of the storage’s own says whose word its result is', async () => {
    const outcome = { ...(finished.outcome as NonNullable<Job['outcome']>), snapshot: undefined, objects: 9 }
    const { stdout } = await watched(
      ['check', 'work', '--scrub', '--wait'],
      job => void stand.api.dom0.change(job, { ...finished, outcome }),
    )
    expect(stdout).toContain('scrub of work done, 2 volumes, 9 objects hashed by the storage')
  })
})

describe('restore of a part', () => {
  const reuse = '20261124T031500Z-1f2e3d4c'

  test.each([
    [['--vm', 'mail'], { vm: 'mail' }],
    [
      ['--vm', 'mail', '--volume', 'private', '--volume', 'root', '--reuse', reuse],
      { vm: 'mail', volumes: ['private', 'root'], reuse },
    ],
    [
      ['--vm', 'mail', '--volume', 'private', '--range', '1GiB+64MiB'],
      { vm: 'mail', volumes: ['private'], range: { offset: 1024 ** 3, length: 64 * 1024 ** 2 } },
    ],
  ])('%j orders what it says', async (options, choice) => {
    expect(await stand.run(['restore', 'work', ...options])).toMatchObject({ code: 0 })
    const said = { ...wholeSnapshot, ...choice }
    expect(stand.api.dom0.calls.at(-1)).toContain(` snapshot=newest choice=${JSON.stringify(said)}`)
  })

  test.each([
    [['--range', '1+1'], 'a range is of one volume'],
    [['--volume', 'private'], 'name it too'],
    [['--vm', 'mail', '--volume', 'private', '--range', 'all'], "not a range: 'all'"],
    [
      ['--vm', 'mail', '--volume', 'private', '--range', '1+1', '--reuse', reuse],
      'reuses no earlier restore',
    ],
  ])('%j is refused, and nothing is ordered', async (options, says) => {
    const before = stand.api.dom0.calls.length
    const { code, stderr } = await stand.run(['restore', 'work', ...options])
    expect(code).toBe(2)
    expect(stderr).toContain(says)
    expect(stand.api.dom0.calls).toHaveLength(before)
  })
})

describe('restore --snapshot', () => {
  const [one, two, three] = ['ab01', 'ab02', 'cd03'].map(end => parseSnapshotId(`6f3c09e1${end.repeat(14)}`))
  beforeAll(() => {
    stand.api.dom0.snapshotsOf = [one, two, three].map(snapshot => ({
      ...summary,
      snapshot: snapshot ?? summary.snapshot,
    }))
  })
  afterAll(() => {
    stand.api.dom0.snapshotsOf = []
  })
  const restore = (id: string) => stand.run(['restore', 'work', '--snapshot', id])

  test.each(['6f3c09e1c', '6f3c09e1cd03', three])('%s is the one that begins so', async id => {
    expect(await restore(id as string)).toMatchObject({ code: 0 })
    expect(stand.api.dom0.calls.at(-1)).toMatch(new RegExp(` snapshot=${three}$`))
  })

  test.each([
    [
      '6f3c09e1ab',
      2,
      `2 snapshots begin with 6f3c09e1ab: ${one?.slice(0, 18)}, ${two?.slice(0, 18)} [CLI_SNAPSHOT_AMBIGUOUS]`,
    ],
    ['6f3c09e2', 10, "no snapshot of 'work' begins with 6f3c09e2 [CLI_SNAPSHOT_UNKNOWN]"],
    ['ff'.repeat(32), 10, '[CLI_SNAPSHOT_UNKNOWN]'],
    [
      '6f3c09e',
      2,
      "'6f3c09e' is no id of a snapshot; expected 8 to 64 hex digits, in lower case [CLI_SNAPSHOT_ID]",
    ],
    ['latest', 2, '[CLI_SNAPSHOT_ID]'],
  ])('%s orders nothing, and the way to list them is told', async (id, code, message) => {
    const ordered = stand.api.dom0.board.size
    const run = await restore(id)
    expect([run.code, run.stdout, stand.api.dom0.board.size]).toEqual([code, '', ordered])
    expect(run.stderr).toContain(message)
    expect(run.stderr).toContain('\nhint: list them with: strongroom snapshots work\n')
  })

  test('of a profile that does not exist is told as such', async () => {
    stand.api.dom0.failure = new EngineError('PROFILE_NOT_FOUND', "there is no profile 'wrok'")
    try {
      const run = await stand.run(['restore', 'wrok', '--snapshot', '6f3c09e1'])
      expect([run.code, run.stderr]).toEqual([10, expect.stringContaining('[PROFILE_NOT_FOUND]')])
    } finally {
      stand.api.dom0.failure = null
    }
  })
})

describe('what is shown', () => {
  test('jobs as a table and as JSON, and one job to its end', async () => {
    const ordered = await stand.run(['order', 'work'])
    const id = parseJobId(ordered.stdout.trim())
    stand.api.dom0.change(id, finished)
    const text = await stand.run(['jobs', '--count', '1'])
    expect(text.stdout.split('\n')[0]).toMatch(/^JOB +PROFILE +KIND +STATE +ORDERED +RESULT$/)
    expect(text.stdout).toContain(
      `${id}  work     backup  done   2026-11-24 03:15:00Z  snapshot cdcdcdcdcdcd`,
    )
    const json = await stand.run(['jobs', '--json', '--count', '1', '--profile', 'work'])
    expect(lines(json.stdout)).toMatchObject([{ v: 1, type: 'jobs', stale: false, jobs: [{ id }] }])
    const one = await stand.run(['jobs', id])
    expect([one.code, one.stdout.startsWith('backup of work done')]).toEqual([0, true])
  })

  test('status, with and without alarms', async () => {
    const { code, stdout } = await stand.run(['status'])
    expect(code).toBe(0)
    expect(stdout).toMatch(/^1 alarm\n/)
    expect(stdout).toContain('dom0           answers\nconfiguration  version 3, abababababab\n')
    expect(stdout).toMatch(
      /PROFILE +LAST BACKUP +LAST SUCCESS +LAST CHECK +OLDEST UNREAD +NEXT RUN\nwork +done/,
    )
    expect(stdout).toMatch(/ 12 days +-\n$/)
    expect(stdout).toContain('another key file [REPOSITORY_PIN]')
    const json = lines((await stand.run(['status', '--json'])).stdout)
    expect(json).toMatchObject([
      { v: 1, type: 'status', alarms: [{ code: 'REPOSITORY_PIN', profile: 'work' }] },
    ])
  })

  test('snapshots', async () => {
    const { code, stdout } = await stand.run(['snapshots', 'work'])
    expect([code, stdout]).toEqual([0, 'SNAPSHOT  TIME  ENTRY  EPOCH  VOLUMES  BYTES  STORED  KEPT BY\n'])
    expect(lines((await stand.run(['snapshots', 'work', '--json'])).stdout)).toEqual([
      { v: 1, type: 'snapshots', profile: 'work', snapshots: [] },
    ])
  })

  test('snapshots say why a prune would keep them, and holds are set and ended', async () => {
    const [one, two] = [parseSnapshotId('ab'.repeat(32)), parseSnapshotId('cd'.repeat(32))]
    const heldUntil = new Date('2027-01-31T00:00:00Z')
    stand.api.dom0.snapshotsOf = [
      { ...summary, snapshot: one, keptBy: [], heldUntil: null },
      { ...summary, snapshot: two, keptBy: ['newest', 'held'], heldUntil },
    ]
    const { stdout } = await stand.run(['snapshots', 'work'])
    expect(stdout).toMatch(/^abab.* -\ncdcd.* newest, held until 2027-01-31\n$/m)

    const set = await stand.run(['hold', 'set', 'work', one, '2027-01-31'])
    expect([set.code, set.stdout]).toEqual([0, `${one} is held until 2027-01-31\n`])
    const end = await stand.run(['hold', 'end', 'work', two.slice(0, 8)])
    expect([end.code, end.stdout]).toEqual([0, `${two} is no longer held\n`])
    expect(stand.api.dom0.calls).toContain(`hold work ${one} 2027-01-31T00:00:00.000Z`)
    for (const date of ['2027-02-31', '2027-02-29', '2027-02-31x', 'soon', '2027-13-01', ''])
      expect((await stand.run(['hold', 'set', 'work', one, date])).code, date).toBe(2)
    stand.api.dom0.snapshotsOf = []
  })

  test('a schedule is set, shown and removed', async () => {
    const set = await stand.run([
      'schedule',
      'set',
      'work',
      'mon..fri 21:00',
      '--time-zone',
      'Europe/Berlin',
      '--no-catch-up',
    ])
    expect(set.code).toBe(0)
    expect(set.stdout).toBe(
      [
        'profile    work',
        'calendar   mon..fri 21:00 (Europe/Berlin)',
        'jitter     0 minutes',
        'catch up   no',
        'state      enabled',
        'next runs  2026-11-24 20:00:00Z',
        '           2026-11-25 20:00:00Z',
        '           2026-11-26 20:00:00Z',
        '           2026-11-27 20:00:00Z',
        '           2026-11-30 20:00:00Z',
        '',
      ].join('\n'),
    )
    expect((await stand.run(['schedule', 'show', 'work'])).stdout).toBe(set.stdout)
    expect((await stand.run(['schedule', 'show'])).stdout).toContain(
      'work     mon..fri 21:00  Europe/Berlin  enabled',
    )
    expect((await stand.run(['schedule', 'remove', 'work'])).stdout).toBe('the schedule of work is removed\n')
    const gone = await stand.run(['schedule', 'show', 'work', '--json'])
    expect(gone.code).toBe(10)
    expect(lines(gone.stderr)).toMatchObject([
      { v: 1, type: 'error', code: 'API_SCHEDULE_NOT_FOUND', exit: 10 },
    ])
  })
})

describe('what goes wrong', () => {
  test.each<[readonly string[], number, string]>([
    [['ordr', 'work'], 2, "error: unknown command 'ordr' (Did you mean order?) [CLI_USAGE]"],
    [['order', 'work', '--wiat'], 2, "error: unknown option '--wiat' (Did you mean --wait?) [CLI_USAGE]"],
    [['order'], 2, "error: missing required argument 'profile' [CLI_USAGE]"],
    [['order', 'work', 'home'], 2, 'error: too many arguments'],
    [['schedule', 'st', 'work', 'daily'], 2, "error: unknown command 'st'"],
    [['check', 'work', '--read-data', '--read-data-cycle', '30d'], 2, 'cannot be used with option'],
    [['check', 'work', '--scrub', '--read-data'], 2, 'cannot be used with option'],
    ...['8/7', '0%', 'all', '30d'].map((share): [readonly string[], number, string] => [
      ['check', 'work', '--read-data-subset', share],
      2,
      `error: --read-data-subset ${share}: expected a share like 5%, or 1/7 with at most 256 parts [CLI_USAGE]`,
    ]),
    ...['30', '5%', 'structure'].map((days): [readonly string[], number, string] => [
      ['check', 'work', '--read-data-cycle', days],
      2,
      `error: --read-data-cycle ${days}: expected days like 30d [CLI_USAGE]`,
    ]),
    [['jobs', '--count', '0'], 2, 'error: --count 0: expected 1 to 9999 [CLI_USAGE]'],
    [['order', 'work', '--limit-upload', '1K'], 2, 'at least 16.0 KiB a second [CLI_USAGE]\nhint: give e.g.'],
    ...[
      ['cancel', 'last'],
      ['jobs', 'last'],
      ['restore', 'work', '--reuse', 'last'],
    ].map((argv): [readonly string[], number, string] => [
      argv,
      2,
      "error: not a valid JobId: 'last'; expected e.g. 20261124T031500Z-1f2e3d4c [NAME_INVALID]",
    ]),
    ...['much', '20m', '-5', '1.5', '721'].map((jitter): [readonly string[], number, string] => [
      ['schedule', 'set', 'work', 'daily', `--jitter=${jitter}`],
      2,
      `error: --jitter is '${jitter}'; expected whole minutes from 0 to 720, without a unit [CLI_USAGE]`,
    ]),
    [['schedule', 'set', 'work', 'now and then'], 2, 'error: '],
    [['order', '../etc'], 2, 'error: body.profile must match pattern'],
    [
      ['order', 'holiday'],
      10,
      "error: there is no profile 'holiday' [PROFILE_NOT_FOUND]\nhint: seal a profile",
    ],
    [['jobs', '--profile', 'nope'], 10, "error: dom0 offers no profile 'nope' [API_PROFILE_NOT_FOUND]"],
    [['cancel', '20261124T031500Z-ffffffff'], 10, '[JOB_NOT_FOUND]'],
    [['--api', 'http://192.0.2.1:80', 'status'], 2, 'would show the token to the network [CLI_ADDRESS]'],
    [
      ['--api', 'unix:/nowhere/api.sock', 'status'],
      13,
      '(ENOENT) [CLI_UNREACHABLE]\nhint: is the management service',
    ],
    [['--api', 'http://127.0.0.1:1', 'status'], 13, '(ECONNREFUSED) [CLI_UNREACHABLE]'],
    [
      ['--token-file', '/nowhere/token', 'status'],
      2,
      'there is no token file /nowhere/token [CLI_TOKEN_FILE]',
    ],
    [['--token-file', '/proc/self/environ', 'status'], 2, '[CLI_TOKEN_FILE]'],
  ])('%j exits with %i', async (argv, code, message) => {
    const run = await stand.run(argv)
    expect([run.code, run.stdout]).toEqual([code, ''])
    expect(run.stderr).toContain(message)
    expect(run.stderr).toMatch(/\nhint: .+\n$/)
  })

  test.each([
    [new EngineError('ORDER_LIMIT', 'two orders a day'), 5, 'two orders a day'],
    [new EngineError('JOB_RUNNING', 'a check is running'), 11, 'a check is running'],
    [new QrexecError('QREXEC_UNREACHABLE', 'secret path'), 13, 'a VM, token or storage could not be reached'],
    [new QrexecError('QREXEC_TIMEOUT', 'secret path'), 15, 'no answer came in time'],
    [new TypeError('secret path'), 1, 'an unexpected error'],
  ])('an order that dom0 answers with %s exits with %i', async (failure, code, message) => {
    stand.api.dom0.failure = failure
    try {
      const run = await stand.run(['order', 'work'])
      expect([run.code, run.stdout]).toEqual([code, ''])
      expect(run.stderr).toContain(message)
      expect(run.stderr).not.toContain('secret')
    } finally {
      stand.api.dom0.failure = null
    }
  })

  test('a wrong token is refused, and is not printed', async () => {
    const wrong = `${stand.directory}/wrong`
    await writeFile(wrong, `${'77'.repeat(32)}\n`)
    const run = await stand.run(['status'], { STRONGROOM_TOKEN_FILE: wrong })
    expect([run.code, run.stdout]).toEqual([5, ''])
    expect(run.stderr).toContain('[API_UNAUTHORIZED]')
    expect(run.stderr).not.toContain('7777')
  })

  test('with --json an error of a real process is one object', async () => {
    const run = await stand.start(['order', 'holiday', '--json']).ended
    expect([run.code, run.stdout]).toEqual([10, ''])
    expect(lines(run.stderr)).toEqual([
      {
        v: 1,
        type: 'error',
        code: 'PROFILE_NOT_FOUND',
        kind: 'missing',
        message: "there is no profile 'holiday'",
        hint: 'seal a profile of that name, or correct the name',
        exit: 10,
      },
    ])
  })
})

describe('without an API', () => {
  test('--help of every command has examples and the global options', async () => {
    const top = await startCli(['--help'], {}).ended
    expect(top.code).toBe(0)
    expect(top.stdout).toContain('Exit codes:')
    for (const command of [
      'order',
      'status',
      'jobs',
      'cancel',
      'snapshots',
      'restore',
      'check',
      'prune',
      'hold',
      'schedule',
      'ledger',
    ]) {
      expect(top.stdout).toContain(`  ${command}`)
    }
    const help = await runHere(['schedule', 'set', '--help'])
    expect(help.stdout).toContain('Examples:\n  $ strongroom schedule set nightly daily\n')
    expect(help.stdout).toContain('--token-file <file>')
  })

  test.each(['bash', 'zsh', 'fish'])('%s completions know commands, roles and options', async shell => {
    const { code, stdout } = await runHere(['completions', shell])
    expect(code).toBe(0)
    for (const word of [
      'snapshots',
      'schedule',
      'read-data-subset',
      'scrub',
      'dry-run',
      'time-zone',
      'hsm',
      'new-epoch',
      'custody',
    ])
      expect(stdout).toContain(word)
  })

  test('--version prints the version of the product, and is the one way to ask for it', async () => {
    const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'))
    expect(await runHere(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' })
    expect((await runHere(['version'])).code).toBe(2)
  })

  test.each([[], ['schedule'], ['ledger']])(
    'a group without its command answers its help: %s',
    async (...words) => {
      const { stdout: help } = await runHere([...words, '--help'])
      expect(await runHere(words)).toEqual({ code: 2, stdout: '', stderr: help })
      const json = await runHere([...words, '--json'])
      expect([json.code, json.stdout]).toEqual([2, ''])
      expect(lines(json.stderr)).toMatchObject([{ code: 'CLI_USAGE', message: 'a command is needed' }])
    },
  )

  test('the examples name the profile of the quickstart', async () => {
    const helps = await Promise.all(
      ['order', 'jobs', 'snapshots', 'restore', 'check', 'schedule'].map(word => runHere([word, '--help'])),
    )
    for (const { stdout } of helps) {
      expect(stdout).toMatch(/\$ strongroom .*\bnightly\b/)
      expect(stdout).not.toMatch(/\$ strongroom .*\bwork\b/)
    }
  })

  test('an unknown shell is a usage error', async () => {
    const { code, stderr } = await runHere(['completions', 'csh'])
    expect(code).toBe(2)
    expect(stderr).toContain('bash, zsh, fish')
  })
})
