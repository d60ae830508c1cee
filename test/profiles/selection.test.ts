import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { select } from '../../src/profiles/selection.ts'
import { errorOf, profileOf, profileText, vm } from './make.ts'

const vms = [
  vm('work', { tags: ['backup'] }),
  vm('dom0', { class: 'AdminVM' }),
  vm('debian-12', { class: 'TemplateVM' }),
  vm('untrusted', { includeInBackups: false }),
  vm('mail', { tags: ['backup', 'net'] }),
  vm('Zulu', { class: 'StandaloneVM' }),
  vm('sys-store', { includeInBackups: false, class: 'RemoteVM' }),
  vm('vault', { includeInBackups: false, class: 'RemoteVM' }),
]
const choose = (include: string, exclude = '[]') => {
  const { selected, warnings } = select(profileOf(profileText({ include, exclude })), vms)
  return { names: selected.map(({ name }) => name as string), warnings }
}

describe('selectors', () => {
  test.each([
    ['[ work ]', '[]', ['work']],
    ['[ "@tag:backup" ]', '[]', ['mail', 'work']],
    ['[ "$tag:backup" ]', '[]', ['mail', 'work']],
    ['[ "@type:TemplateVM", untrusted ]', '[]', ['debian-12', 'untrusted']],
    ['[ work, work, "@tag:backup" ]', '[]', ['mail', 'work']],
    ['[ "@tag:backup" ]', '[ mail ]', ['work']],
    ['[ "@type:AppVM" ]', '[ "@tag:backup" ]', ['untrusted']],
    ['null', '[ dom0 ]', ['Zulu', 'debian-12', 'mail', 'work']],
  ])('include %s exclude %s', (include, exclude, names) => {
    expect(choose(include, exclude)).toEqual({ names, warnings: [] })
  })
})

describe('what stock qubesd passes over in silence', () => {
  test('a selector that matches nothing is a warning', () => {
    expect(choose('[ work, "@tag:bakcup" ]', '[ gone ]')).toEqual({
      names: ['work'],
      warnings: ["include: '@tag:bakcup' (line 1) matches no VM", "exclude: 'gone' (line 5) matches no VM"],
    })
  })

  test.each([
    ['include', '\n  - work\n  - wrok', 'line 3, column 5', 'wrok'],
    ['include', '[ work, wrok ]', 'line 1, column 18', 'wrok'],
    ['destination_vm', 'sys-stor', 'line 2, column 17', 'sys-stor'],
    ['passphrase_vm', 'vualt', 'line 4, column 16', 'vualt'],
  ])('a name in %s that is no VM is an error with its place: %s', (key, value, place, name) => {
    expect(select(profileOf(profileText()), vms).selected).toHaveLength(1)
    const error = errorOf(() => select(profileOf(profileText({ [key]: value })), vms))
    expect(error.code).toBe('PROFILE_VM_UNKNOWN')
    expect(error.message).toBe(`${place}: profile 'nightly': ${key}: there is no VM '${name}'`)
  })

  test('nothing left is an error', () => {
    expect(errorOf(() => choose('[ work ]', '[ "@tag:backup" ]')).code).toBe('PROFILE_SELECTION_EMPTY')
    expect(errorOf(() => choose('[ "@tag:none" ]')).code).toBe('PROFILE_SELECTION_EMPTY')
    expect(errorOf(() => choose('[ dom0 ]')).code).toBe('PROFILE_SELECTION_EMPTY')
  })

  test('dom0 has no volumes to back up, which is said', () => {
    const { names, warnings } = choose('null')
    expect(names).not.toContain('dom0')
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toContain('dom0')
  })
})

test('the selection does not depend on the order of the inventory', () => {
  const profile = profileOf(profileText({ include: '[ "@type:AppVM", Zulu ]', exclude: '[ "@tag:net" ]' }))
  fc.assert(
    fc.property(fc.shuffledSubarray(vms, { minLength: vms.length }), shuffled => {
      expect(select(profile, shuffled)).toEqual(select(profile, vms))
    }),
    { numRuns: 50 },
  )
})
