import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { MiB } from '../../../src/base/bytes.ts'
import { systemClock } from '../../../src/base/environment.ts'
import { limitResources } from '../../../src/host/local/resource-limits.ts'

const settings = {
  'memory.max': 'memory',
  'memory.limit_in_bytes': 'memory',
  'pids.max': 'tasks',
  'cpu.max': 'cores',
  'cpu.cfs_quota_us': 'cores',
} as const

function groups(): readonly string[] {
  return ['', 'memory', 'pids', 'cpu']
    .map(name => path.join('/sys/fs/cgroup', name))
    .filter(directory => existsSync(directory))
    .flatMap(directory => readdirSync(directory).map(name => path.join(directory, name)))
    .filter(group => path.basename(group).startsWith(`strongroom-${process.pid}.`))
}

it('bounds what may be bound here, and nothing is left of it', async () => {
  const limits = { memoryBytesMax: 64 * MiB, tasksMax: 7, coresMax: 1 }
  const resources = await limitResources('limits-test', limits, systemClock)
  const found: Record<string, string> = {}
  for (const group of groups())
    for (const [file, name] of Object.entries(settings))
      if (existsSync(path.join(group, file)))
        found[name] = readFileSync(path.join(group, file), 'latin1').trim().replace(' ', ' of ')
  const [program = '', ...words] = [
    ...resources.wrapper,
    '/bin/cat',
    '/proc/self/cgroup',
    '/proc/self/limits',
  ]
  const said = execFileSync(program, words, { encoding: 'latin1' })
  if (groups().length > 0) {
    expect(found.memory).toBe(String(64 * MiB))
    expect(found.tasks ?? '7').toBe('7')
    expect(found.cores ?? '100000').toMatch(/^100000( of 100000)?$/)
    expect(said).toContain(`/strongroom-${process.pid}.`)
  } else expect(said).toMatch(new RegExp(`^Max data size +${64 * MiB} `, 'm'))
  await resources.remove()
  expect(groups()).toEqual([])
})
