import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CodedError } from '../../src/base/errors.ts'
import { evaluate, explain } from '../../src/qrexec/policy.ts'
import { denyAll, parsePolicy } from '../../src/qrexec/policy-files.ts'
import { parseRule, renderRule } from '../../src/qrexec/policy-rules.ts'
import type { DomainInfo, SystemInfo } from '../../src/qrexec/policy-system.ts'

const domain: DomainInfo = {
  type: 'AppVM',
  tags: [],
  running: true,
  templateForDispvms: false,
  defaultDispvm: null,
}
const system: SystemInfo = {
  domains: new Map<string, DomainInfo>([
    ['dom0', { ...domain, type: 'AdminVM' }],
    ['mgmt', { ...domain, tags: ['mgmt'] }],
    ['work', domain],
    ['hidden', { ...domain, internal: true }],
  ]),
}

const policyOf = (files: Record<string, string>) => parsePolicy(new Map(Object.entries(files)))
const one = (text: string) => policyOf({ '30-user.policy': text })
const order = { source: 'mgmt', target: '@adminvm', service: 'admin.backup.Execute', argument: 'nightly' }
const resultOf = (policy: ReturnType<typeof one>, change: Partial<typeof order> = {}) =>
  evaluate(policy, { ...order, ...change }, system).result

describe('a policy directory', () => {
  test('with the rule that an ordering VM needs allows just that', () => {
    const policy = one('# orders\n\nadmin.backup.Execute  +nightly\tmgmt @adminvm allow target=dom0\r\n')
    expect(evaluate(policy, order, system)).toMatchObject({
      result: 'allow',
      target: 'dom0',
      rule: { place: { file: '30-user.policy', line: 3 } },
    })
    expect(resultOf(policy, { argument: 'weekly' })).toBe('deny')
    expect(resultOf(policy, { source: 'work' })).toBe('deny')
    expect(resultOf(policy, { service: 'admin.backup.Info' })).toBe('deny')
    expect(resultOf(policy, { target: 'work' })).toBe('deny')
  })

  test('is read in the order of file names; the first rule that matches decides', () => {
    const files = { '30-b.policy': '* * mgmt @adminvm allow', '30-a.policy': '* * mgmt @adminvm deny' }
    expect(resultOf(policyOf(files))).toBe('deny')
    expect(resultOf(policyOf({ ...files, '2-c.policy': '* * mgmt @adminvm allow' }))).toBe('allow')
    expect(
      resultOf(policyOf({ '30-b.policy': '', README: '* * * * allow', '.x.policy': '* * * * allow' })),
    ).toBe('deny')
  })

  test('that comes earlier hides the file of the same name in a later one', () => {
    const run = new Map([['30-user.policy', '* * mgmt @adminvm deny']])
    const etc = new Map([['30-user.policy', '* * mgmt @adminvm allow']])
    expect(resultOf(parsePolicy(run, etc))).toBe('deny')
    expect(resultOf(parsePolicy(new Map(), etc))).toBe('allow')
  })

  test('brings in files, directories and files in the old format', () => {
    const files = {
      '30-user.policy':
        '!include include/first\n!include-dir more\n!include-service test.Old * include/old\n!include /etc/qubes/policy.d/include/first',
      'include/first': 'test.First * mgmt work allow',
      'more/10-x.policy': 'test.More * mgmt work allow',
      'more/README': 'no rule',
      'include/old': '$include:include/older\nmgmt $anyvm deny\n',
      'include/older': 'mgmt $adminvm allow,target=work,user=x\n',
    }
    const policy = policyOf(files)
    expect(policy.rules.map(rule => rule.place.file)).toEqual([
      'include/first',
      'more/10-x.policy',
      'include/older',
      'include/old',
      'include/first',
    ])
    expect(evaluate(policy, { ...order, service: 'test.Old' }, system)).toMatchObject({
      result: 'allow',
      target: 'work',
      user: 'x',
    })
  })

  test.each([
    ['too few fields', '* * mgmt @adminvm'],
    ['an inline comment', '* * mgmt @adminvm allow # why'],
    ['an unknown action', '* * mgmt @adminvm permit'],
    ['an action in capitals', '* * mgmt @adminvm ALLOW'],
    ['an unknown option', '* * mgmt @adminvm allow colour=red'],
    ['an option of another action', '* * mgmt @adminvm deny target=dom0'],
    ['a repeated option', '* * mgmt @adminvm allow user=a user=b'],
    ['options with commas', '* * mgmt @adminvm allow autostart=no,notify=yes'],
    ['an option that is neither yes nor no', '* * mgmt @adminvm allow notify=maybe'],
    ['an argument without +', 'a.B nightly mgmt @adminvm allow'],
    ['a service with +', 'a.B+x * mgmt @adminvm allow'],
    ['an argument for all services', '* +x mgmt @adminvm allow'],
    ['an unknown token', '* * mgmt @everything allow'],
    ['a token in a wrong column', '* * @default work allow'],
    ['an empty tag', '* * @tag: work allow'],
    ['allow for @default without target', '* * mgmt @default allow'],
    ['an unknown directive', '!exclude x'],
    ['an include that is not there', '!include include/none'],
    ['an include from outside', '!include ../other'],
    ['an include by a foreign absolute path', '!include /etc/passwd'],
    ['an include of nothing', '!include'],
    ['a directory that is not there', '!include-dir none'],
    ['an include of itself', '!include 30-user.policy'],
    ['files outside the directory', '!compat-4.0'],
    ['an invisible character', '* * mgmt @adminvm\u00a0allow'],
  ])('is invalid as a whole because of %s', (_, line) => {
    const files = { '10-good.policy': '* * mgmt @adminvm allow', '30-user.policy': `# one\n${line}\n` }
    expect(() => policyOf(files)).toThrow(
      expect.objectContaining({
        code: 'POLICY_INVALID',
        kind: 'refused',
        message: expect.stringMatching(/^30-user\.policy:2: /),
      }),
    )
  })

  test('is invalid because of a file name in capitals', () => {
    expect(() => policyOf({ '10-A.policy': '' })).toThrow(expect.objectContaining({ code: 'POLICY_INVALID' }))
  })

  test('damaged anywhere gives a policy or a typed error', () => {
    const text = readFileSync(new URL('../vectors/qrexec-policy/stock-4.4.2.jsonl', import.meta.url), 'utf8')
    const directories = text
      .split('\n')
      .slice(1, 60)
      .map(line => Object.entries(JSON.parse(line).files as Record<string, string>))
    const damage = fc.tuple(fc.nat(), fc.nat(), fc.string({ maxLength: 3, unit: 'binary' }))
    fc.assert(
      fc.property(fc.constantFrom(...directories), damage, (files, [which, at, insert]) => {
        const damaged = files.map(([name, body], index): [string, string] => {
          const place = at % (body.length + 1)
          return [
            name,
            index === which % files.length ? body.slice(0, place) + insert + body.slice(place + 1) : body,
          ]
        })
        try {
          parsePolicy(new Map(damaged))
        } catch (error) {
          expect(error).toBeInstanceOf(CodedError)
        }
      }),
      { numRuns: 150 },
    )
  })
})

describe('evaluation', () => {
  test('denies everything without a policy', () => {
    expect(evaluate(denyAll, order, system)).toMatchObject({ result: 'deny', rule: null })
  })

  test('denies targets that are none, whatever the rules', () => {
    const policy = one('* * * * allow')
    for (const target of ['@tag:x', '*', '@anyvm', '@dispvm:work', '@', '@type:AppVM'])
      expect(resultOf(policy, { target })).toBe('deny')
    expect(resultOf(policy, { target: 'mgmt' })).toBe('deny')
  })

  test('never offers internal VMs to a person', () => {
    expect(evaluate(one('* * mgmt @anyvm ask'), { ...order, target: 'work' }, system)).toMatchObject({
      result: 'ask',
      targets: ['work'],
    })
  })

  test('explains itself by the rules', () => {
    const policy = one(
      'test.Other * mgmt * deny\nadmin.backup.Execute +weekly work @adminvm allow\n* * @tag:mgmt @adminvm allow\n',
    )
    expect(explain(policy, order, system)).toEqual([
      '30-user.policy:2: admin.backup.Execute +weekly work @adminvm allow -- other argument, source',
      '30-user.policy:3: * * @tag:mgmt @adminvm allow -- decides',
      'allowed to dom0',
    ])
    expect(explain(policy, { ...order, source: 'work' }, system).at(-1)).toBe('denied: no rule matches')
  })
})

describe('a rule', () => {
  test('is rendered so that it reads back the same', () => {
    const name = fc.string({ unit: fc.constantFrom(...'abcXYZ019._-'), minLength: 1, maxLength: 8 })
    const prefixed = (...prefixes: string[]) =>
      fc.tuple(fc.constantFrom(...prefixes), name).map(both => both.join(''))
    const source = fc.oneof(
      fc.constantFrom('*', '@anyvm', '@adminvm'),
      prefixed('', '@tag:', '@type:', '@dispvm:'),
    )
    const target = fc.oneof(source, fc.constantFrom('@dispvm'))
    const redirect = prefixed('target=', 'target=@dispvm:')
    const options = fc.subarray(['user=x', 'notify=yes', 'autostart=no'])
    const action = fc.oneof(
      fc
        .tuple(fc.constantFrom('allow', 'ask'), fc.option(redirect), options)
        .map(([kind, redirect, options]) => [kind, ...(redirect === null ? [] : [redirect]), ...options]),
      fc.constantFrom(['deny'], ['deny', 'notify=no']),
    )
    const service = fc.oneof(
      fc.constant(['*', '*']),
      name.chain(one => prefixed('+').map(two => [one, two])),
    )
    const place = { file: 'x', line: 1 }
    fc.assert(
      fc.property(service, source, target, action, (service, source, target, action) => {
        const words = [...service, source, target, ...action]
        const rule = parseRule(words, place)
        expect(renderRule(rule)).toBe(words.join(' '))
        expect(parseRule(renderRule(rule).split(' '), place)).toEqual(rule)
      }),
    )
  })
})
