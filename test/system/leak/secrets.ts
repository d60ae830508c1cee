import { createHash, randomBytes } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { run } from '../../../scripts/quickstart/images.ts'
import { Secret } from '../../../src/base/secret.ts'
import { serviceVms } from '../../../src/main/local-home.ts'
import { openKeyFile } from '../../../src/repository/key-file.ts'
import type { LocalSystem } from '../system.ts'
import { bytesNeedles, type Needle, textNeedles } from './needles.ts'

const KiB = 1024
const everyBytes = 256 * KiB

/** Text, and bytes that no compressor shortens: what is compressed but not encrypted would show the latter as they are. */
export class Marker {
  readonly #text = `strongroom-leak-marker-${randomBytes(16).toString('hex')}`
  readonly #bytes = randomBytes(64)

  get needles(): readonly Needle[] {
    return [
      ...textNeedles('the plaintext marker', this.#text),
      { name: 'the plaintext marker', form: 'bytes', bytes: this.#bytes },
    ]
  }

  /** Writes a file of `sizeBytes` into the image, with both markers in every 256 KiB of it. */
  async plant(image: string, name: string, sizeBytes: number): Promise<void> {
    const file = path.join(path.dirname(image), '..', '..', name)
    const content = createHash('shake256', { outputLength: sizeBytes }).update(name).digest()
    for (let at = 0; at + everyBytes <= sizeBytes; at += everyBytes) {
      this.#bytes.copy(content, at + 1000)
      content.write(this.#text.repeat(8), at + 100 * KiB, 'latin1')
    }
    await writeFile(file, content)
    await run('debugfs', ['-w', '-f', '-', image], `write ${file} ${name}\nq\n`)
  }
}

/** The passphrase, as the recovery key gives it: no process of the system is asked. */
export async function recoverPassphrase(system: LocalSystem): Promise<string> {
  const { envelope, recoveryKey, home } = system.provisioned
  const { passphrase } = await system.command<{ passphrase: string }>(
    ...['hsm', 'recover', envelope, '--recovery-key', recoveryKey],
    ...['--settings', home.settings(serviceVms.hsm)],
  )
  return passphrase
}

/** The three keys inside the repository's key file. */
export async function masterKeyNeedles(system: LocalSystem, passphrase: string): Promise<readonly Needle[]> {
  const keys = path.join(system.provisioned.repository, 'keys')
  const [name = ''] = await readdir(keys)
  using secret = Secret.take(Buffer.from(passphrase, 'latin1'))
  using key = await openKeyFile(await readFile(path.join(keys, name)), secret)
  return key.expose(bytes => [
    ...bytesNeedles('the master key', bytes.slice(0, 32)),
    ...bytesNeedles('the MAC key', bytes.slice(32, 48)),
    ...bytesNeedles('the MAC key', bytes.slice(48, 64)),
  ])
}
