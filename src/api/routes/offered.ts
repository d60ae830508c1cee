import type { ProfileName } from '../../base/names.ts'
import type { RouteContext } from '../context.ts'
import { ApiError } from '../errors.ts'

/** A misspelt name is told at once. Throws `API_PROFILE_NOT_FOUND`, and what dom0 throws. */
export async function requireOffered({ dom0, closing }: RouteContext, profile: ProfileName): Promise<void> {
  const { profiles } = await dom0.profiles(closing)
  if (!profiles.some(({ name }) => name === profile))
    throw new ApiError('API_PROFILE_NOT_FOUND', `dom0 offers no profile '${profile}'`)
}
