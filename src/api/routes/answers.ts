import { type TSchema, Type } from 'typebox'

const Problem = (description: string) => ({
  description,
  content: { 'application/problem+json': { schema: Type.Ref('Problem') } },
})

/** The answers of a route: its own, and the problems that any may give. */
export function answers<const Own extends Record<number, TSchema>>(own: Own) {
  return {
    ...own,
    '4xx': Problem('the request was refused; nothing was done'),
    '5xx': Problem('the management VM, or a VM behind it, could not'),
  }
}
