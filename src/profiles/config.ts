import { fromUtf8, KiB } from '../base/bytes.ts'
import { CodedError, printable } from '../base/errors.ts'
import { type ProfileName, parseProfileName, type VmName } from '../base/names.ts'
import { Untrusted } from '../base/untrusted.ts'
import { type HsmBinding, parseBinding } from './binding.ts'
import { type Position, ProfileError, where } from './errors.ts'
import { type Profile, parseProfile } from './profile.ts'
import { parseRoles, type Roles } from './roles.ts'
import type { Schedule } from './schedule.ts'
import { parseScheduleFile } from './schedule-file.ts'

/*
 * The whole sealed payload: every file of it, checked one by one and against each other. A path that nothing reads is
 * refused, so that nobody seals a file in the belief that it has an effect.
 */

const profilesMax = 20_000
const policyBytesMax = 256 * KiB

export type { HsmBinding } from './binding.ts'
export type { Roles } from './roles.ts'

export interface Configuration {
  readonly profiles: ReadonlyMap<ProfileName, Profile>
  /** How each profile's passphrase is kept and released; has the same keys as `profiles`. */
  readonly bindings: ReadonlyMap<ProfileName, HsmBinding>
  /** Texts of qrexec policy files by name, in the order of their names; not parsed here. */
  readonly policies: ReadonlyMap<string, string>
  readonly roles: Roles
}

interface Draft {
  readonly profiles: Map<ProfileName, Profile>
  readonly schedules: Map<ProfileName, Schedule>
  readonly bindings: Map<ProfileName, HsmBinding>
  readonly policies: Map<string, string>
  roles: Roles | null
}

/**
 * Paths are relative, e.g. `profiles/nightly.conf`. The bytes must have been verified before: this throws
 * `ProfileError` whatever they are, naming file and place, but does not know who wrote them.
 */
export function parseConfiguration(files: ReadonlyMap<string, Uint8Array>): Configuration {
  const draft: Draft = {
    profiles: new Map(),
    schedules: new Map(),
    bindings: new Map(),
    policies: new Map(),
    roles: null,
  }
  for (const path of [...files.keys()].sort()) {
    const bytes = files.get(path)
    if (bytes !== undefined) inFile(path, () => readFile(draft, path, bytes))
  }
  const { profiles, bindings, policies, roles } = draft
  if (profiles.size > profilesMax)
    throw new ProfileError(
      'CONFIGURATION_FILE_INVALID',
      `${profiles.size} profiles; at most ${profilesMax} are read`,
    )
  if (roles === null) throw new ProfileError('CONFIGURATION_INCOMPLETE', 'roles.json is missing')
  requireBindings(profiles, bindings)
  takeSchedules(profiles, draft.schedules)
  for (const profile of profiles.values()) requireRoles(profile, roles)
  return { profiles, bindings, policies, roles }
}

function readFile(draft: Draft, path: string, bytes: Uint8Array): void {
  const [, folder = '', name = '', suffix = ''] = /^(?:([a-z]+)\/)?([^/]*)\.([a-z]+)$/.exec(path) ?? []
  switch (`${folder}/*.${suffix}`) {
    case 'profiles/*.conf': {
      const profile = parseProfileName(name)
      draft.profiles.set(profile, parseProfile(new Untrusted(bytes), profile))
      return
    }
    case 'schedules/*.conf':
      draft.schedules.set(parseProfileName(name), parseScheduleFile(new Untrusted(bytes)))
      return
    case 'hsm/*.json':
      draft.bindings.set(parseProfileName(name), parseBinding(bytes))
      return
    case 'policy/*.policy':
      draft.policies.set(policyName(name), policyText(bytes))
      return
    case '/*.json':
      if (name !== 'roles') break
      draft.roles = parseRoles(bytes)
      return
  }
  throw new ProfileError('CONFIGURATION_FILE_UNKNOWN', 'nothing reads a file of this name')
}

function policyName(untrustedName: string): string {
  if (/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(untrustedName)) return untrustedName
  throw new ProfileError(
    'CONFIGURATION_FILE_UNKNOWN',
    'the name of a policy file has 1 to 64 of A-Z a-z 0-9 _ . -',
  )
}

function policyText(bytes: Uint8Array): string {
  if (bytes.byteLength <= policyBytesMax) return fromUtf8(bytes)
  throw new ProfileError('PROFILE_TOO_LARGE', `${bytes.byteLength} bytes; at most ${policyBytesMax} are read`)
}

/** Puts the file's name in front of what goes wrong in it. */
function inFile(path: string, read: () => void): void {
  try {
    read()
  } catch (cause) {
    if (!(cause instanceof CodedError)) throw cause
    const code = cause instanceof ProfileError ? cause.code : 'CONFIGURATION_FILE_INVALID'
    const options = cause instanceof ProfileError ? { hint: cause.hint, cause } : { cause }
    throw new ProfileError(code, `${printable(path).slice(0, 120)}: ${cause.message}`, options)
  }
}

function requireBindings(
  profiles: ReadonlyMap<ProfileName, Profile>,
  bindings: ReadonlyMap<ProfileName, HsmBinding>,
): void {
  for (const name of profiles.keys())
    if (!bindings.has(name))
      throw new ProfileError(
        'CONFIGURATION_INCOMPLETE',
        `profiles/${name}.conf has no hsm/${name}.json beside it`,
      )
  for (const name of bindings.keys())
    if (!profiles.has(name))
      throw new ProfileError(
        'CONFIGURATION_INCOMPLETE',
        `hsm/${name}.json belongs to no profiles/${name}.conf`,
      )
}

/** A profile has one schedule, whoever seals it. */
function takeSchedules(
  profiles: Map<ProfileName, Profile>,
  schedules: ReadonlyMap<ProfileName, Schedule>,
): void {
  for (const [name, schedule] of schedules) {
    const profile = profiles.get(name)
    if (profile === undefined)
      throw new ProfileError(
        'CONFIGURATION_INCOMPLETE',
        `schedules/${name}.conf belongs to no profiles/${name}.conf`,
      )
    if (profile.schedule !== null)
      throw new ProfileError(
        'CONFIGURATION_TWICE',
        `profiles/${name}.conf has a schedule, and so has schedules/${name}.conf`,
      )
    profiles.set(name, { ...profile, schedule })
  }
}

function requireRoles(profile: Profile, roles: Roles): void {
  requireRole(profile, 'passphrase_vm', profile.passphraseVm, profile.passphraseVmAt, 'hsm', roles)
  requireRole(profile, 'destination_vm', profile.destinationVm, profile.destinationVmAt, 'storage', roles)
}

function requireRole(
  { name }: Profile,
  key: string,
  vm: VmName,
  at: Position,
  role: 'hsm' | 'storage',
  roles: Roles,
): void {
  if (!roles[role].includes(vm))
    throw new ProfileError(
      'CONFIGURATION_ROLE',
      `profiles/${name}.conf: ${where(at)}: ${key} is '${vm}', which is not among '${role}' of roles.json`,
    )
}
