import { readFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import path from 'node:path'
import type { Finding } from '../hsm/doctor.ts'

/*
 * What the HSM VM's secrets could leave it by, although no program of it sends them: as far as a process can see that of itself.
 * Node cannot lock memory or forbid a dump by itself; who starts it can.
 */

export interface Surroundings {
  /** `/proc` */
  readonly proc: string
  /** `/sys/fs/cgroup` */
  readonly cgroups: string
  readonly interfaces: () => NodeJS.Dict<readonly { readonly internal: boolean }[]>
}

const real: Surroundings = { proc: '/proc', cgroups: '/sys/fs/cgroup', interfaces: networkInterfaces }

export async function surroundings(of: Surroundings = real): Promise<readonly Finding[]> {
  return [await coreDumps(of), await swap(of), network(of)]
}

/**
 * The kernel hands a dump to a program that `core_pattern` names whatever the limit is, but for a limit of 1 (fs/coredump.c), which
 * is too small for a file as well.
 */
async function coreDumps({ proc }: Surroundings): Promise<Finding> {
  const limits = await textOf(path.join(proc, 'self/limits'))
  const [, limit = 'unknown'] = /^Max core file size +(\S+)/m.exec(limits) ?? []
  const isPiped = (await textOf(path.join(proc, 'sys/kernel/core_pattern'))).startsWith('|')
  const ok = limit === '1' || (limit === '0' && !isPiped)
  return {
    ok,
    text: ok
      ? 'dumps no core'
      : `dumps core: the limit is ${limit}${isPiped ? ', and dumps go to a program, which only a limit of 1 prevents' : ''}`,
  }
}

async function swap({ proc, cgroups }: Surroundings): Promise<Finding> {
  const areas = (await textOf(path.join(proc, 'swaps'))).trim().split('\n').length - 1
  if (areas < 1) return { ok: true, text: 'has no swap: nothing in memory reaches a disk' }
  const [, group = '/'] = /^0::(.*)$/m.exec(await textOf(path.join(proc, 'self/cgroup'))) ?? []
  const ok = (await textOf(path.join(cgroups, group, 'memory.swap.max'))).trim() === '0'
  return {
    ok,
    text: ok ? 'is never swapped: MemorySwapMax is 0' : 'may be swapped to a disk: MemorySwapMax is not 0',
  }
}

function network({ interfaces }: Surroundings): Finding {
  const names = Object.entries(interfaces()).flatMap(([name, addresses = []]) =>
    addresses.some(({ internal }) => !internal) ? [name] : [],
  )
  return {
    ok: names.length === 0,
    text: names.length === 0 ? 'has no network' : `has a network: ${names.join(', ')}`,
  }
}

/** Empty where there is none. */
function textOf(file: string): Promise<string> {
  return readFile(file, 'utf8').catch(() => '')
}
