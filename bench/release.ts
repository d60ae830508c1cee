import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { systemClock, systemEntropy } from '../src/base/environment.ts'
import { silentLog } from '../src/base/log.ts'
import { dom0, parseDigest, parseJobId, parseProfileName, parseVmName } from '../src/base/names.ts'
import { Secret } from '../src/base/secret.ts'
import { generateEd25519, signEd25519 } from '../src/crypto/signing.ts'
import { listenSocket } from '../src/host/local/socket.ts'
import { dom0Transport } from '../src/host/local/transport.ts'
import { Approvals } from '../src/hsm/approvals.ts'
import { newEpoch } from '../src/hsm/commands.ts'
import { softHsmModule } from '../src/hsm/modules.ts'
import type { ReleaseRequest } from '../src/hsm/passphrase-service.ts'
import { newRecoveryKey } from '../src/hsm/recovery.ts'
import { Releaser } from '../src/hsm/releaser.ts'
import { RemoteHsm } from '../src/hsm/remote.ts'
import { serveHsm } from '../src/hsm/serve.ts'
import { HsmStore } from '../src/hsm/store.ts'
import { TokenProcess } from '../src/hsm/token-process.ts'
import { Ledger } from '../src/ledger/log.ts'
import { verifierKey } from '../src/ledger/note.ts'
import type { Configuration } from '../src/profiles/config.ts'
import { createServer } from '../src/qrexec/server.ts'
import { AttestationVerifier } from '../src/sealing/verifier.ts'
import { report } from './report.ts'
import { parseCount } from './size.ts'
import { readOptions } from './usage.ts'

const help = `Releases of a passphrase by the HSM VM, with a token of SoftHSM: dom0 records the request in its ledger, shows it over a Unix
socket, and is given the passphrase and a cosignature; both sides write durably.

  npm run bench -- release [OPTIONS]

  --count 500    one after another, and as many again
  --at-once 8    of these at a time

One JSON object a line: what, value, unit.
`

const { count, atOnce } = readOptions(
  help,
  { count: { type: 'string', default: '500' }, 'at-once': { type: 'string', default: '8' } },
  values => ({
    count: parseCount(values.count, 'count'),
    atOnce: parseCount(values['at-once'], 'at-once'),
  }),
)

const signal = new AbortController().signal
const profile = parseProfileName('nightly')
const hsmVm = parseVmName('vault')
const names = { origin: 'strongroom.example/dom0', witness: 'strongroom.example/hsm' }
const configuration = parseDigest('c'.repeat(64))
const pinText = '123456'

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'strongroom-bench-release-'))
try {
  await measure()
} finally {
  fs.rmSync(directory, { recursive: true })
}

async function measure(): Promise<void> {
  using token = await softToken()
  const { wrapping: _, witness } = await token.publicKeys(signal)
  await using store = await HsmStore.open(path.join(directory, 'hsm'))
  const recovery = newRecoveryKey(systemEntropy)
  recovery.identity.dispose()
  const ports = { envelopes: store.envelopes, token, entropy: systemEntropy }
  const { epoch, digest } = await newEpoch(ports, profile, [recovery.recipient.text], signal)
  using dom0Key = generateEd25519(systemEntropy)
  const witnessKey = witness ?? new Uint8Array(32)
  const ledger = await Ledger.create(path.join(directory, 'ledger'), {
    origin: names.origin,
    clock: systemClock,
    signer: {
      publicKey: dom0Key.publicKey,
      sign: async message => signEd25519(dom0Key.privateKey, message),
    },
    witnesses: [verifierKey(names.witness, 'cosignature/v1', witnessKey)],
  })
  const value: Configuration = {
    profiles: new Map(),
    bindings: new Map([
      [
        profile,
        {
          epoch,
          envelope: digest,
          stockPassphrase: false,
          purposes: ['backup'],
          releasesPerDay: null,
          approve: 'never',
          pinAgain: 'never',
          hours: null,
          attestation: 'none',
          earlier: [],
        },
      ],
    ]),
    policies: new Map(),
    roles: {
      hsm: [hsmVm],
      management: [parseVmName('mgmt')],
      storage: [parseVmName('sink')],
      keys: { dom0: dom0Key.publicKey, hsm: witnessKey, management: null },
    },
  }
  const handlers = serveHsm(
    new Releaser({
      clock: systemClock,
      entropy: systemEntropy,
      log: silentLog,
      store,
      token,
      configuration: async () => ({ value, version: 1, digest: configuration }),
      ledger: names,
      approvals: new Approvals(systemClock),
      machine: await AttestationVerifier.open({
        directory: path.join(directory, 'hsm'),
        clock: systemClock,
        entropy: systemEntropy,
        roots: [],
      }),
    }),
  )
  const socket = path.join(directory, 'services.sock')
  const calls = createServer(handlers, { log: silentLog })
  const listener = await listenSocket(socket, stream => calls.accept(stream))
  const remote = new RemoteHsm({
    transport: dom0Transport(() => socket),
    hsmVm,
    attestor: null,
    clock: systemClock,
    ledger: {
      get witnessSize() {
        return ledger.witnessed[0]?.checkpoint.size ?? 0
      },
      async head(from) {
        const { size } = ledger
        return { checkpoint: ledger.checkpoint(), size, consistency: await ledger.consistency(from, size) }
      },
      inclusion: (index, size) => ledger.inclusion(index, size),
      async cosigned(line, size) {
        await ledger.addCosignature(line, size)
      },
    },
  })
  const times: number[] = []
  const release = async (index: number) => {
    const begin = performance.now()
    const request = requestOf(index, epoch)
    const { index: entry } = await ledger.append([request])
    using passphrase = await remote.release(request, entry, signal)
    if (passphrase.byteLength !== 43) throw new Error('another passphrase than was made')
    times.push(performance.now() - begin)
  }
  for (let index = 0; index < 20; index++) await release(index)
  times.length = 0
  const begin = performance.now()
  for (let index = 0; index < count; index++) await release(20 + index)
  const seconds = (performance.now() - begin) / 1000
  times.sort((a, b) => a - b)
  report('release, median', times[Math.floor(count / 2)] ?? 0, 'ms')
  report('release, 99 of 100', times[Math.floor(count * 0.99)] ?? 0, 'ms')
  report('releases', count / seconds, '1/s')
  const beginAtOnce = performance.now()
  let next = 0
  const releaseSome = async () => {
    while (next < count) await release(20 + count + next++)
  }
  await Promise.all(Array.from({ length: atOnce }, releaseSome))
  report(`releases, ${atOnce} at once`, count / ((performance.now() - beginAtOnce) / 1000), '1/s')
  await listener.close()
}

function requestOf(index: number, epoch: number): ReleaseRequest {
  const time = new Date()
  return {
    type: 'release-request',
    time,
    job: parseJobId(`20261124T031500Z-${index.toString(16).padStart(8, '0')}`),
    profile,
    purpose: 'backup',
    initiator: dom0,
    configuration,
    epoch,
    expires: new Date(time.getTime() + 600_000),
    nonce: parseDigest(index.toString(16).padStart(64, '0')),
  }
}

async function softToken(): Promise<TokenProcess> {
  const tokens = path.join(directory, 'tokens')
  fs.mkdirSync(tokens, { mode: 0o700 })
  const template = fs.readFileSync(
    path.join(import.meta.dirname, '../softhsm-config/softhsm2.conf.in'),
    'utf8',
  )
  const file = path.join(directory, 'softhsm2.conf')
  fs.writeFileSync(file, template.replaceAll('@TOKENS@', tokens))
  const pin = () => Secret.take(Buffer.from(pinText))
  const token = new TokenProcess({
    modulePath: softHsmModule(),
    label: 'bench',
    pin: { fetch: async () => pin(), isAttended: false, refused() {} },
    environment: { SOFTHSM2_CONF: file },
  })
  using officer = pin()
  using user = pin()
  await token.initialise(officer, user, signal)
  await token.generateKeys(signal)
  return token
}
