import fs from 'node:fs/promises'
import path from 'node:path'
import { systemEnvironment } from '../../src/base/environment.ts'
import { parseVmName } from '../../src/base/names.ts'
import { Secret } from '../../src/base/secret.ts'
import { fetchIndexTable } from '../../src/repository/reader.ts'
import { createRepository } from '../../src/repository/repository.ts'
import { ThreadBudget } from '../../src/repository/thread-budget.ts'
import { BackupWriter } from '../../src/repository/writer.ts'
import { LocalStore } from '../../src/storage/local.ts'

/*
 * As many backups at once as are said, each of the same image into a repository of its own, in one process, as dom0 runs
 * them: node backups-at-once.ts COUNT IMAGE DIRECTORY. Prints how many threads worked at most, and how far each was when
 * the first had read all.
 */

const [count = '', image = '', directory = ''] = process.argv.slice(2)
const threads = new ThreadBudget()
const signal = new AbortController().signal
const { size } = await fs.stat(image)
let workingMost = 0
const done: number[] = Array.from({ length: Number(count) }, () => 0)
let atFirstEnd: readonly number[] = []

async function backup(number: number): Promise<void> {
  const store = new LocalStore(path.join(directory, `repository-${number}`), systemEnvironment)
  using passphrase = Secret.take(new TextEncoder().encode('backups at once'))
  using created = await createRepository(store, passphrase, systemEnvironment, signal)
  const place = { tablePath: path.join(directory, `blobs-${number}`), entropy: systemEnvironment.entropy }
  await using known = await fetchIndexTable(created.repository, store, [], place, signal)
  const writer = new BackupWriter(created.repository, store, known, {
    ...systemEnvironment,
    concurrency: 3,
    threads,
  })
  const volume = await writer.addVolume(
    {
      name: 'private',
      bytes: size,
      path: image,
      async *extents() {
        yield { kind: 'data', offset: 0, length: size }
      },
    },
    ({ bytesDone }) => {
      done[number] = bytesDone / size
      workingMost = Math.max(workingMost, threads.working)
    },
    signal,
  )
  if (atFirstEnd.length === 0) atFirstEnd = [...done]
  const vms = [{ name: parseVmName('work'), volumes: [volume] }]
  await writer.finish({ vms, time: new Date(), tags: [] }, signal)
}

await Promise.all(done.map((_, number) => backup(number)))
process.stdout.write(JSON.stringify({ workingMost, atFirstEnd }))
