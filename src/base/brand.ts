declare const brand: unique symbol

/** A `Base` that only its own parser can make: a `Brand<string, 'JobId'>` cannot stand where a `VmName` is wanted. */
export type Brand<Base, Name extends string> = Base & { readonly [brand]: Name }

export type Milliseconds = number
export type Bytes = number
