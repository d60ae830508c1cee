import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeVectorCase } from '../ledger/vector-case.ts'
import { maySkip } from '../support/may-skip.ts'

/** Go's own transparency log code reads what we write. Needs golang-go and golang-golang-x-mod-dev of Debian. */

const vectors = path.join(import.meta.dirname, '../vectors/ledger')
const missing = whyNoGo()
if (missing !== null) console.warn(`SKIPPED: the ledger was not verified by Go: ${missing}`)

function whyNoGo(): string | null {
  try {
    execFileSync('go', ['version'], { stdio: 'pipe' })
    readFileSync('/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog/tlog.go')
    return null
  } catch (error) {
    return error instanceof Error ? error.message : 'unknown'
  }
}

let directory: string
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'ledger-go-'))
})
afterAll(() => {
  rmSync(directory, { recursive: true })
})

function runGo(caseDirectory: string): string {
  return execFileSync('go', ['run', path.join(vectors, 'verify/main.go'), caseDirectory], {
    env: {
      PATH: '/usr/bin:/bin:/usr/local/go/bin',
      GO111MODULE: 'off',
      GOPATH: '/usr/share/gocode',
      GOCACHE: path.join(directory, 'cache'),
    },
    encoding: 'utf8',
    stdio: 'pipe',
  })
}

describe.skipIf(maySkip(missing !== null))('Go’s golang.org/x/mod/sumdb', () => {
  it('verifies the recorded ledger as it once did', () => {
    expect(runGo(vectors)).toBe(readFileSync(path.join(vectors, 'verified-by-go.txt'), 'utf8'))
  })

  it('verifies the ledger that is written today', async () => {
    await makeVectorCase(directory)
    expect(runGo(directory)).toBe(readFileSync(path.join(vectors, 'verified-by-go.txt'), 'utf8'))
  })

  it('refuses a ledger with one bit changed', () => {
    const broken = path.join(directory, 'broken')
    cpSync(vectors, broken, { recursive: true })
    const tile = path.join(broken, 'log/tile/0/000')
    const bytes = readFileSync(tile)
    bytes[77] = (bytes[77] ?? 0) ^ 1
    writeFileSync(tile, bytes)
    expect(() => runGo(broken)).toThrow()
  })
})
