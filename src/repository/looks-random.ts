/*
 * Whether trying to compress is a waste: media, archives and encrypted containers. Wrong either way costs a few bytes or a
 * few microseconds, nothing else.
 */

const samples = 4
const sampleBytes = 1024
/** Sum over 256 values of (count - mean)²/mean: 255 ± 23 for random bytes; 4096 bytes of JPEG or ciphertext stay below. */
const chiSquareMax = 420

const counts = new Uint32Array(256)

export function looksRandom(bytes: Uint8Array): boolean {
  const total = samples * sampleBytes
  if (bytes.byteLength < 2 * total) return false
  counts.fill(0)
  const stride = Math.floor((bytes.byteLength - sampleBytes) / (samples - 1))
  for (let sample = 0; sample < samples; sample++) {
    const end = sample * stride + sampleBytes
    for (let at = end - sampleBytes; at < end; at++) {
      const value = bytes[at] ?? 0
      counts[value] = (counts[value] ?? 0) + 1
    }
  }
  const mean = total / counts.length
  let sum = 0
  for (const count of counts) sum += (count - mean) ** 2
  return sum / mean < chiSquareMax
}
