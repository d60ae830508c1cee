import { describe, expect, it } from 'vitest'
import { parseProfileName } from '../../src/base/names.ts'
import { explainBinding } from '../../src/hsm/explain.ts'
import { parseBinding } from '../../src/profiles/binding.ts'

const nightly = parseProfileName('nightly')

function explained(changes: object): string {
  const binding = {
    epoch: 1,
    envelope: 'e'.repeat(64),
    stock_passphrase: false,
    purposes: ['backup', 'check', 'restore', 'prune'],
    releases_per_day: null,
    ...changes,
  }
  return explainBinding(nightly, parseBinding(Buffer.from(JSON.stringify(binding)))).join('\n')
}

describe('the rules in words', () => {
  it('without any', () => {
    expect(explained({})).toBe(`nightly, epoch 1
  released for backup, check and prune at any time
  released for restore at any time
  as often as it is ordered
  nobody is asked
  to dom0 as it is: it proves nothing about itself
  not to stock qvm-backup`)
  })

  it('with all', () => {
    const hours = { from: '22:00', to: '06:30', time_zone: 'Europe/Berlin' }
    const all = {
      purposes: ['backup'],
      hours,
      releases_per_day: 1,
      approve: 'restore',
      attestation: 'hardware',
      stock_passphrase: true,
    }
    expect(explained(all)).toBe(`nightly, epoch 1
  released for backup from 22:00 to 06:30 (Europe/Berlin)
  at most once in any 24 hours
  asks you for a restore, and for nothing else
  only to a dom0 whose TPM, proven to be hardware, says that it uses the sealed store
  also to stock qvm-backup and qvm-backup-restore, which leave no entry in the ledger`)
  })

  it.each([
    ['restore', 'restore', 'asks you for a restore, and for the PIN again; for nothing else'],
    ['always', 'restore', 'asks you each time, and for a restore for the PIN again'],
    ['always', 'always', 'asks you each time, and for the PIN again'],
  ])('of approve %s with pin_again %s', (approve, pin_again, words) => {
    expect(explained({ approve, pin_again })).toContain(`\n  ${words}\n`)
  })

  it('of the epochs before, which are for reading', () => {
    const earlier = [{ epoch: 1, envelope: 'a'.repeat(64) }]
    expect(explained({ epoch: 2, earlier_epochs: earlier })).toContain(
      'nightly, epoch 2\n  for what is in epoch 1 too, but no backups\n',
    )
    expect(() => explained({ earlier_epochs: earlier })).toThrow('not before')
    expect(() => explained({ epoch: 2, earlier_epochs: [...earlier, ...earlier] })).toThrow('names one twice')
  })

  it('of a profile that is retired', () => {
    expect(explained({ purposes: [] })).toContain('released for nothing')
  })

  it.each([
    [{ from: '22:00', to: '25:00' }],
    [{ from: '22:00', to: '24:30' }],
    [{ from: '22:00', to: '22:00' }],
    [{ from: '9:00', to: '17:00' }],
    [{ from: '09:00', to: '17:00', time_zone: '+01:00' }],
    [{ from: '09:00' }],
  ])('hours that mean nothing are refused: %j', hours => {
    expect(() => explained({ hours })).toThrow(/hours|time of the day|time zone/)
  })
})
