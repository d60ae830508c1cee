import { CodedError } from '../../src/base/errors.ts'

/** The code of the typed error that `work` throws, or `ok`. Any other error is thrown on. */
export async function codeOf(work: () => unknown): Promise<string> {
  try {
    await work()
  } catch (error) {
    return codeIn(error)
  }
  return 'ok'
}

/** The same of what is done at once. */
export function codeOfNow(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    return codeIn(error)
  }
  return 'ok'
}

function codeIn(error: unknown): string {
  if (error instanceof CodedError) return error.code
  throw error
}
