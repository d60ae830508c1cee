import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { command } from '../../../scripts/quickstart/provision.ts'
import { strongroom } from '../strongroom.ts'
import { must, type Scenario } from './scenario.ts'

const policy = 'policy/30-user.policy'

/** Three superadmins and a user, each with a directory of her own, and only files that they pass to one another. */
export const ceremony2of3: Scenario = {
  summary: 'three superadmins seal, lose a key, replace it, and no single one of them can change anything',
  async run(say) {
    const all = await mkdtemp(path.join(tmpdir(), 'ceremony-'))
    try {
      await ceremony(new People(all), say)
    } finally {
      await rm(all, { recursive: true, force: true })
    }
  },
}

async function ceremony(people: People, say: (text: string) => void): Promise<void> {
  for (const name of ['alice', 'bob', 'carol', 'user']) await people.key(name)
  say('four keys, made by four people; their public halves go to Alice')
  const root = ['alice', 'bob', 'carol'].flatMap(name => ['--holder', `root=${people.publicKey(name)}`])
  const user = ['--holder', `policy=${people.publicKey('user')}`]
  await people.seal('alice', 'init', '--custody', 'split', '--no-passphrase', ...root, ...user)
  await people.draft('alice', 'roles.json', await people.rolesOf('alice', 'bob', 'carol'))
  await people.draft('alice', policy, 'strongroom.Order * mgmt @adminvm allow\n')
  const first = await people.propose('alice')

  await people.sign('bob', first)
  say('Bob signs: he is shown a root that is new to him')
  must((await people.merge('alice', first, 'bob')).update === null, 'one of three was enough for the root')
  say('one of three is not enough')
  await people.sign('alice', first)
  await people.sign('user', first)
  must(
    (await people.merge('alice', first, 'bob', 'user')).update !== null,
    'two of three and the user were not enough',
  )
  for (const name of ['bob', 'carol', 'user']) await people.follow(name)
  say('two of three and the user: version 1 is sealed, and everybody has it')

  await people.draft('alice', policy, 'strongroom.Order * mgmt @adminvm deny\n')
  const theirs = await people.propose('alice')
  await people.sign('alice', theirs)
  must((await people.merge('alice', theirs)).update === null, 'Alice changed what is the user’s')
  await people.sign('user', theirs)
  must(
    (await people.merge('alice', theirs, 'user')).update !== null,
    'the user could not change what is hers',
  )
  for (const name of ['bob', 'carol', 'user']) await people.follow(name)
  say('the user’s policy is changed by the user, and by nobody without her')

  const lost = (await people.keyId('carol')).slice(0, 16)
  await people.key('dave')
  const rotation = await people.seal<{ file: string }>(
    'alice',
    'revoke',
    lost,
    '--replace',
    people.publicKey('dave'),
  )
  await people.sign('alice', rotation.file)
  must((await people.merge('alice', rotation.file)).update === null, 'one holder replaced another alone')
  await people.sign('bob', rotation.file)
  must(
    (await people.merge('alice', rotation.file, 'bob')).update !== null,
    'two holders could not replace a lost key',
  )
  for (const name of ['bob', 'carol', 'user', 'dave']) await people.follow(name)
  say('Carol has lost her key: Alice and Bob put Dave in her place')

  const next = await people.seal<{ file: string }>('alice', 'rotate-root', '--expires', '2035-01-01')
  await people.sign('alice', next.file)
  const refused = await people.trySign('carol', next.file)
  must(refused === 'SEAL_NOTHING_TO_SIGN', `Carol’s old key was answered ${refused}`)
  await people.sign('dave', next.file)
  must((await people.merge('alice', next.file, 'dave')).update !== null, 'Dave does not count')
  say('Dave’s key counts from now on, and Carol’s does not')

  const stale = await people.trySign('bob', first)
  must(stale.startsWith('SEAL_'), `an old proposal was answered ${stale}`)
  say(`the first proposal, shown again: ${stale}`)
}

/** Their directories, below one; what one gives another is copied. */
class People {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  at(name: string, ...rest: readonly string[]): string {
    return path.join(this.#directory, name, ...rest)
  }

  publicKey(name: string): string {
    return this.at(name, 'keys', `${name}.pub`)
  }

  seal<T>(name: string, word: string, ...rest: readonly string[]): Promise<T> {
    return command<T>('seal', word, ...rest, '--dir', this.at(name))
  }

  async key(name: string): Promise<void> {
    await this.seal(name, 'key', name, '--no-passphrase')
  }

  async keyId(name: string): Promise<string> {
    const shown = await this.seal<{ roles: { role: string; keys: string[] }[] }>('alice', 'status')
    const root = shown.roles.find(({ role }) => role === 'root')
    return root?.keys[['alice', 'bob', 'carol'].indexOf(name)] ?? ''
  }

  async draft(name: string, file: string, text: string): Promise<void> {
    const place = this.at(name, 'draft', file)
    await mkdir(path.dirname(place), { recursive: true })
    await writeFile(place, text)
  }

  /** Of the machines that are sealed. Which keys these have does not matter here. */
  async rolesOf(dom0: string, hsm: string, management: string): Promise<string> {
    const raw = async (name: string) => {
      const pem = await readFile(this.publicKey(name), 'latin1')
      return Buffer.from(pem.replace(/-----.*-----/g, ''), 'base64')
        .subarray(-32)
        .toString('base64')
    }
    const keys = { dom0: await raw(dom0), hsm: await raw(hsm), management: await raw(management) }
    return JSON.stringify({ hsm: ['vault'], storage: ['sink'], management: ['mgmt'], keys })
  }

  async propose(name: string): Promise<string> {
    return (await this.seal<{ file: string }>(name, 'propose')).file
  }

  /** Alice signs the file itself, everybody else a copy that was brought. */
  async #bring(name: string, file: string): Promise<string> {
    if (file.startsWith(this.at(name))) return file
    const own = this.at(name, path.basename(file))
    await copyFile(file, own)
    return own
  }

  async sign(name: string, file: string): Promise<void> {
    await this.seal(name, 'sign', await this.#bring(name, file), '--yes')
  }

  /** The code of the error. */
  async trySign(name: string, file: string): Promise<string> {
    const own = await this.#bring(name, file)
    const ended = await strongroom(['seal', 'sign', own, '--yes', '--json', '--dir', this.at(name)])
    return ended.code === 0 ? 'signed' : String((JSON.parse(ended.stderr) as { code: string }).code)
  }

  merge(name: string, file: string, ...others: readonly string[]): Promise<{ update: string | null }> {
    return this.seal(name, 'merge', file, ...others.map(other => this.at(other, path.basename(file))))
  }

  /** Alice's updates, into the copy of another. */
  async follow(name: string): Promise<void> {
    const { version } = await this.seal<{ version: number }>('alice', 'status')
    const has = await this.seal<{ version: number | null }>(name, 'status')
    if (has.version === version) return
    if (has.version === null) await copyFile(this.at('alice', 'pin.json'), this.at(name, 'pin.json'))
    const update = has.version === null ? 'whole.update' : `${version}.update`
    await this.seal(name, 'install', '--update', this.at('alice', 'updates', update))
  }
}
