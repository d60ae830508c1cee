/**
 * Whether tests may be skipped where what they need is missing: only when a person runs some of them by hand. In CI, and
 * in every script of package.json, which install what is needed, they run and fail.
 */
export function maySkip(isMissing: boolean): boolean {
  return isMissing && process.env.CI === undefined && process.env.npm_lifecycle_event === undefined
}
