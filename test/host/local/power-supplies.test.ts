import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { powerSupplies } from '../../../src/host/local/power-supplies.ts'

const made: string[] = []
afterEach(async () => {
  for (const directory of made.splice(0)) await rm(directory, { recursive: true })
})

/** As the kernel has it: a directory a supply, a file an attribute. */
async function supplies(...found: readonly Readonly<Record<string, string>>[]): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), 'power-'))
  made.push(directory)
  for (const [index, attributes] of found.entries()) {
    await mkdir(path.join(directory, String(index)))
    for (const [name, text] of Object.entries(attributes))
      await writeFile(path.join(directory, String(index), name), `${text}\n`)
  }
  return directory
}

const mains = (online: string) => ({ type: 'Mains', online })
const battery = (status: string) => ({ type: 'Battery', scope: 'System', status, online: '' })

it.each([
  ['a notebook that is plugged in', [mains('1'), battery('Charging')], 'mains'],
  ['one that is full', [mains('1'), battery('Full')], 'mains'],
  ['one whose supply is too weak', [mains('1'), battery('Discharging')], 'mains'],
  ['one that is not plugged in', [mains('0'), battery('Discharging')], 'battery'],
  [
    'one at the second of two supplies',
    [mains('0'), { type: 'USB', online: '1' }, battery('Discharging')],
    'mains',
  ],
  ['one with batteries only', [battery('Full'), battery('Discharging')], 'battery'],
  ['a desktop with a port that could supply it', [{ type: 'USB', online: '0' }], 'mains'],
  ['a desktop with a keyboard', [{ type: 'Battery', scope: 'Device', status: 'Discharging' }], 'mains'],
  ['a server', [], 'mains'],
  ['a supply that says nothing', [{}, { type: '' }], 'mains'],
] as const)('%s', async (_, found, expected) => {
  expect(await powerSupplies(await supplies(...found)).now()).toBe(expected)
})

it('a machine without the directory runs on mains', async () => {
  expect(await powerSupplies('/nowhere/power_supply').now()).toBe('mains')
})

it('changes with the machine', async () => {
  const directory = await supplies(mains('1'), battery('Charging'))
  const power = powerSupplies(directory)
  expect(await power.now()).toBe('mains')
  await writeFile(path.join(directory, '0/online'), '0\n')
  await writeFile(path.join(directory, '1/status'), 'Discharging\n')
  expect(await power.now()).toBe('battery')
})
