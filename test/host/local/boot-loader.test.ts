import { expect, test } from 'vitest'
import { startsByItself } from '../../../src/host/local/boot-loader.ts'
import { saying } from '../../support/boot-sectors.ts'

const sector = (change: (bytes: Uint8Array) => void = () => {}) => {
  const bytes = new Uint8Array(512)
  bytes.set([0x55, 0xaa], 510)
  change(bytes)
  return bytes
}
const grub = (bytes: Uint8Array) => bytes.set([0xeb, 0x63, ...Buffer.from('GRUB \0Geom\0')])

test.each([
  ['GRUB', sector(grub)],
  ['other code, with an active partition', saying('hello', 'once')],
])('a disk with %s starts by itself', (_, bytes) => {
  expect(startsByItself(bytes)).toBe(true)
})

test.each([
  ['nothing', new Uint8Array(512)],
  ['less than a sector', new Uint8Array(100)],
  ['partitions and no code', sector(bytes => bytes.set([0x80], 446))],
  ['GPT alone, whose one partition is not active', sector(bytes => bytes.set([0, 0, 2, 0, 0xee], 446))],
  [
    'code that finds nothing to start, as parted writes it',
    sector(bytes => bytes.set([0xfa, 0xb8, 0x00, 0x10])),
  ],
  ['code without the signature', new Uint8Array(512).fill(0x90, 0, 440)],
])('a disk with %s does not', (_, bytes) => {
  expect(startsByItself(bytes)).toBe(false)
})
