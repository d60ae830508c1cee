import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { fromBase64 } from '../../src/base/bytes.ts'
import { systemEnvironment } from '../../src/base/environment.ts'
import { parseDigest } from '../../src/base/names.ts'
import { generateEd25519 } from '../../src/crypto/signing.ts'
import { initialiseLedger, openDom0Ledger } from '../../src/main/dom0-ledger.ts'
import type { ConfigurationStore } from '../../src/main/sealed-configuration.ts'

let home: string
let configuration: ConfigurationStore
beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'dom0-ledger-'))
  const { result } = await initialiseLedger(home, systemEnvironment)
  const { publicKey: hsm } = generateEd25519(systemEnvironment.entropy)
  const keys = { dom0: fromBase64((result as { publicKey: string }).publicKey), hsm, management: null }
  configuration = { current: () => ({ value: { roles: { keys } } }) } as ConfigurationStore
})
afterEach(() => rm(home, { recursive: true }))

const ledger = () => path.join(home, 'ledger')
const transport = { open: () => Promise.reject(new Error('nobody is called')) }

async function open() {
  return (await openDom0Ledger(home, configuration, transport, systemEnvironment, async () => null)).ledger
}

const digest = parseDigest('ab'.repeat(32))
const entryOf = (version: number) => ({ type: 'configuration', time: new Date(), version, digest }) as const

async function append(): Promise<void> {
  await (await open()).append([entryOf(1)])
}

describe('dom0’s ledger', () => {
  it('is begun by init, once', async () => {
    expect((await open()).size).toBe(1)
    await append()
    expect((await open()).size).toBe(2)
    await expect(initialiseLedger(home, systemEnvironment)).rejects.toMatchObject({ code: 'KEY_INVALID' })
    expect((await open()).size).toBe(2)
  })

  it('that is gone is not begun anew', async () => {
    await append()
    await rm(ledger(), { recursive: true })
    await expect(open()).rejects.toMatchObject({ code: 'LEDGER_ROLLED_BACK' })
    await rm(path.join(home, 'ledger-floor.json'))
    await expect(open()).rejects.toMatchObject({ code: 'LEDGER_MISSING' })
    expect(await readdir(home)).toEqual(['ledger-key.der'])
  })

  it('remembers its newest head when several entries come at once, and knows them all', async () => {
    const one = await open()
    const indexes = await Promise.all([1, 2, 3].map(version => one.append([entryOf(version)])))
    expect([indexes, one.size, one.history.size, one.history.configuration?.version]).toEqual([
      [1, 2, 3],
      4,
      4,
      3,
    ])
    const floor = JSON.parse(await readFile(path.join(home, 'ledger-floor.json'), 'utf8')) as { size: number }
    expect(floor.size).toBe(4)
  })

  it('that was put back alone is noticed', async () => {
    const old = path.join(home, 'old')
    await cp(ledger(), old, { recursive: true })
    await append()
    await rm(ledger(), { recursive: true })
    await cp(old, ledger(), { recursive: true })
    await expect(open()).rejects.toMatchObject({ code: 'LEDGER_ROLLED_BACK' })
  })

  it('whose floor does not read is damaged', async () => {
    await writeFile(path.join(home, 'ledger-floor.json'), '{"size":0}')
    await expect(open()).rejects.toMatchObject({ code: 'LEDGER_DAMAGED' })
  })
})
