import { KiB } from '../../base/bytes.ts'
import { fields, is } from '../../base/json.ts'
import type { Call } from '../call.ts'
import { json } from './codecs.ts'

/* What the HSM VM tells dom0. It has read the ledger before, by `strongroom.Ledger`. */

const parseRequest = fields('destroyed epoch', { epoch: is.integer(1) })
const parseAnswer = fields('answer', { entry: is.integer(1) })

/** Told again it is the same: the answer is the entry that the ledger has. */
export const epochDestroyed = {
  service: 'strongroom.EpochDestroyed',
  argument: 'profile',
  from: ['hsm'],
  to: 'dom0',
  summary: 'record that the passphrase of an earlier epoch is destroyed in the HSM VM',
  request: json(parseRequest, KiB),
  response: json(parseAnswer, KiB),
} as const satisfies Call<ReturnType<typeof parseRequest>, ReturnType<typeof parseAnswer>>
