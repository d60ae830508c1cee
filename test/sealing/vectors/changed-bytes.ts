import { fromUtf8 } from '../../../src/base/bytes.ts'
import { twoVersions } from '../fixture.ts'
import { flipAfter, replaced } from './edit.ts'
import { write } from './write.ts'

export async function changedBytes(): Promise<void> {
  const { pin, second } = await twoVersions()
  const faults: readonly (readonly [string, string, string, string, string])[] = [
    ['root-changed-payload', '1.root.json', '"payload":"', 'SEAL_ROOT_UNPINNED', 'first byte of the payload'],
    [
      'root-changed-signature',
      '1.root.json',
      '"sig":"',
      'SEAL_SIGNATURE_INVALID',
      'first byte of a signature',
    ],
    [
      'snapshot-changed-payload',
      'snapshot.json',
      '"payload":"',
      'SEAL_SIGNATURE_INVALID',
      'first byte of the payload',
    ],
    [
      'snapshot-changed-signature',
      'snapshot.json',
      '"sig":"',
      'SEAL_SIGNATURE_INVALID',
      'first byte of the signature',
    ],
    ['snapshot-changed-keyid', 'snapshot.json', '"keyid":"', 'SEAL_KEY_UNKNOWN', 'first digit of the key id'],
    [
      'snapshot-changed-type',
      'snapshot.json',
      'strongroom.',
      'SEAL_SIGNATURE_INVALID',
      'a letter of the payload type',
    ],
    ['snapshot-changed-form', 'snapshot.json', '{"', 'SEAL_ENVELOPE_MALFORMED', 'a letter of a field name'],
    [
      'role-changed-payload',
      'roles/profiles.json',
      '"payload":"',
      'SEAL_SIGNATURE_INVALID',
      'first byte of the payload',
    ],
    [
      'role-changed-signature',
      'roles/hsm.json',
      '"sig":"',
      'SEAL_SIGNATURE_INVALID',
      'first byte of one of two signatures',
    ],
    [
      'role-changed-middle',
      'roles/policy.json',
      '"payload":"eyJ2IjoxLCJ0eXBlIjoicm9sZSIsInJvbGUi',
      'SEAL_SIGNATURE_INVALID',
      'a byte within the payload',
    ],
  ]
  for (const [name, file, mark, expect, where] of faults)
    await write(name, {
      expect,
      comment: `${file}: ${where} changed`,
      pin,
      files: replaced(second.files, file, flipAfter(mark)),
    })
  const spaced = (bytes: Uint8Array) =>
    new Uint8Array(Buffer.from(fromUtf8(bytes).replace('"payload":', '"payload": ')))
  await write('role-whitespace', {
    expect: 'SEAL_ENVELOPE_MALFORMED',
    comment: 'a space in the envelope: the same JSON, and yet other bytes',
    pin,
    files: replaced(second.files, 'roles/profiles.json', spaced),
  })
  const doubled = (bytes: Uint8Array) =>
    new Uint8Array(Buffer.from(fromUtf8(bytes).replace('{"payloadType"', '{"payload":"e30=","payloadType"')))
  await write('envelope-duplicate-key', {
    expect: 'SEAL_ENVELOPE_MALFORMED',
    comment: 'the envelope has two payloads, of which JSON parsers keep the last',
    pin,
    files: replaced(second.files, 'roles/profiles.json', doubled),
  })
  await write('role-oversize', {
    expect: 'SEAL_TOO_LARGE',
    comment: 'a role followed by spaces up to one byte more than is read',
    pin,
    files: second.files,
    pad: { file: 'roles/profiles.json', bytes: 16 * 1024 * 1024 + 1 },
  })
}
