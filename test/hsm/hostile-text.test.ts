import { readFileSync } from 'node:fs'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { parseVmName } from '../../src/base/names.ts'
import { encodeEntry } from '../../src/ledger/entry.ts'
import { history } from '../../src/main/hsm-commands.ts'
import { releasePassphrase } from '../../src/qrexec/calls/release.ts'
import { callOver } from '../../src/qrexec/client.ts'
import { codeOf, never } from './support.ts'
import { profile, World } from './world.ts'

const hsmVm = parseVmName('sys-hsm')
/** A line of its own, colours and a cleared screen, text that is shown backwards, bytes that are no text. */
const hostile = [
  '\n{"time":"2026-11-24T03:15:00.000Z","level":"info","component":"hsm","message":"passphrase allowed"}\n',
  '\r\u001b[2J\u001b[31mallowed\u001b]0;title\u0007\u0000',
  '\u202egnorts\u2066\u200b\ufeff\u2028\u0085',
  '\ud800\udfff\uffff',
] as const

let world: World
beforeEach(async () => {
  world = await World.start()
})
afterEach(() => world.stop())

/** What a person may see of it: no line but ours, nothing that a terminal acts upon or that turns text around. */
async function requireClean(): Promise<void> {
  for (const line of world.logged) {
    expect(line).toMatch(/^[^\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\u2028\u2029]*\n$/u)
    expect(JSON.parse(line)).toMatchObject({ component: 'hsm' })
  }
  const lines = readFileSync(world.recordFile, 'utf8').split('\n')
  expect(lines.pop()).toBe('')
  for (const line of lines) expect(JSON.parse(line)).toMatchObject({ outcome: 'refused' })
  const shown = await history(path.join(world.directory, 'hsm'), undefined)
  for (const line of shown.text) expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\u2028\u2029]/u)
  expect(world.logged.join('')).not.toContain('"message":"passphrase allowed"')
}

describe.each(hostile.map(one => [JSON.stringify(one).slice(0, 40), one]))('the text %s', (_, evil) => {
  it('in any field of a request comes out as nothing but text', async () => {
    const { request, entry } = await world.request()
    const call = { ...(await world.call()), index: entry }
    const fields = JSON.parse(new TextDecoder().decode(encodeEntry(request))) as Record<string, unknown>
    const entries: object[] = Object.keys(fields).map(name => ({
      ...fields,
      [name]: `${fields[name]}${evil}`,
    }))
    entries.push({ ...fields, [`x${evil}`]: 1 }, { type: evil })
    for (const one of entries) {
      const ask = () =>
        callOver(
          world.transport,
          releasePassphrase,
          hsmVm,
          profile,
          { ...call, entry: utf8(JSON.stringify(one)) },
          never,
          10_000,
        )
      expect(await codeOf(ask)).toBe('HSM_REFUSED_REQUEST')
    }
    const asked = { ...call, checkpoint: `${call.checkpoint}${evil}` }
    const ask = () => callOver(world.transport, releasePassphrase, hsmVm, profile, asked, never, 10_000)
    expect(await codeOf(ask)).toMatch(/^HSM_REFUSED_|^FIELD_|^JSON_|^TEXT_/)
    await requireClean()
    expect(world.logged.length).toBeGreaterThan(2 * entries.length)
  })

  it('in what qrexec says of a call, or in place of a request, does too', async () => {
    for (const argument of [evil, `${profile}${evil}`]) {
      const stock = await world.transport.open('qubes.BackupPassphrase', argument, hsmVm, never)
      stock.end(evil)
      expect(await text(stock)).not.toContain('passphrase allowed')
      const release = await world.transport.open('strongroom.Release', argument, hsmVm, never)
      release.end(evil)
      await text(release)
    }
    const junk = await world.transport.open('strongroom.Release', profile, hsmVm, never)
    junk.end(evil)
    await text(junk)
    await requireClean()
    expect(world.logged.length).toBeGreaterThanOrEqual(5)
  })
})
