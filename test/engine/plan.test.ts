import { describe, expect, it } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { parseProfileName, parseVmName } from '../../src/base/names.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { planBackup } from '../../src/engine/plan.ts'
import type { Vm } from '../../src/host/inventory.ts'
import { parseProfile } from '../../src/profiles/profile.ts'

const vm = (name: string, volumes: readonly string[] = ['private', 'root']): Vm => ({
  name: parseVmName(name),
  class: 'AppVM',
  tags: ['backup'],
  running: false,
  includeInBackups: true,
  volumes: volumes.map(volume => ({ name: volume, bytes: 100, usage: 10 })),
})

function plan(inventory: readonly Vm[], more = '', include = '["@tag:backup"]') {
  const text = `include: ${include}\ndestination_vm: store\ndestination_path: /b\npassphrase_vm: vault\n${more}`
  const services = ['store', 'vault'].map(name => ({ ...vm(name, []), tags: [] }))
  return planBackup(parseProfile(new Untrusted(utf8(text)), parseProfileName('nightly')), [
    ...inventory,
    ...services,
  ])
}

describe('a plan', () => {
  it('has every volume of every selected VM', () => {
    const { vms, bytes, warnings } = plan([vm('b'), vm('a')])
    expect(vms.map(one => one.vm)).toEqual(['a', 'b'])
    expect(vms[0]?.volumes.map(({ name }) => name)).toEqual(['private', 'root'])
    expect(bytes).toBe(400)
    expect(warnings).toEqual([])
  })

  it('has only the volumes that the profile names', () => {
    const { vms, bytes, warnings } = plan(
      [vm('a'), vm('b', ['root'])],
      'strongroom:\n  volumes: [ private ]\n',
    )
    expect(vms.map(one => one.vm)).toEqual(['a'])
    expect(bytes).toBe(100)
    expect(warnings).toEqual(['a selected VM has none of the volumes that the profile names'])
  })

  it('of nothing is refused', () => {
    expect(() => plan([vm('a', ['root'])], 'strongroom:\n  volumes: [ private ]\n')).toThrow(
      expect.objectContaining({ code: 'PLAN_EMPTY', kind: 'refused' }),
    )
    expect(() => plan([])).toThrow(expect.objectContaining({ code: 'PROFILE_SELECTION_EMPTY' }))
  })

  it('of more than a snapshot can hold is refused', () => {
    const many = Array.from({ length: 1001 }, (_, index) => vm(`vm${index}`))
    const limit = expect.objectContaining({ code: 'SNAPSHOT_LIMIT', kind: 'refused' })
    expect(() => plan(many)).toThrow(limit)
    expect(plan(many.slice(1)).vms).toHaveLength(1000)
    expect(() =>
      plan([
        vm(
          'a',
          Array.from({ length: 17 }, (_, index) => `v${index}`),
        ),
      ]),
    ).toThrow(limit)
  })

  it('has no more warnings than an outcome can carry', () => {
    const selectors = ['"@tag:backup"', ...Array.from({ length: 150 }, (_, index) => `"@tag:t${index}"`)]
    const { warnings } = plan([vm('a')], '', `[ ${selectors.join(', ')} ]`)
    expect(warnings).toHaveLength(100)
    expect(warnings.at(-1)).toBe('51 more warnings')
  })
})
