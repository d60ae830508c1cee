/** One opened way to a TPM. After a failure it is closed and not used again. */
export interface Channel {
  /** Sends one command and gives the whole answer. Not for two at once. Rejects with the reason of `stop`. */
  exchange(command: Uint8Array, stop: AbortSignal): Promise<Uint8Array>
  /** Whether the other side has closed it meanwhile. */
  isClosed(): boolean
  close(): void
}

/** Of a command and of an answer: tag, length, and what to do or how it went. */
export const headerLength = 10
const answerBytesMax = 4096

/** The length that an answer states, once its header is there; `null` before. */
export function statedLength(bytes: Buffer): number | null {
  return bytes.byteLength < headerLength ? null : bytes.readUInt32BE(2)
}

export function isPossibleLength(length: number): boolean {
  return length >= headerLength && length <= answerBytesMax
}

export const channelBufferLength = answerBytesMax
