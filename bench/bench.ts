import { spawnSync } from 'node:child_process'

/*
 *   npm run bench [-- OPTIONS]          the product beside restic and borg: `bench/compare.ts`
 *   npm run bench -- growth [OPTIONS]   time and memory from 1 to 64 GiB: `bench/growth.ts`
 *   npm run bench -- sweep [OPTIONS]    sizes of chunks and packs, levels of compression: `bench/sweep.ts`
 *   npm run bench -- index [OPTIONS]    a table of millions of blobs: `bench/index.ts`
 *   npm run bench -- seal [OPTIONS]     verifying a sealed store of ten thousand profiles: `bench/seal.ts`
 */

const [first = '', ...rest] = process.argv.slice(2)
const subject = ['growth', 'sweep', 'index', 'seal'].find(one => one === first)
const script = new URL(`${subject ?? 'compare'}.ts`, import.meta.url).pathname
const args = subject === undefined ? process.argv.slice(2) : rest
process.exitCode = spawnSync(process.execPath, [script, ...args], { stdio: 'inherit' }).status ?? 1
