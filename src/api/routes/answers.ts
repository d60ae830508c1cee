import { type TSchema, Type } from 'typebox'

/** An answer that has more to say than the schema of its JSON. */
interface Described {
  readonly description: string
  readonly headers?: Readonly<Record<string, TSchema>>
  readonly content: Readonly<Record<string, { readonly schema: TSchema }>>
}

const Problem = (description: string): Described => ({
  description,
  content: { 'application/problem+json': { schema: Type.Ref('Problem') } },
})

/** The answers of a route: its own, and the problems that any may give. */
export function answers<const Own extends Record<number, TSchema | Described>>(own: Own) {
  return {
    ...own,
    '4xx': Problem('the request was refused; nothing was done'),
    '5xx': Problem('the management VM, or a VM behind it, could not'),
  }
}
