import { expect, test } from 'vitest'
import type { JobView } from '../../src/api/schemas.ts'
import { bytesText, durationText } from '../../src/base/quantities.ts'
import { progressDisplay } from '../../src/cli/progress.ts'
import { table } from '../../src/cli/render.ts'
import { SteppedClock } from '../support/stepped-clock.ts'

const job = (phase: JobView['progress']['phase'], bytesDone = 0, bytesTotal = 0): JobView => ({
  id: '20261124T031500Z-1f2e3d4c',
  profile: 'work',
  kind: 'backup',
  state: 'running',
  initiator: 'sys-backup',
  key: 'monday-morning',
  ordered: '2026-11-24T03:15:00.000Z',
  started: null,
  ended: null,
  progress: { phase, bytesDone, bytesTotal, bytesStored: 0 },
  outcome: null,
  error: null,
})

function screen(isTerminal: boolean, columns: number) {
  const written: string[] = []
  return { written, output: { write: (text: string) => void written.push(text), isTerminal, columns } }
}

const GiB = 1024 ** 3

test('a terminal shows a bar with rate and remaining time, on one line that fits', async () => {
  const clock = new SteppedClock('2026-11-24T03:15:00Z')
  const { written, output } = screen(true, 118)
  const display = progressDisplay(output, clock)
  display.show(job('passphrase'))
  display.show(job('reading', 0, 4 * GiB))
  await clock.pass(10_000)
  display.show(job('reading', GiB, 4 * GiB))
  display.end()
  expect(written).toEqual([
    '\r\u001b[Kbackup work: passphrase',
    expect.stringContaining('0 %  0 B of 4.0 GiB  0 B/s  -:-- left'),
    `\r\u001b[Kbackup work: reading volumes  [${'#'.repeat(7)}${'-'.repeat(23)}]  25 %  1.0 GiB of 4.0 GiB  102.4 MiB/s  0:30 left`,
    '\r\u001b[K',
  ])
  for (const columns of [40, 60, 80, 200]) {
    const narrow = screen(true, columns)
    progressDisplay(narrow.output, clock).show(job('reading', GiB, 4 * GiB))
    expect((narrow.written[0]?.length ?? 0) - '\r\u001b[K'.length).toBeLessThan(columns)
  }
})

test('a limit of what is sent is shown while it counts', () => {
  const limited = (phase: JobView['progress']['phase']) => {
    const { written, output } = screen(false, 80)
    const { progress, ...rest } = job(phase)
    const uploadBytesPerSecond = 2 * 1024 * 1024
    progressDisplay(output, new SteppedClock('2026-11-24T03:15:00Z')).show({
      ...rest,
      progress: { ...progress, uploadBytesPerSecond },
    })
    return written.join('')
  }
  expect(limited('reading')).toBe('backup work: reading volumes, sent at 2.0 MiB/s at most\n')
  expect(limited('passphrase')).toBe('backup work: passphrase\n')
})

test('the rate forgets what was long ago, so that a halt shows', async () => {
  const clock = new SteppedClock('2026-11-24T03:15:00Z')
  const { written, output } = screen(true, 120)
  const display = progressDisplay(output, clock)
  for (const bytes of [0, GiB, GiB, GiB, GiB]) {
    display.show(job('reading', bytes, 4 * GiB))
    await clock.pass(10_000)
  }
  expect(written.at(-1)).toContain('  0 B/s  -:-- left')
})

test('elsewhere a line at each phase and each tenth, without control characters', () => {
  const { written, output } = screen(false, 80)
  const display = progressDisplay(output, new SteppedClock('2026-11-24T03:15:00Z'))
  display.show(job('queued'))
  for (let done = 0; done <= 100; done++) display.show(job('reading', done, 100))
  display.show(job('finishing', 100, 100))
  display.end()
  expect(written).toHaveLength(13)
  expect(written[0]).toBe('backup work: queued\n')
  expect(written.join('')).not.toMatch(/[\r\u001b]/)
})

test.each([
  ['check', 'checking', 'checking packs'],
  ['restore', 'restoring', 'restoring volumes'],
  ['scrub', 'scrubbing', 'scrubbing objects'],
] as const)('a %s says what it counts the bytes of', (kind, phase, text) => {
  const { written, output } = screen(false, 80)
  const display = progressDisplay(output, new SteppedClock('2026-11-24T03:15:00Z'))
  display.show({ ...job(phase, GiB, 4 * GiB), kind })
  display.show({ ...job('ended', 4 * GiB, 4 * GiB), kind })
  expect(written).toEqual([
    `${kind} work: ${text}, 1.0 GiB of 4.0 GiB (25 %)\n`,
    `${kind} work: ended, 4.0 GiB of 4.0 GiB (100 %)\n`,
  ])
})

test('sizes, times and tables', () => {
  expect([0, 1023, 1024, 1.5 * 1024 ** 2, GiB, 2 * 1024 ** 4].map(bytesText)).toEqual([
    '0 B',
    '1023 B',
    '1.0 KiB',
    '1.5 MiB',
    '1.0 GiB',
    '2.0 TiB',
  ])
  expect([0, 42_000, 725_000, 11_220_000].map(durationText)).toEqual(['0:00', '0:42', '12:05', '3:07:00'])
  expect(
    table(
      ['A', 'B'],
      [
        ['long', 'x'],
        ['y\u001b[31m', ''],
      ],
    ),
  ).toBe('A       B\nlong    x\ny?[31m\n')
})
