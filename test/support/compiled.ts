/**
 * For processes that are given no environment of the test's: where node keeps what it has compiled, so that each does not
 * do it anew.
 */
const { NODE_COMPILE_CACHE } = process.env
export const compiled: Readonly<Record<string, string>> =
  NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE }
