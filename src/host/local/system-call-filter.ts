/*
 * A seccomp filter, as a classic BPF program (seccomp(2), linux/filter.h), for `bwrap --seccomp`. What a sandbox that examines
 * files never needs of the kernel answers "not permitted": other processes, mounts, namespaces, keys, modules, tracing,
 * io_uring, network of any kind. A call that is newer than this list answers as on an older kernel.
 */

/** AUDIT_ARCH_* of linux/audit.h. */
const architectures = { x64: 0xc000003e, arm64: 0xc00000b7 } as const
type Architecture = keyof typeof architectures

/** Of asm/unistd_64.h and asm-generic/unistd.h; `null`: that architecture has no such call. */
type Numbers = readonly [x64: number | null, arm64: number | null]

export const deniedCalls: Readonly<Record<string, Numbers>> = {
  _sysctl: [156, null],
  acct: [163, 89],
  add_key: [248, 217],
  adjtimex: [159, 171],
  bpf: [321, 280],
  chroot: [161, 51],
  clock_adjtime: [305, 266],
  clock_settime: [227, 112],
  create_module: [174, null],
  delete_module: [176, 106],
  fanotify_init: [300, 262],
  finit_module: [313, 273],
  fsconfig: [431, 431],
  fsmount: [432, 432],
  fsopen: [430, 430],
  fspick: [433, 433],
  get_kernel_syms: [177, null],
  init_module: [175, 105],
  io_uring_enter: [426, 426],
  io_uring_register: [427, 427],
  io_uring_setup: [425, 425],
  ioperm: [173, null],
  iopl: [172, null],
  kcmp: [312, 272],
  kexec_file_load: [320, 294],
  kexec_load: [246, 104],
  keyctl: [250, 219],
  lookup_dcookie: [212, 18],
  mbind: [237, 235],
  migrate_pages: [256, 238],
  modify_ldt: [154, null],
  mount: [165, 40],
  mount_setattr: [442, 442],
  move_mount: [429, 429],
  move_pages: [279, 239],
  name_to_handle_at: [303, 264],
  nfsservctl: [180, 42],
  open_by_handle_at: [304, 265],
  open_tree: [428, 428],
  perf_event_open: [298, 241],
  personality: [135, 92],
  pidfd_getfd: [438, 438],
  pivot_root: [155, 41],
  process_madvise: [440, 440],
  process_vm_readv: [310, 270],
  process_vm_writev: [311, 271],
  ptrace: [101, 117],
  query_module: [178, null],
  quotactl: [179, 60],
  quotactl_fd: [443, 443],
  reboot: [169, 142],
  request_key: [249, 218],
  set_mempolicy: [238, 237],
  setdomainname: [171, 162],
  sethostname: [170, 161],
  setns: [308, 268],
  settimeofday: [164, 170],
  swapoff: [168, 225],
  swapon: [167, 224],
  sysfs: [139, null],
  syslog: [103, 116],
  umount2: [166, 39],
  unshare: [272, 97],
  uselib: [134, null],
  userfaultfd: [323, 282],
  ustat: [136, null],
  vhangup: [153, 58],
  vmsplice: [278, 75],
}
/** Judged by their first argument. */
export const judgedCalls = {
  clone: [56, 220],
  clone3: [435, 435],
  socket: [41, 198],
} as const satisfies Record<string, Numbers>

/** What was added to Linux after this one (6.7) is not there. Numbers of both architectures are the same there; x32's lie above. */
const newestCall = 456

const notPermitted = 1
const notImplemented = 38
const allow = 0x7fff0000
const killProcess = 0x80000000
const refuse = (errno: number) => 0x00050000 | errno

/** CLONE_NEW* of linux/sched.h, but not CLONE_NEWTIME, which clone(2) does not know. */
const namespaceFlags = 0x7e020000
const localSockets = 1

/** Offsets in struct seccomp_data; of the first argument its lower half, little-endian. */
const numberAt = 0
const architectureAt = 4
const argumentAt = 16

interface Instruction {
  readonly code: number
  readonly yes: number
  readonly no: number
  readonly value: number
}

const load = (offset: number): Instruction => ({ code: 0x20, yes: 0, no: 0, value: offset })
const answer = (value: number): Instruction => ({ code: 0x06, yes: 0, no: 0, value })
/** Each with the number of instructions that are skipped when it holds, and when it does not. */
const isEqual = (value: number, yes: number, no: number): Instruction => ({ code: 0x15, yes, no, value })
const isAbove = (value: number, yes: number, no: number): Instruction => ({ code: 0x25, yes, no, value })
const hasAnyOf = (value: number, yes: number, no: number): Instruction => ({ code: 0x45, yes, no, value })

/** The filter for this machine, or `null` where none is written for it. */
export function systemCallFilter(architecture: string = process.arch): Uint8Array | null {
  return isKnown(architecture) ? assembled(programOf(architecture)) : null
}

function isKnown(architecture: string): architecture is Architecture {
  return Object.hasOwn(architectures, architecture)
}

function programOf(architecture: Architecture): readonly Instruction[] {
  const column = architecture === 'x64' ? 0 : 1
  const denied = Object.values(deniedCalls)
    .map(numbers => numbers[column])
    .filter(number => number !== null)
  return [
    load(architectureAt),
    // A call in the manner of another architecture has other numbers.
    isEqual(architectures[architecture], 1, 0),
    answer(killProcess),
    load(numberAt),
    isAbove(newestCall, 0, 1),
    answer(refuse(notImplemented)),
    ...denied.flatMap(number => [isEqual(number, 0, 1), answer(refuse(notPermitted))]),
    // Its flags lie in memory, where a filter cannot see; who is told that it is not there uses clone.
    isEqual(judgedCalls.clone3[column], 0, 1),
    answer(refuse(notImplemented)),
    isEqual(judgedCalls.clone[column], 0, 3),
    load(argumentAt),
    hasAnyOf(namespaceFlags, 0, 1),
    answer(refuse(notPermitted)),
    load(numberAt),
    isEqual(judgedCalls.socket[column], 0, 3),
    load(argumentAt),
    isEqual(localSockets, 1, 0),
    answer(refuse(notPermitted)),
    answer(allow),
  ]
}

/** struct sock_filter each: u16 code, u8 and u8 to skip, u32 value. */
function assembled(program: readonly Instruction[]): Uint8Array {
  const bytes = Buffer.alloc(program.length * 8)
  for (const [index, { code, yes, no, value }] of program.entries()) {
    bytes.writeUInt16LE(code, index * 8)
    bytes.writeUInt8(yes, index * 8 + 2)
    bytes.writeUInt8(no, index * 8 + 3)
    bytes.writeUInt32LE(value, index * 8 + 4)
  }
  return new Uint8Array(bytes)
}
