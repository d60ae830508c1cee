import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { utf8 } from '../../src/base/bytes.ts'
import type { Clock, Entropy } from '../../src/base/environment.ts'
import type { Digest } from '../../src/base/names.ts'
import { sha256Hex } from '../../src/crypto/digest.ts'
import { generateEd25519, signEd25519 } from '../../src/crypto/signing.ts'
import { type Envelope, encodeEnvelope, parseEnvelope, preAuthEncoding } from '../../src/sealing/envelope.ts'
import { type PublicKey, publicKey } from '../../src/sealing/keys.ts'
import type { RootPin } from '../../src/sealing/pin.ts'
import { planSeal } from '../../src/sealing/plan.ts'
import { signProposal } from '../../src/sealing/proposal.ts'
import type { Root, RootRole } from '../../src/sealing/root.ts'
import { type RootContent, signFirstRoot } from '../../src/sealing/root-candidate.ts'
import { proposalOf, requireSigners, sealedUpdate } from '../../src/sealing/sign.ts'
import type { SealSigner } from '../../src/sealing/signer.ts'
import { standardRoles } from '../../src/sealing/standard-roles.ts'
import type { StoreFiles } from '../../src/sealing/store-files.ts'

export const signal = new AbortController().signal
export const now = new Date('2026-11-24T03:15:00Z')
export const expires = new Date('2027-11-24T00:00:00Z')
export const clock: Clock = { now: () => now, monotonic: () => 0, sleep: async () => {} }

/** The same bytes for the same seed, on every machine. */
export function seeded(seed: string): Entropy {
  let counter = 0
  return {
    bytes: length =>
      new Uint8Array(
        createHash('shake256', { outputLength: length }).update(`${seed}/${counter++}`).digest(),
      ),
  }
}

export interface TestSigner extends SealSigner {
  readonly publicKey: PublicKey
}

export function signer(seed: string): TestSigner {
  const { privateKey, publicKey: raw } = generateEd25519(seeded(seed))
  const key = publicKey('ed25519', raw)
  return { keyId: key.id, publicKey: key, sign: async encoding => signEd25519(privateKey, encoding) }
}

/** One key a role, except two of three for `root` and for `hsm`. */
export const signers = {
  root: [signer('root-1'), signer('root-2'), signer('root-3')],
  snapshot: [signer('snapshot')],
  profiles: [signer('profiles')],
  policy: [signer('policy')],
  hsm: [signer('hsm-1'), signer('hsm-2'), signer('hsm-3')],
  schedules: [signer('schedules')],
  machine: [signer('machine')],
} as const
export const everySigner: readonly TestSigner[] = Object.values(signers).flat()

export function rootContent(overrides: Partial<Root> = {}): RootContent {
  const roles = new Map<string, RootRole>()
  for (const [name, held] of Object.entries(signers)) {
    const paths = (standardRoles as Record<string, readonly string[]>)[name] ?? []
    roles.set(name, { keys: held.map(one => one.publicKey.id), threshold: held.length > 1 ? 2 : 1, paths })
  }
  const keys = new Map(everySigner.map(one => [one.publicKey.id, one.publicKey]))
  return { custody: 'split', expires, keys, roles, ...overrides }
}

export async function firstRoot(): Promise<{ root: Uint8Array; pin: RootPin }> {
  const { bytes, digest } = await signFirstRoot(rootContent(), everySigner, signal)
  return { root: bytes, pin: { version: 1, digest } }
}

export const emptyStore = (root: Uint8Array): StoreFiles => ({
  roots: new Map([[1, root]]),
  snapshot: null,
  roles: new Map(),
})

export const firstFiles = new Map([
  ['profiles/work.conf', utf8('include:\n- work\npassphrase_vm: vault\n')],
  ['policy/strongroom.policy', utf8('strongroom.Backup * mgmt dom0 allow\n')],
  ['hsm/work.json', utf8('{"epoch":1}\n')],
  ['roles.json', utf8('{"hsm":["vault"]}\n')],
])
export const secondFiles = new Map([
  ...firstFiles,
  ['profiles/work.conf', utf8('include:\n- work\n- mail\npassphrase_vm: vault\n')] as const,
])

export interface NextOptions {
  readonly nextRoot?: RootContent
  readonly renew?: boolean
  readonly expires?: Date
  readonly with?: readonly SealSigner[]
}

export async function next(
  installed: StoreFiles,
  pin: RootPin,
  files: ReadonlyMap<string, Uint8Array>,
  options: NextOptions = {},
) {
  const plan = planSeal({
    installed,
    nextRoot: options.nextRoot ?? null,
    pin,
    files,
    expires: options.expires ?? expires,
    renew: options.renew === true ? 'all' : [],
    now,
  })
  const proposal = proposalOf(plan)
  const signers = options.with ?? everySigner
  requireSigners(proposal, signers)
  const signed = await signProposal(proposal, signers, signal)
  return sealedUpdate(signed.proposal, now)
}

/** Two versions of one store. */
export async function twoVersions() {
  const { root, pin } = await firstRoot()
  const first = await next(emptyStore(root), pin, firstFiles)
  const second = await next(first.files, pin, secondFiles)
  return { pin, first, second }
}

/** Signs whatever text it is given, as a defective or a hostile holder of keys would. */
export async function signText(
  payloadType: string,
  text: string,
  by: readonly TestSigner[],
): Promise<Uint8Array> {
  const payload = utf8(text)
  const signatures: Envelope['signatures'][number][] = []
  for (const one of by)
    signatures.push({
      keyId: one.publicKey.id,
      signature: await one.sign(preAuthEncoding(payloadType, payload), signal),
    })
  return encodeEnvelope({ payloadType, payload, signatures })
}

export async function temporaryDirectory(): Promise<AsyncDisposable & { at(name: string): string }> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'strongroom-seal-'))
  return {
    at: name => path.join(directory, name),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  }
}

/** What the store calls the digest of a file. */
export function payloadDigest(envelope: Uint8Array): Digest {
  return sha256Hex(parseEnvelope(envelope, 'file').payload)
}
