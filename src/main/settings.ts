import { BaseError } from '../base/base-errors.ts'
import { readBounded } from '../base/files.ts'
import { parseJson } from '../base/json.ts'

const settingsBytesMax = 64 * 1024

/**
 * The settings of one process: a small JSON file in its own VM, named on the command line. It says where things are,
 * never what may be done; that is in the sealed configuration. It holds no secret.
 */
export async function readSettings<T>(file: string, shape: (untrustedValue: unknown) => T): Promise<T> {
  const untrustedBytes = await readBounded(file, settingsBytesMax)
  if (untrustedBytes === null)
    throw new BaseError('FIELD_INVALID', `there is no settings file ${file}`, {
      hint: 'name it with --settings FILE',
    })
  return untrustedBytes.parse(bytes => shape(parseJson(bytes, { bytesMax: settingsBytesMax })))
}
