import { execFile } from 'node:child_process'
import { existsSync, lstatSync, readlinkSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import type { Log } from '../../base/log.ts'

/*
 * The walls of a VM on the local host: bubblewrap (bwrap 1) with every namespace of its own. The VM sees the system's
 * programs and the product's code read-only, its own directories, and no network unless it is given it.
 */

export interface Bind {
  readonly from: string
  /** The path inside; the same as outside by default. */
  readonly to?: string
  readonly write: boolean
  /** It is a device, to be used as one. */
  readonly device?: boolean
}

export interface View {
  /** The host name inside. */
  readonly vm: string
  readonly binds: readonly Bind[]
  readonly network: boolean
  /** Of the system only these files and directories, and nothing of the product; by default all programs, and the product. */
  readonly only?: readonly string[]
  /** Environment inside; nothing is inherited. */
  readonly environment?: Readonly<Record<string, string>>
  /** Nothing can be written but what is bound for writing, so that nothing is lost with the process. */
  readonly lasting?: boolean
  /** No user namespaces inside: nothing to regain privileges with. Needs `walls.disableUserns`. */
  readonly disableUserns?: boolean
  /** `/tmp` takes this much, and nothing else can be written, `/dev` included. */
  readonly tmpBytesMax?: number
  /** File descriptor to which bwrap writes `{"child-pid": …}`. */
  readonly infoFd?: number
  /** File descriptor from which bwrap reads a filter of system calls, for all inside. */
  readonly filterFd?: number
}

/** What is told to every process: where the product and Node are. */
export interface Product {
  /** Holds `src`, `node_modules` and `package.json`. */
  readonly directory: string
  readonly node: string
}

/** How this machine can separate processes. */
export interface Walls {
  readonly bubblewrap: boolean
  readonly disableUserns: boolean
}

const systemDirectories = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32']
/** Of `/etc/ssl` not the private keys of the machine. */
const systemFiles = ['/etc/ssl/certs', '/etc/ssl/openssl.cnf', '/etc/ld.so.cache', '/etc/alternatives']
/** What a VM with network needs to find hosts, and ssh to know its user. */
const networkFiles = [
  '/etc/resolv.conf',
  '/etc/hosts',
  '/etc/nsswitch.conf',
  '/etc/passwd',
  '/etc/group',
  '/etc/services',
]

/** The whole command line that runs `command` behind `walls`; without bubblewrap only core dumps are turned off. */
export function walledCommand(
  walls: Walls,
  product: Product,
  view: View,
  command: readonly string[],
): readonly string[] {
  // With 0 the kernel would still hand a dump to a program that core_pattern names (fs/coredump.c); 1 is too small for a file too.
  const noCoreDumps = ['prlimit', '--core=1', '--']
  if (!walls.bubblewrap) return [...noCoreDumps, ...command]
  return [...noCoreDumps, 'bwrap', ...bubblewrapArguments(product, view), '--', ...command]
}

function bubblewrapArguments(product: Product, view: View): readonly string[] {
  return [
    '--unshare-all',
    // Also for root, whom bwrap would spare it.
    '--unshare-user',
    ...(view.network ? ['--share-net'] : []),
    ...(view.disableUserns ? ['--disable-userns'] : []),
    ...['--die-with-parent', '--new-session', '--hostname', view.vm],
    ...['--cap-drop', 'ALL', '--clearenv', '--setenv', 'PATH', '/usr/bin:/bin', '--setenv', 'HOME', '/tmp'],
    ...Object.entries(view.environment ?? {}).flatMap(([name, value]) => ['--setenv', name, value]),
    ...(view.only ?? systemDirectories).flatMap(systemDirectory),
    ...[...systemFiles, ...(view.network ? networkFiles : [])].flatMap(file => ['--ro-bind-try', file, file]),
    ...['--proc', '/proc', '--dev', '/dev'],
    ...(view.tmpBytesMax === undefined ? [] : ['--remount-ro', '/dev', '--size', String(view.tmpBytesMax)]),
    ...['--tmpfs', '/tmp'],
    // Started by root, a VM is the owner of the kernel's settings, and needs no capability to write to them.
    ...['--ro-bind-try', '/proc/sys', '/proc/sys'],
    ...(view.only === undefined ? productBinds(product) : []),
    ...view.binds.flatMap(bind => [bindOption(bind), bind.from, bind.to ?? bind.from]),
    ...(view.lasting ? ['--remount-ro', '/tmp'] : []),
    ...['--remount-ro', '/', '--chdir', '/'],
    ...(view.infoFd === undefined ? [] : ['--info-fd', String(view.infoFd)]),
    ...(view.filterFd === undefined ? [] : ['--seccomp', String(view.filterFd)]),
  ]
}

function bindOption({ write, device }: Bind): string {
  if (device) return '--dev-bind'
  return write ? '--bind' : '--ro-bind'
}

/** As it is on this system: `/lib` is a link to `usr/lib` on merged systems. */
function systemDirectory(directory: string): readonly string[] {
  if (!existsSync(directory)) return []
  return lstatSync(directory).isSymbolicLink()
    ? ['--symlink', readlinkSync(directory), directory]
    : ['--ro-bind', directory, directory]
}

function productBinds({ directory, node }: Product): readonly string[] {
  const binds = ['src', 'node_modules', 'package.json'].map(name => path.join(directory, name))
  const seen = [...binds, ...systemDirectories].some(base => node.startsWith(`${base}/`))
  return [...binds, ...(seen ? [] : [node])].flatMap(file => ['--ro-bind', file, file])
}

const probeMilliseconds = 10_000

/** Tries it. Says so loudly where it does not work: the processes then run without walls. */
export async function findWalls(product: Product, log: Log): Promise<Walls> {
  const view: View = { vm: 'probe', binds: [], network: false }
  if (await runs(product, { ...view, disableUserns: true })) return { bubblewrap: true, disableUserns: true }
  if (await runs(product, view)) return { bubblewrap: true, disableUserns: false }
  log.error(
    'BUBBLEWRAP DOES NOT WORK HERE: the VMs of this host are plain processes of one user, with network and with access ' +
      "to each other's files. Fit for trying out only. Install bubblewrap and allow user namespaces.",
  )
  return { bubblewrap: false, disableUserns: false }
}

async function runs(product: Product, view: View): Promise<boolean> {
  const [program = '', ...rest] = walledCommand({ bubblewrap: true, disableUserns: false }, product, view, [
    product.node,
    '--version',
  ])
  try {
    await promisify(execFile)(program, rest, { timeout: probeMilliseconds, killSignal: 'SIGKILL' })
    return true
  } catch {
    return false
  }
}
