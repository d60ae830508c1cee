import { KiB, MiB } from './bytes.ts'

/*
 * Memory for reads and writes past the page cache (O_DIRECT), which must begin on a block of the device in memory too. A Buffer
 * begins anywhere; WebAssembly memory begins on a page.
 */

/** What V8 gives; the compiler's libraries for Node leave it out. */
declare const WebAssembly: {
  readonly Memory: new (descriptor: { readonly initial: number }) => { readonly buffer: ArrayBuffer }
}

/** At least a page and a block of any machine. */
export const pageBytesMax = 64 * KiB

/** Of a stage: longer writes are no faster. */
export const stageBytes = 2 * MiB

/** Page-aligned memory, for as long as it is not disposed of; then others are given it. It cannot be moved to another thread. */
export class Stage implements Disposable {
  readonly bytes: Buffer

  constructor() {
    this.bytes = spares.pop() ?? pageAligned(stageBytes)
  }

  [Symbol.dispose](): void {
    if (spares.length < sparesMax) spares.push(this.bytes)
  }
}

/** Of this thread. */
const spares: Buffer[] = []
const sparesMax = 4

function pageAligned(bytes: number): Buffer {
  return Buffer.from(new WebAssembly.Memory({ initial: bytes / wasmPageBytes }).buffer)
}

const wasmPageBytes = 64 * KiB
