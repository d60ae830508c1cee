import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Clock } from '../../../src/base/environment.ts'
import { Untrusted } from '../../../src/base/untrusted.ts'
import { initCommand, type SealInitOptions } from '../../../src/sealing/ceremony/init.ts'
import { keyCommand } from '../../../src/sealing/ceremony/key.ts'
import { mergeCommand } from '../../../src/sealing/ceremony/merge.ts'
import { proposeCommand } from '../../../src/sealing/ceremony/propose.ts'
import { reviewCommand } from '../../../src/sealing/ceremony/review.ts'
import { signProposalCommand } from '../../../src/sealing/ceremony/sign.ts'
import type { PublicKey } from '../../../src/sealing/keys.ts'
import { readPublicKey } from '../../../src/sealing/public-key-file.ts'
import { FileSealedStore } from '../../../src/sealing/store.ts'
import { sealWorkspace, wholeFile } from '../../../src/sealing/workspace.ts'
import { clock, expires, seeded, signal, temporaryDirectory } from '../fixture.ts'

/* Several people, each with a machine of her own, who pass files to one another. */

const unasked = () => Promise.reject(new Error('asked for a passphrase'))
const validate = () => {}

export class Holder {
  readonly name: string
  readonly directory: string
  /** What she was shown before her last yes. */
  shown: readonly string[] = []
  answer = true
  clock: Clock = clock

  constructor(directory: string, name: string) {
    this.name = name
    this.directory = path.join(directory, name)
  }

  get workspace() {
    return sealWorkspace(this.directory)
  }

  /** The public key of a new key of hers. */
  async key(name = this.name): Promise<PublicKey> {
    const options = {
      directory: this.directory,
      name,
      protection: null,
      entropy: seeded(`${this.name}/${name}`),
    }
    return await readPublicKey((await keyCommand(options)).result.publicFile)
  }

  async init(changes: Partial<SealInitOptions>) {
    return await initCommand(
      {
        directory: this.directory,
        custody: 'split',
        expires,
        protection: null,
        entropy: seeded(`${this.name}/init`),
        ...changes,
      },
      signal,
    )
  }

  async draft(name: string, text: string): Promise<void> {
    const file = path.join(this.workspace.draft, name)
    await mkdir(path.dirname(file), { recursive: true })
    await writeFile(file, text)
  }

  async propose(changes: { renew?: boolean; expires?: Date } = {}) {
    return await proposeCommand({
      directory: this.directory,
      expires,
      renew: false,
      clock: this.clock,
      validate,
      ...changes,
    })
  }

  /** A copy of a file that another holder has. */
  async receives(file: string): Promise<string> {
    const own = path.join(this.directory, path.basename(file))
    await mkdir(this.directory, { recursive: true })
    await copyFile(file, own)
    return own
  }

  review(file: string) {
    return reviewCommand({ directory: this.directory, file, clock: this.clock, validate })
  }

  sign(file: string) {
    return signProposalCommand(
      {
        directory: this.directory,
        file,
        clock: this.clock,
        validate,
        passphrase: unasked,
        confirm: async text => {
          this.shown = text
          return this.answer
        },
      },
      signal,
    )
  }

  merge(file: string, ...others: readonly string[]) {
    return mergeCommand({ directory: this.directory, file, others, clock: this.clock })
  }

  /** Her own copy follows what another has sealed. */
  async follows(other: Holder, version: number): Promise<void> {
    const options = {
      store: this.workspace.store,
      pin: this.workspace.pin,
      floor: this.workspace.floor,
      parseConfiguration: (files: ReadonlyMap<string, Uint8Array>) => files,
      clock: this.clock,
    }
    const update = async (file: string) => new Untrusted(new Uint8Array(await readFile(file)))
    const present = await FileSealedStore.open(options).catch(() => null)
    if (present === null) await FileSealedStore.install(options, await update(wholeFile(other.workspace)))
    else await present.admit(await update(path.join(other.workspace.updates, `${version}.update`)))
  }
}

export async function people<const Name extends string>(...names: readonly Name[]) {
  const directory = await temporaryDirectory()
  const holders = Object.fromEntries(names.map(name => [name, new Holder(directory.at(''), name)]))
  return { holders: holders as Record<Name, Holder>, directory }
}
