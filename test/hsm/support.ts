import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { type Clock, type Entropy, systemClock } from '../../src/base/environment.ts'
import { Secret } from '../../src/base/secret.ts'
import { TokenProcess, type TokenProcessOptions } from '../../src/hsm/token-process.ts'
import { compiled } from '../support/compiled.ts'

export { codeOf } from '../support/code-of.ts'

const root = path.join(import.meta.dirname, '../..')
const modules = ['/usr/lib/softhsm/libsofthsm2.so', '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so']
export const softHsm = modules.find(existsSync) ?? 'SoftHSM is not installed'
export const label = 'strongroom-test'
export const pin = '123456'
export const officerPin = '87654321'
export const never = new AbortController().signal

export function secret(text: string): Secret {
  return Secret.take(utf8(text))
}

export function textOf(one: Secret): string {
  return one.expose(bytes => Buffer.from(bytes).toString('latin1'))
}

/** Different bytes at each call, the same in every run. */
export function countingEntropy(seed = 1): Entropy {
  let next = seed
  const step = () => {
    next = (next * 1103515245 + 12345) % 2147483648
    return next >>> 16
  }
  return { bytes: length => Uint8Array.from({ length }, step) }
}

export function clockAt(time: Date | (() => Date)): Clock {
  return { ...systemClock, now: () => new Date(typeof time === 'function' ? time() : time) }
}

/** A SoftHSM of its own in a temporary directory, from the template that ships. */
export class TestHsm {
  readonly directory = mkdtempSync(path.join(tmpdir(), 'strongroom-hsm-'))
  readonly tokens = path.join(this.directory, 'tokens')
  readonly #open: TokenProcess[] = []
  /** What the PIN source answers. */
  pin = pin
  pinsAsked = 0

  constructor() {
    mkdirSync(this.tokens, { mode: 0o700 })
    const template = readFileSync(path.join(root, 'softhsm-config/softhsm2.conf.in'), 'utf8')
    writeFileSync(this.configuration, template.replaceAll('@TOKENS@', this.tokens))
  }

  get configuration(): string {
    return path.join(this.directory, 'softhsm2.conf')
  }

  token(options: Partial<TokenProcessOptions> = {}): TokenProcess {
    const { environment, ...rest } = options
    const token = new TokenProcess({
      modulePath: softHsm,
      label,
      pin: {
        fetch: async () => {
          this.pinsAsked += 1
          return secret(this.pin)
        },
        isAttended: false,
        refused() {},
      },
      environment: { ...compiled, SOFTHSM2_CONF: this.configuration, ...environment },
      ...rest,
    })
    this.#open.push(token)
    return token
  }

  /** A token with both keys, always the same within a test file: making them takes longer than most tests. */
  async prepared(options: Partial<TokenProcessOptions> = {}): Promise<TokenProcess> {
    preparedTokens ??= makeTokens()
    const { tokens } = await preparedTokens
    cpSync(tokens, this.tokens, { recursive: true })
    return this.token(options)
  }

  /** Somebody else's tool, at the same token. */
  pkcs11Tool(...words: readonly string[]): void {
    execFileSync(
      'pkcs11-tool',
      ['--module', softHsm, '--token-label', label, '--login', '--pin', this.pin, ...words],
      {
        env: { ...process.env, SOFTHSM2_CONF: this.configuration },
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    )
  }

  remove(): void {
    for (const token of this.#open) token[Symbol.dispose]()
    rmSync(this.directory, { recursive: true, force: true })
  }
}

let preparedTokens: Promise<TestHsm> | undefined
afterAll(async () => (await preparedTokens)?.remove())

async function makeTokens(): Promise<TestHsm> {
  const hsm = new TestHsm()
  const token = hsm.token()
  await token.initialise(secret(officerPin), secret(pin), never)
  await token.generateKeys(never)
  token[Symbol.dispose]()
  return hsm
}

/** SoftHSM with a fault on demand: compiled from `faulty-module.c`. */
export function buildFaultyModule(directory: string): string {
  const module = path.join(directory, 'faulty.so')
  const include = path.join(root, 'node_modules/pkcs11js/includes/pkcs11')
  const source = path.join(import.meta.dirname, 'faulty-module.c')
  const { status, stderr } = spawnSync(
    'gcc',
    ['-shared', '-fPIC', '-w', '-I', include, `-DSOFTHSM="${softHsm}"`, '-o', module, source, '-ldl'],
    { encoding: 'utf8' },
  )
  if (status !== 0) throw new Error(`gcc: ${stderr}`)
  return module
}
