import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { refuse } from './usage.ts'

/*
 *   npm run bench [-- OPTIONS]          the product beside restic and borg: `bench/compare.ts`
 *   npm run bench -- growth [OPTIONS]   time and memory from 1 to 64 GiB: `bench/growth.ts`
 *   npm run bench -- sweep [OPTIONS]    sizes of chunks and packs, levels of compression: `bench/sweep.ts`
 *   npm run bench -- index [OPTIONS]    a table of millions of blobs: `bench/index.ts`
 *   npm run bench -- release [OPTIONS]  releases of the HSM VM: `bench/release.ts`
 *   npm run bench -- seal [OPTIONS]     a sealed store of thousands of profiles: `bench/seal.ts`
 *
 * The benchmark itself waits for one command after another, and hears no signal meanwhile. So it runs in a process group of its
 * own, with a directory of its own for what is temporary: both are ended from here.
 */

const subjects = ['growth', 'sweep', 'index', 'release', 'seal']
const [first = '', ...rest] = process.argv.slice(2)
const isSubject = subjects.includes(first)
if (!isSubject && first !== '' && !first.startsWith('-'))
  refuse(`there is no '${first}'; there are ${subjects.join(', ')}`)
const script = path.join(import.meta.dirname, `${isSubject ? first : 'compare'}.ts`)
const temporary = fs.mkdtempSync(path.join(os.tmpdir(), 'strongroom-bench-'))
const child = spawn(process.execPath, [script, ...(isSubject ? rest : process.argv.slice(2))], {
  stdio: 'inherit',
  detached: true,
  env: { ...process.env, TMPDIR: temporary },
})
let isStopped = false
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    isStopped = true
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
  })
child.once('exit', code => {
  // The last of the group may still be about to end.
  fs.rmSync(temporary, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
  process.exitCode = isStopped ? 130 : (code ?? 1)
})
