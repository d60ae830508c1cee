import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { type Decision, evaluate } from '../../src/qrexec/policy.ts'
import { type Policy, parsePolicy } from '../../src/qrexec/policy-files.ts'
import { type DomainInfo, nameOf, type SystemInfo } from '../../src/qrexec/policy-system.ts'

interface RecordedDomain {
  tags: string[]
  type: string
  default_dispvm: string | null
  template_for_dispvms: boolean
  power_state: string
  uuid: string
}
interface Answer {
  result: 'allow' | 'ask' | 'deny' | 'crash'
  invalid?: boolean
  why?: string
  target?: string
  targets?: string[]
  default_target?: string | null
  user?: string | null
  autostart?: boolean
  notify?: boolean
  wire?: string
  rule?: string
}
interface Recorded {
  files: Record<string, string>
  cases: { request: { service: string; arg: string; source: string; target: string }; answer: Answer }[]
}

const path = new URL('../vectors/qrexec-policy/stock-4.4.2.jsonl', import.meta.url)
const [first = '{}', ...rest] = readFileSync(path, 'utf8').trim().split('\n')
const recorded = rest.map(line => JSON.parse(line) as Recorded)
const system = systemOf(JSON.parse(first).system.domains)

function systemOf(domains: Record<string, RecordedDomain>): SystemInfo {
  const entries = Object.entries(domains).map(([name, domain]): [string, DomainInfo] => [
    name,
    {
      type: domain.type,
      tags: domain.tags,
      running: domain.power_state === 'Running',
      templateForDispvms: domain.template_for_dispvms,
      defaultDispvm: domain.default_dispvm,
      uuid: domain.uuid,
    },
  ])
  return { domains: new Map(entries) }
}

function parsed(files: Record<string, string>): Policy | null {
  try {
    return parsePolicy(new Map(Object.entries(files)))
  } catch (error) {
    expect(error).toMatchObject({ code: 'POLICY_INVALID' })
    return null
  }
}

const place = (decision: Decision) =>
  decision.rule ? `${decision.rule.place.file}:${decision.rule.place.line}` : null

/** The part of the policy daemon's answer that follows from the decision alone. */
function wireTarget(decision: Decision): string | null {
  if (decision.result !== 'allow') return null
  const base = decision.target.replace(/^@dispvm:/, '')
  const name = nameOf(base, system)
  if (name === 'dom0') return 'dom0'
  return `${decision.target.slice(0, -base.length)}uuid:${name && system.domains.get(name)?.uuid}`
}

function recordedWireTarget(wire: string): string | undefined {
  const lines = new Map(wire.split('\n').map(line => line.split('=', 2) as [string, string]))
  return lines.get('target_uuid') ?? lines.get('target')
}

describe('policy, against the stock evaluator', () => {
  test('the recording is there', () => {
    expect(recorded.length).toBe(250)
    expect(recorded.flatMap(({ cases }) => cases).length).toBe(2000)
  })

  test.each(recorded.map(({ files, cases }, index) => ({ index, files, cases })))(
    'directory $index',
    ({ files, cases }) => {
      const policy = parsed(files)
      for (const { request, answer } of cases) {
        const context = JSON.stringify({ files, request, answer }, null, 1)
        // A faulty request is a syntax error to the stock evaluator, too; its place is then unknown.
        if (answer.invalid && !answer.why?.startsWith('<unknown>')) {
          expect(policy, context).toBeNull()
          continue
        }
        if (policy === null) throw new Error(`taken for invalid: ${context}`)
        const { service, arg, source, target } = request
        const decision = evaluate(policy, { service, argument: arg.slice(1), source, target }, system)
        const result = answer.result === 'crash' ? 'deny' : answer.result
        expect(decision.result, context).toBe(result)
        if (decision.result === 'allow') {
          const { target, user, autostart, notify } = decision
          expect({ target, user, autostart, notify }, context).toEqual({
            target: answer.target,
            user: answer.user,
            autostart: answer.autostart,
            notify: answer.notify,
          })
          expect(place(decision), context).toBe(answer.rule)
          expect(wireTarget(decision), context).toBe(recordedWireTarget(answer.wire ?? ''))
        } else if (decision.result === 'ask') {
          const { targets, defaultTarget, user, autostart } = decision
          expect({ targets, defaultTarget, user, autostart }, context).toEqual({
            targets: answer.targets,
            defaultTarget: answer.default_target,
            user: answer.user,
            autostart: answer.autostart,
          })
          expect(place(decision), context).toBe(answer.rule)
        } else {
          if (answer.notify !== undefined) expect(decision.notify, context).toBe(answer.notify)
          const rule = answer.why?.match(/ (?:by policy|action at|@dispvm at) (\S+:\d+)/)?.[1]
          if (rule !== undefined) expect(place(decision), context).toBe(rule)
        }
      }
    },
  )
})
