import { KiB } from '../../base/bytes.ts'
import { fields, is } from '../../base/json.ts'
import { parseDigest } from '../../base/names.ts'
import type { Call } from '../call.ts'
import { json, nothing } from './codecs.ts'

/* What a monitoring VM may ask of dom0: digests of what decides what the machine does. Never a name that is in it. */

const parseMeasurement = fields('measurement', {
  /** What `digest` is: of a tree of files (`crypto/tree-digest.ts`), or the root hash of an image's dm-verity tree without salt. */
  kind: is.literal('files', 'image'),
  digest: is.name(parseDigest),
  /** In the tree; 1 of an image. */
  files: is.integer(),
  bytes: is.integer(),
  /** What had to be read for this answer; the rest was read before, and nobody has written to it since. */
  bytesRead: is.integer(),
})
export type Measurement = ReturnType<typeof parseMeasurement>

/** The argument is `policy`, `profiles`, `store`, `agent` or `template-VM`. */
export const measureObject = {
  service: 'strongroom.Measure',
  argument: 'object',
  from: ['monitor'],
  to: 'dom0',
  summary:
    'SHA-256 of the policy, the profiles, the sealed store or the agent’s own files, or the dm-verity root hash of a template',
  request: nothing,
  response: json(parseMeasurement, KiB),
} as const satisfies Call<undefined, Measurement>
