/**
 * The content roles of a new root and what each may hold. The user's: `profiles` (what to back up, and which VM knows
 * the passphrase), `policy` (which VM may call what) and `hsm` (what the HSM VM binds to a profile). The admin's:
 * `schedules`. Of whoever set the machine up: `machine` (which VM has which duty).
 */
export const standardRoles = {
  profiles: ['profiles/'],
  policy: ['policy/'],
  hsm: ['hsm/'],
  schedules: ['schedules/'],
  machine: ['machine/', 'roles.json', 'repositories.json'],
} as const satisfies Readonly<Record<string, readonly string[]>>

/** Of these paths, those that a configuration may hold today. The others are reserved: a root is hard to change. */
export const offeredPaths: readonly string[] = ['profiles/', 'schedules/', 'hsm/', 'policy/', 'roles.json']
