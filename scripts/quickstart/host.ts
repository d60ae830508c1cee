import { type ChildProcess, spawn } from 'node:child_process'
import { access, open, readFile } from 'node:fs/promises'
import path from 'node:path'
import type { LocalHome } from '../../src/main/local-home.ts'
import { ApiClient } from './client.ts'
import { root } from './provision.ts'

const startMilliseconds = 60_000

/**
 * Starts `strongroom host start` in a session of its own and waits until its API answers. `onSpawn` is given the process
 * at once, for whoever may have to end it before it is ready.
 */
export async function startHost(
  home: LocalHome,
  onSpawn: (child: ChildProcess) => void = () => {},
): Promise<{ api: ApiClient }> {
  const log = await open(path.join(home.directory, 'host.log'), 'a', 0o600)
  const child = spawn(path.join(root, 'bin/strongroom'), ['host', 'start', '--home', home.directory], {
    stdio: ['ignore', log.fd, log.fd],
    detached: true,
  })
  await log.close()
  onSpawn(child)
  const end = performance.now() + startMilliseconds
  while (performance.now() < end) {
    if (child.exitCode !== null) throw new Error(`the host ended at once:\n${await tail(home)}`)
    const ready = await access(home.hostFile).then(
      () => true,
      () => false,
    )
    if (ready) {
      child.unref()
      return { api: await ApiClient.open(home.hostFile) }
    }
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  child.kill('SIGTERM')
  throw new Error(`the host did not become ready:\n${await tail(home)}`)
}

export async function stopHost(home: LocalHome): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const stop = spawn(path.join(root, 'bin/strongroom'), ['host', 'stop', '--home', home.directory], {
      stdio: 'ignore',
    })
    stop.once('error', reject)
    stop.once('close', code => (code === 0 ? resolve() : reject(new Error(`host stop: exit ${code}`))))
  })
}

async function tail(home: LocalHome): Promise<string> {
  const logs = ['host.log', 'log/dom0.log', 'log/vault-hsm.log', 'log/backup-store.log', 'log/mgmt.log']
  const texts = await Promise.all(
    logs.map(async name => {
      const text = await readFile(path.join(home.directory, name), 'utf8').catch(() => '')
      return text === '' ? '' : `--- ${name}\n${text.split('\n').slice(-8).join('\n')}`
    }),
  )
  return texts.filter(text => text !== '').join('\n')
}
