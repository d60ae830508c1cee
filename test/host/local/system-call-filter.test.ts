import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { deniedCalls, judgedCalls, systemCallFilter } from '../../../src/host/local/system-call-filter.ts'

const allow = 0x7fff0000
const killProcess = 0x80000000
const refused = (errno: number) => 0x00050000 | errno
const architectures = { x64: 0xc000003e, arm64: 0xc00000b7 } as const

/** What the kernel makes of a program: classic BPF as far as it is used. */
function judge(program: Uint8Array, number: number, architecture: number, argument = 0n): number {
  const data = Buffer.alloc(64)
  data.writeUInt32LE(number, 0)
  data.writeUInt32LE(architecture, 4)
  data.writeBigUInt64LE(argument, 16)
  const bytes = Buffer.from(program)
  let held = 0
  for (let at = 0; at < bytes.byteLength; at += 8) {
    const value = bytes.readUInt32LE(at + 4)
    const jump = (holds: boolean) => {
      at += 8 * bytes.readUInt8(at + (holds ? 2 : 3))
    }
    const code = bytes.readUInt16LE(at)
    if (code === 0x06) return value
    if (code === 0x20) held = data.readUInt32LE(value)
    else if (code === 0x15) jump(held === value)
    else if (code === 0x25) jump(held > value)
    else if (code === 0x45) jump((held & value) !== 0)
    else throw new Error(`unknown instruction ${code}`)
  }
  throw new Error('the program has no end')
}

/** Numbers as the kernel's headers have them. */
function headerOf(architecture: keyof typeof architectures): ReadonlyMap<string, number> {
  const file =
    architecture === 'x64'
      ? '/usr/include/x86_64-linux-gnu/asm/unistd_64.h'
      : '/usr/include/asm-generic/unistd.h'
  const found = readFileSync(file, 'utf8').matchAll(/^#define __NR(?:3264)?_(\w+)[ \t]+(\d+)$/gm)
  return new Map([...found].map(([, name = '', number]) => [name, Number(number)]))
}

describe.each(['x64', 'arm64'] as const)('the filter of system calls on %s', architecture => {
  const program = systemCallFilter(architecture)
  if (program === null) throw new Error('no filter')
  const column = architecture === 'x64' ? 0 : 1
  const verdict = (number: number, argument = 0n) =>
    judge(program, number, architectures[architecture], argument)

  it.runIf(architecture === 'arm64' || process.arch === 'x64')(
    'has the numbers of the kernel’s headers',
    () => {
      const header = headerOf(architecture)
      for (const [name, numbers] of Object.entries({ ...deniedCalls, ...judgedCalls }))
        expect([name, numbers[column]]).toEqual([name, header.get(name) ?? null])
    },
  )

  it('refuses every call of the list, and none that a program needs', () => {
    for (const numbers of Object.values(deniedCalls))
      if (numbers[column] !== null) expect(verdict(numbers[column])).toBe(refused(1))
    const needed = architecture === 'x64' ? [0, 1, 9, 59, 231, 257] : [63, 64, 222, 221, 94, 56]
    for (const number of needed) expect(verdict(number)).toBe(allow)
  })

  it('allows processes and threads, but no namespaces', () => {
    const clone = judgedCalls.clone[column]
    expect(verdict(clone, 0x11n)).toBe(allow)
    expect(verdict(clone, 0x3d0f00n)).toBe(allow)
    for (const flag of [0x20000n, 0x2000000n, 0x4000000n, 0x8000000n, 0x10000000n, 0x20000000n, 0x40000000n])
      expect(verdict(clone, flag | 0x11n)).toBe(refused(1))
    expect(verdict(judgedCalls.clone3[column])).toBe(refused(38))
  })

  it('allows sockets of this machine alone', () => {
    const socket = judgedCalls.socket[column]
    expect(verdict(socket, 1n)).toBe(allow)
    for (const family of [2n, 10n, 16n, 17n, 38n, 40n]) expect(verdict(socket, family)).toBe(refused(1))
  })

  it('knows no call that is newer, and kills who calls in the manner of another architecture', () => {
    expect(verdict(457)).toBe(refused(38))
    expect(verdict(0x40000000)).toBe(refused(38))
    expect(judge(program, 0, 0x40000003)).toBe(killProcess)
  })
})

it('there is no filter for another machine', () => {
  expect(systemCallFilter('riscv64')).toBeNull()
  expect(systemCallFilter('toString')).toBeNull()
})
